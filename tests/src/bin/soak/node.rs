//! The nodes of the soak: what they are made of, and how they are started again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, IfMissing, OpenContext, async_trait,
};
use kms_backend_keystore::KeystoreSettings;
use kms_backend_preload::PreloadSettings;
use kms_keys::{KeyId, PublicKey};
use kms_service::{KmsApi, KmsSection, KmsService, ShippedOperators};
use overwatch::overwatch::{Overwatch, OverwatchRunner};
use overwatch::services::state::{NoOperator, NoState};
use overwatch::services::{AsServiceId, ServiceCore, ServiceData};
use overwatch::{DynError, OpaqueServiceResourcesHandle, derive_services};
use serde::Deserialize;
use serde_json::Value;

use crate::remote::Remote;
use crate::tally::Tally;

/// What a request may take, by the service's own limit.
pub(crate) const DEADLINE: &str = "2s";

/// How long a client waits: far longer than the service may take, and than a stop and a start. A request
/// that it gives up was not answered.
pub(crate) const CLIENT_DEADLINE: Duration = Duration::from_secs(20);

/// How long a stop or a start may take before it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the service waits for a backend when it stops.
const FAREWELL: Duration = Duration::from_secs(2);

pub(crate) type Kms = KmsService<Places, ShippedOperators, RuntimeServiceId>;

/// The places where keys of the soak live.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Places {
    Preload(PreloadSettings),
    Keystore(KeystoreSettings),
    Remote {
        #[serde(skip)]
        remote: Remote,
    },
}

#[async_trait]
impl BackendSettings for Places {
    fn capabilities(&self) -> Capabilities {
        match self {
            Self::Preload(settings) => settings.capabilities(),
            Self::Keystore(settings) => settings.capabilities(),
            Self::Remote { .. } => Remote::capabilities(),
        }
    }

    fn if_missing(&self) -> IfMissing {
        match self {
            Self::Preload(settings) => settings.if_missing(),
            Self::Keystore(settings) => settings.if_missing(),
            Self::Remote { .. } => IfMissing::Fail,
        }
    }

    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        match self {
            Self::Preload(settings) => settings.open(context).await,
            Self::Keystore(settings) => settings.open(context).await,
            Self::Remote { remote } => Ok(Arc::new(remote.clone())),
        }
    }
}

/// A service that is here to ask.
pub(crate) struct Client<const NUMBER: u8>;

/// Those who behave.
pub(crate) type First = Client<1>;
/// Those who flood.
pub(crate) type Second = Client<2>;

#[derive_services]
pub(crate) struct Services {
    kms: Kms,
    first: First,
    second: Second,
}

impl<const NUMBER: u8> ServiceData for Client<NUMBER> {
    type Settings = ();
    type State = NoState<Self::Settings>;
    type StateOperator = NoOperator<Self::State>;
    type Message = ();
}

#[async_trait]
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

/// A node, and what was asked of it.
pub(crate) struct Node {
    overwatch: Overwatch<RuntimeServiceId>,
    pub(crate) name: &'static str,
    pub(crate) tally: Tally,
    /// Its backend elsewhere.
    pub(crate) remote: Remote,
    /// Its lasting keys that sign in this process.
    pub(crate) local: Vec<(KeyId, PublicKey)>,
    /// Those that sign elsewhere.
    pub(crate) far: Vec<(KeyId, PublicKey)>,
}

impl Node {
    /// A node with this section `kms`, started, with these lasting keys among its own.
    pub(crate) async fn start(
        name: &'static str,
        section: Value,
        lasting: impl IntoIterator<Item = KeyId>,
        folder: &Path,
    ) -> Self {
        let remote = Remote::default();
        let mut section: KmsSection<Places> = serde_json::from_value(section).unwrap();
        for place in section.backends.values_mut() {
            if let Places::Remote { remote: here } = place {
                *here = remote.clone();
            }
        }
        let kms = section.check::<RuntimeServiceId>(folder).unwrap();
        let settings = ServicesServiceSettings { kms, first: (), second: () };
        let runtime = tokio::runtime::Handle::current();
        let overwatch = OverwatchRunner::<Services>::run(settings, Some(runtime)).unwrap();
        let tally = Tally::default();
        let mut node = Self { overwatch, name, tally, remote, local: Vec::new(), far: Vec::new() };
        node.start_kms().await.unwrap();
        let api = node.api::<First>().await;
        for id in lasting {
            let key = api.public_key(&id).await.unwrap();
            let far = id.as_str().starts_with("remote");
            if far { &mut node.far } else { &mut node.local }.push((id, key));
        }
        node
    }

    /// The client of a service.
    pub(crate) async fn api<C>(&self) -> KmsApi
    where
        RuntimeServiceId: AsServiceId<C>,
    {
        let api = KmsApi::connect::<Kms, C>(self.overwatch.handle()).await;
        api.unwrap().with_deadline(CLIENT_DEADLINE)
    }

    /// Stops the service, does `meanwhile`, and starts it again.
    pub(crate) async fn restart(&self, meanwhile: impl FnOnce()) -> Result<(), String> {
        let _restarting = self.tally.restarting();
        let begun = Instant::now();
        self.stop_kms().await?;
        let stopped = Instant::now();
        // Writes to a disk.
        tokio::task::block_in_place(meanwhile);
        loop {
            match self.start_kms().await {
                // A backend that was left behind on a slow disk has its store still open.
                Err(error)
                    if error.contains("InUse")
                        && stopped - begun >= FAREWELL
                        && stopped.elapsed() < PATIENCE =>
                {
                    tokio::time::sleep(FAREWELL / 10).await;
                }
                started => return started,
            }
        }
    }

    /// Ends the node.
    pub(crate) async fn end(self) -> Result<(), String> {
        self.stop_kms().await?;
        let _ = self.overwatch.handle().shutdown().await;
        self.overwatch.wait_finished().await;
        Ok(())
    }

    async fn stop_kms(&self) -> Result<(), String> {
        let stopped = self.overwatch.handle().stop_service::<Kms>();
        self.within("stop", stopped).await
    }

    async fn start_kms(&self) -> Result<(), String> {
        let started = self.overwatch.handle().start_service::<Kms>();
        self.within("start", started).await
    }

    async fn within<E: std::fmt::Debug>(
        &self,
        what: &str,
        work: impl Future<Output = Result<(), E>>,
    ) -> Result<(), String> {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(done) => done.map_err(|error| format!("{} did not {what}: {error:?}", self.name)),
            Err(_) => Err(format!("{} did not {what} within {PATIENCE:?}", self.name)),
        }
    }
}
