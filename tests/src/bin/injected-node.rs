//! A node that is nothing but the key management service and one who signs: its backend is the one that the
//! environment names. Its working folder is that of its settings. Says on standard output, in JSON, where the
//! key is and what it has signed.
//!
//! `injected-node ID TYPE MESSAGE`

use kms_backend::IfMissing;
use kms_backends::{AnyBackend, InjectedBackend};
use kms_keys::KeyType;
use kms_secrets::environment;
use kms_service::{KeyRequest, KmsApi, KmsSection, KmsService, ShippedOperators};
use overwatch::overwatch::{OverwatchHandle, OverwatchRunner};
use overwatch::services::state::{NoOperator, NoState};
use overwatch::services::status::StatusUpdater;
use overwatch::services::status::handle::ServiceAPI;
use overwatch::services::{ServiceCore, ServiceData};
use overwatch::{DynError, OpaqueServiceResourcesHandle, derive_services};

type Kms = KmsService<AnyBackend, ShippedOperators, RuntimeServiceId>;

#[derive_services]
struct Node {
    kms: Kms,
    signatory: Signatory,
}

/// Signs once.
struct Signatory {
    asked: Asked,
    handle: OverwatchHandle<RuntimeServiceId>,
    status: StatusUpdater<ServiceAPI>,
}

#[derive(Clone, Debug)]
struct Asked {
    id: String,
    key_type: KeyType,
    message: String,
}

impl ServiceData for Signatory {
    type Settings = Asked;
    type State = NoState<Asked>;
    type StateOperator = NoOperator<Self::State>;
    type Message = ();
}

#[kms_backend::async_trait]
impl ServiceCore<RuntimeServiceId> for Signatory {
    fn init(
        resources: OpaqueServiceResourcesHandle<Self, RuntimeServiceId>,
        _: Self::State,
    ) -> Result<Self, DynError> {
        let asked = resources.settings_handle.notifier().get_updated_settings();
        Ok(Self { asked, handle: resources.overwatch_handle, status: resources.status_updater })
    }

    async fn run(self) -> Result<(), DynError> {
        let Asked { id, key_type, message } = self.asked;
        let kms = KmsApi::connect::<Kms, Self>(&self.handle).await?;
        let request = KeyRequest::new(id.as_str(), key_type).if_missing(IfMissing::Generate);
        let key = kms.register(request).await?;
        self.status.notify_ready();
        let signature = key.sign(message.into_bytes()).await?;
        let info = key.info();
        let said = serde_json::json!({
            "backend": info.backend,
            "public_key": info.public_key.to_string(),
            "signature": base16ct::lower::encode_string(&signature.to_bytes()),
        });
        println!("{said}");
        self.handle.shutdown().await?;
        Ok(())
    }
}

/// Not async: what the environment holds is taken before any thread is started.
fn main() -> Result<(), DynError> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("injected-node ID TYPE MESSAGE");
    let (id, key_type, message) = (next()?, next()?.parse()?, next()?);
    let injected = InjectedBackend::from_environment(|name| std::env::var_os(name))?;
    let injected = injected.ok_or("the environment names no backend")?;
    let mut section: KmsSection<AnyBackend> = serde_json::from_str(r#"{ "backends": {} }"#)?;
    section.backends.insert("environment".into(), injected.backend.clone());
    let kms = section.check::<RuntimeServiceId>("".as_ref())?;
    injected.check_account()?;
    environment::take(kms.env_names())?;

    let settings = NodeServiceSettings { kms, signatory: Asked { id, key_type, message } };
    let node = OverwatchRunner::<Node>::run(settings, None)?;
    let handle = node.handle().clone();
    node.runtime().handle().block_on(async move {
        handle.start_service::<Kms>().await?;
        handle.start_service::<Signatory>().await
    })?;
    node.blocking_wait_finished();
    Ok(())
}
