//! The service that shows how the node is: `/metrics`, `/health` and `/ready`, over HTTP on a loopback
//! address. It is started before all others and stopped after them.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use kms_service::KmsApi;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use overwatch::overwatch::OverwatchHandle;
use overwatch::services::state::{NoOperator, NoState};
use overwatch::services::status::StatusUpdater;
use overwatch::services::status::handle::ServiceAPI;
use overwatch::services::{ServiceCore, ServiceData};
use overwatch::{DynError, OpaqueServiceResourcesHandle};
use thiserror::Error;

use crate::http;
use crate::node::{Kms, RuntimeServiceId};
use crate::pages::Pages;

/// The upper bounds of the buckets that durations are counted in, in seconds: from a fraction of one
/// signature to the longest deadline by default.
const SECONDS: [f64; 16] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 1.0, 5.0,
];

/// How often what was recorded is put into its buckets, whether or not anybody asks for it.
const UPKEEP: Duration = Duration::from_secs(1);

/// How long the key management service may take to say how it is: longer than it waits for a backend.
const PATIENCE: Duration = Duration::from_secs(3);

/// Settings of this service.
#[derive(Clone, Debug)]
pub struct ObserveSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What has been measured.
    pub recorder: Recorder,
    /// Whether the node is ready.
    pub readiness: Readiness,
}

/// Whether all services of the node are ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says that they are, or are no longer.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether they are.
    #[must_use]
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The metrics recorder of this process.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

/// Another metrics recorder is installed in this process.
#[derive(Debug, Error)]
#[error("section `observe` needs the metrics recorder of this process, and it has another one")]
pub struct OtherRecorder;

impl Recorder {
    /// Has everything that the process measures from now on recorded. The nodes of one process share
    /// the recorder.
    ///
    /// # Errors
    /// [`OtherRecorder`].
    pub fn install() -> Result<Self, OtherRecorder> {
        static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
        let install =
            || PrometheusBuilder::new().set_buckets(&SECONDS).ok()?.install_recorder().ok();
        RECORDER.get_or_init(install).clone().map(Self).ok_or(OtherRecorder)
    }

    /// What has been recorded, in Prometheus' text form. May take some milliseconds.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

/// Why the service does not start.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// The node's settings have no section `observe`.
    #[error("section `observe` is missing")]
    NoSection,
    /// The address can't be listened on; most likely something else does.
    #[error("can't listen on {listen} (`observe.listen`)")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// The service.
pub struct Observe {
    status: StatusUpdater<ServiceAPI>,
    handle: OverwatchHandle<RuntimeServiceId>,
    settings: ObserveSettings,
    listener: TcpListener,
}

impl ServiceData for Observe {
    /// `None` in a node that shows nothing, where the service is never started.
    type Settings = Option<ObserveSettings>;
    type State = NoState<Self::Settings>;
    type StateOperator = NoOperator<Self::State>;
    type Message = ();
}

#[async_trait::async_trait]
impl ServiceCore<RuntimeServiceId> for Observe {
    fn init(
        resources: OpaqueServiceResourcesHandle<Self, RuntimeServiceId>,
        _initial_state: Self::State,
    ) -> Result<Self, DynError> {
        let settings = resources.settings_handle.notifier().get_updated_settings();
        let settings = settings.ok_or(ObserveError::NoSection)?;
        let listen = settings.listen;
        // Here, so that an address that is taken is a start that fails.
        let listener = TcpListener::bind(listen)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|source| ObserveError::Listen { listen, source })?;
        Ok(Self {
            status: resources.status_updater,
            handle: resources.overwatch_handle,
            settings,
            listener,
        })
    }

    async fn run(self) -> Result<(), DynError> {
        let Self { status, handle, settings, listener } = self;
        let ObserveSettings { recorder, readiness, .. } = settings;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tracing::info!(address = %listener.local_addr()?, "the node can be observed");
        let kms = KmsApi::connect::<Kms, Self>(&handle).await?.with_deadline(PATIENCE);
        let _upkeep = upkeep(recorder.0.clone())?;
        let pages = Arc::new(Pages { recorder, readiness, kms });
        status.notify_ready();
        http::serve(&listener, move |path| {
            let pages = Arc::clone(&pages);
            async move { pages.page(&path).await }
        })
        .await;
        Ok(())
    }
}

/// Until what it returns is dropped. Without it, what is measured would be kept one by one until somebody
/// asks. Not on the runtime: under load there is much to put away.
fn upkeep(recorder: PrometheusHandle) -> io::Result<mpsc::Sender<()>> {
    let (running, stopped) = mpsc::channel();
    thread::Builder::new().name("node-metrics".into()).spawn(move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(UPKEEP) {
            recorder.run_upkeep();
        }
    })?;
    Ok(running)
}
