//! The nodes of the soak: what they are made of, and how they are started again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, IfMissing, OpenContext, async_trait,
};
use kms_backend_keystore::KeystoreSettings;
use kms_backend_preload::PreloadSettings;
use kms_service::{KmsApi, KmsSection, KmsService, ShippedOperators};
use overwatch::overwatch::{Overwatch, OverwatchRunner};
use overwatch::services::state::{NoOperator, NoState};
use overwatch::services::{AsServiceId, ServiceCore, ServiceData};
use overwatch::{DynError, OpaqueServiceResourcesHandle, derive_services};
use serde::Deserialize;
use serde_json::Value;

use crate::remote::Remote;
use crate::tally::Tally;

/// What a request may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

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
    restarts: AtomicU64,
}

impl Node {
    /// A node with this section `kms`, started.
    pub(crate) async fn start(
        name: &'static str,
        section: Value,
        remote: &Remote,
        folder: &Path,
    ) -> Self {
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
        let node =
            Self { overwatch, name, tally: Tally::default(), restarts: AtomicU64::default() };
        node.start_kms().await.unwrap();
        node
    }

    /// The client of a service.
    pub(crate) async fn api<C>(&self) -> KmsApi
    where
        RuntimeServiceId: AsServiceId<C>,
    {
        let api = KmsApi::connect::<Kms, C>(self.overwatch.handle()).await;
        api.unwrap().with_deadline(DEADLINE)
    }

    /// How often it was started again.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::SeqCst)
    }

    /// Stops the service, does `meanwhile`, and starts it again.
    pub(crate) async fn restart(&self, meanwhile: impl FnOnce()) -> Result<(), String> {
        self.restarts.fetch_add(1, Ordering::SeqCst);
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
