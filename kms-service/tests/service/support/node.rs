//! A node with the service and two services that use it.

use std::path::Path;
use std::time::Duration;

use kms_keys::KeyId;
use kms_service::{KmsApi, KmsSection, KmsService, KmsSettings};
use overwatch::overwatch::{Error, Overwatch, OverwatchHandle, OverwatchRunner};
use overwatch::services::state::{NoOperator, NoState};
use overwatch::services::{ServiceCore, ServiceData};
use overwatch::{DynError, OpaqueServiceResourcesHandle, derive_services};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{FakeSettings, Script, TestOperators};

pub type Kms = KmsService<FakeSettings, TestOperators, RuntimeServiceId>;

/// A service that is here to have a name.
pub struct Client<const NUMBER: u8>;

pub type Identity = Client<1>;
pub type Proposer = Client<2>;

#[derive_services]
pub struct Node {
    kms: Kms,
    identity: Identity,
    proposer: Proposer,
}

impl<const NUMBER: u8> ServiceData for Client<NUMBER> {
    type Settings = ();
    type State = NoState<Self::Settings>;
    type StateOperator = NoOperator<Self::State>;
    type Message = ();
}

#[async_trait::async_trait]
impl<const NUMBER: u8> ServiceCore<RuntimeServiceId> for Client<NUMBER> {
    fn init(
        _: OpaqueServiceResourcesHandle<Self, RuntimeServiceId>,
        _: Self::State,
    ) -> Result<Self, DynError> {
        Ok(Self)
    }

    async fn run(mut self) -> Result<(), DynError> {
        std::future::pending().await
    }
}

/// How long anything may take before a test takes it for hung. Nothing comes near it, on a busy
/// machine either.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that runs, and the script of its one backend.
pub struct TestNode {
    overwatch: Option<Overwatch<RuntimeServiceId>>,
    pub handle: OverwatchHandle<RuntimeServiceId>,
    pub script: Script,
}

impl TestNode {
    /// A node with these keys (JSON sections), started.
    pub async fn started(keys: Value) -> Self {
        Self::started_with(keys, json!({}), &Script::default()).await
    }

    /// The same with `limits` and a script.
    pub async fn started_with(keys: Value, limits: Value, script: &Script) -> Self {
        let node = Self::new(keys, limits, script);
        node.start().await.unwrap();
        node
    }

    /// A node that is not started, in the runtime of the test.
    pub fn new(keys: Value, limits: Value, script: &Script) -> Self {
        Self::run(settings(keys, limits, script), script, Some(Handle::current()))
    }

    pub fn run(
        settings: KmsSettings<FakeSettings>,
        script: &Script,
        runtime: Option<Handle>,
    ) -> Self {
        let settings = NodeServiceSettings { kms: settings, identity: (), proposer: () };
        let overwatch = OverwatchRunner::<Node>::run(settings, runtime).unwrap();
        Self {
            handle: overwatch.handle().clone(),
            overwatch: Some(overwatch),
            script: script.clone(),
        }
    }

    pub async fn start(&self) -> Result<(), Error> {
        within(self.handle.start_service::<Kms>()).await
    }

    /// Drops the node as it is, whatever is stuck.
    pub fn let_go(self) {
        let mut this = self;
        drop(this.overwatch.take());
    }

    pub async fn stop(&self) {
        within(self.handle.stop_service::<Kms>()).await.unwrap();
    }

    /// The client of the service `Identity`, with a deadline that no test reaches.
    pub async fn api(&self) -> KmsApi {
        let api = within(KmsApi::connect::<Kms, Identity>(&self.handle)).await;
        api.unwrap().with_deadline(PATIENCE)
    }

    /// The same for the service `Proposer`.
    pub async fn proposer(&self) -> KmsApi {
        let api = within(KmsApi::connect::<Kms, Proposer>(&self.handle)).await;
        api.unwrap().with_deadline(PATIENCE)
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        // A test that failed must not hang for a thread that is still stuck.
        self.script.all_right();
    }
}

/// Checked settings with one backend, `fake`. Without a limit of its own, no request is cut off.
pub fn settings(keys: Value, limits: Value, script: &Script) -> KmsSettings<FakeSettings> {
    settings_of(json!({}), keys, limits, script)
}

/// The same with a section for the backend.
pub fn settings_of(
    backend: Value,
    keys: Value,
    mut limits: Value,
    script: &Script,
) -> KmsSettings<FakeSettings> {
    if limits.get("deadline").is_none() {
        limits["deadline"] = json!("10m");
    }
    let section = json!({ "backends": { "fake": backend }, "keys": keys, "limits": limits });
    let mut section: KmsSection<FakeSettings> = serde_json::from_value(section).unwrap();
    section.backends.get_mut("fake").unwrap().script = script.clone();
    section.check::<RuntimeServiceId>(Path::new("/nowhere")).unwrap()
}

/// What `future` gives, if it isn't hung.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("hung")
}

pub fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

pub fn ids<const N: usize>(texts: [&str; N]) -> [KeyId; N] {
    texts.map(id)
}
