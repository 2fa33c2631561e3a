//! What a client sends, seen by whoever sits at the other end of the relay.

use std::sync::{Arc, Mutex};

use kms_backend::PageRequest;
use kms_keys::KeyType;
use kms_service::{KeyFilter, KeyRequest, KmsApi, KmsError, KmsMessage};
use overwatch::overwatch::OverwatchRunner;
use overwatch::services::relay::InboundRelay;
use overwatch::services::state::{NoOperator, NoState};
use overwatch::services::{ServiceCore, ServiceData};
use overwatch::{DynError, OpaqueServiceResourcesHandle, derive_services};

use crate::redaction::{PAYLOAD, silent};
use crate::support::*;

type Shown = Arc<Mutex<Vec<String>>>;

/// Takes requests as the service does, notes their `Debug` and answers none.
pub struct Spy {
    inbound: InboundRelay<KmsMessage>,
    shown: Shown,
}

#[derive_services]
pub struct SpyNode {
    spy: Spy,
}

impl ServiceData for Spy {
    type Settings = Shown;
    type State = NoState<Self::Settings>;
    type StateOperator = NoOperator<Self::State>;
    type Message = KmsMessage;
}

#[async_trait::async_trait]
impl ServiceCore<RuntimeServiceId> for Spy {
    fn init(
        resources: OpaqueServiceResourcesHandle<Self, RuntimeServiceId>,
        _: Self::State,
    ) -> Result<Self, DynError> {
        let shown = resources.settings_handle.notifier().get_updated_settings();
        Ok(Self { inbound: resources.inbound_relay, shown })
    }

    async fn run(mut self) -> Result<(), DynError> {
        while let Some(message) = self.inbound.recv().await {
            silent(&format!("{message:#?}"));
            self.shown.lock().unwrap().push(format!("{message:?}"));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_shows_who_asks_for_what_on_which_key() {
    let shown = Shown::default();
    let settings = SpyNodeServiceSettings { spy: Arc::clone(&shown) };
    let runtime = tokio::runtime::Handle::current();
    let node = OverwatchRunner::<SpyNode>::run(settings, Some(runtime)).unwrap();
    within(node.handle().start_service::<Spy>()).await.unwrap();
    let api = KmsApi::connect::<Spy, Spy>(node.handle()).await.unwrap();
    let key = id("a/b");
    let lost = [
        api.sign(&key, PAYLOAD).await.map(drop),
        api.sign_many(&key, None, vec![PAYLOAD.to_vec()]).await.map(drop),
        api.sign_aggregate(std::slice::from_ref(&key), PAYLOAD).await.map(drop),
        api.execute(&key, "x25519", PAYLOAD).await.map(drop),
        api.register(KeyRequest::new("a/b", KeyType::Ed25519)).await.map(drop),
        api.key_info(&key).await.map(drop),
        api.list(KeyFilter::default(), PageRequest::first(1)).await.map(drop),
        api.rotate(&key).await.map(drop),
        api.health().await.map(drop),
    ];
    for answer in lost {
        assert_refused!(answer, KmsError::AnswerLost);
    }
    let expected = [
        ("sign", true),
        ("sign_many", true),
        ("sign_aggregate", true),
        ("execute", true),
        ("register", true),
        ("key_info", true),
        ("list", false),
        ("rotate", true),
        ("health", false),
    ];
    let shown = shown.lock().unwrap();
    assert_eq!(shown.len(), expected.len());
    for (text, (operation, about_a_key)) in shown.iter().zip(expected) {
        let keys = if about_a_key { "a/b" } else { "" };
        assert_eq!(
            *text,
            format!(
                "KmsMessage {{ caller: Caller(\"Spy\"), operation: \"{operation}\", keys: [{keys}], .. }}"
            )
        );
        silent(text);
    }
}
