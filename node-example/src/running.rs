//! Starting the node in order, and stopping it in order.

use std::time::Duration;

use kms_backend::{ErrorChain, KeyInfo, PageRequest};
use kms_service::{KeyFilter, KmsApi};
use overwatch::overwatch::{Overwatch, OverwatchHandle, OverwatchRunner};
use overwatch::services::AsServiceId;
use overwatch::services::status::ServiceStatus;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::attesters::{Attesters, AttestersSettings};
use crate::event::{Event, EventSender, SlotReport};
use crate::identity::{Identity, IdentitySettings};
use crate::node::{Kms, Node, NodeServiceSettings, RuntimeServiceId};
use crate::observe::{Observe, ObserveSettings, OtherRecorder, Readiness, Recorder};
use crate::proposer::{Proposer, ProposerSettings};
use crate::refusal::{ExitCode, Refusal};
use crate::settings::NodeSettings;
use crate::verifier::{Verifier, VerifierSettings};

/// How long a service may take to be ready, once it was started.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A node that runs. Stop it with [`RunningNode::stop`]; dropping it leaves its services in the
/// runtime.
pub struct RunningNode {
    overwatch: Overwatch<RuntimeServiceId>,
    events: UnboundedReceiver<Event>,
    keys: Vec<KeyInfo>,
    /// Said by the service `observe`, where there is one.
    readiness: Option<Readiness>,
}

impl RunningNode {
    /// A node with all its services, started. Needs a multi-thread runtime.
    ///
    /// # Errors
    /// [`Refusal`], after everything that was started has been stopped again.
    pub async fn start(settings: NodeSettings) -> Result<Self, Refusal> {
        let mut node = Self::new(settings)?;
        match node.start_services().await {
            Ok(()) => Ok(node),
            Err(refusal) => {
                node.stop().await;
                Err(refusal)
            }
        }
    }

    /// A node whose services are not started yet. Whatever becomes of it, [`RunningNode::stop`] is
    /// how it ends.
    ///
    /// # Errors
    /// [`Refusal`], when the framework can't run it, or the settings have a section `observe` and the
    /// process another metrics recorder.
    pub fn new(settings: NodeSettings) -> Result<Self, Refusal> {
        let (sender, events) = EventSender::channel();
        let observe = settings.observe.as_ref().map(|section| {
            let recorder = Recorder::install()?;
            Ok(ObserveSettings {
                listen: section.listen,
                recorder,
                readiness: Readiness::default(),
            })
        });
        let observe = observe
            .transpose()
            .map_err(|error: OtherRecorder| Refusal::new(ExitCode::Bug, error.to_string()))?;
        let readiness = observe.as_ref().map(|observe| observe.readiness.clone());
        let settings = service_settings(settings, observe, &sender);
        let runtime = tokio::runtime::Handle::current();
        let overwatch = OverwatchRunner::<Node>::run(settings, Some(runtime))
            .map_err(|error| Refusal::new(ExitCode::Bug, ErrorChain(&*error).to_string()))?;
        Ok(Self { overwatch, events, keys: Vec::new(), readiness })
    }

    /// The node's handle.
    #[must_use]
    pub fn handle(&self) -> &OverwatchHandle<RuntimeServiceId> {
        self.overwatch.handle()
    }

    /// The keys that were registered when the node was ready.
    #[must_use]
    pub fn keys(&self) -> &[KeyInfo] {
        &self.keys
    }

    /// Waits for the next slot. Cancel-safe.
    ///
    /// # Errors
    /// [`Refusal`], when a service can't go on.
    pub async fn next_slot(&mut self) -> Result<SlotReport, Refusal> {
        match self.events.recv().await {
            Some(Event::Slot(slot)) => Ok(slot),
            Some(Event::Failed(failure)) => Err(failure.into()),
            None => Err(Refusal::new(ExitCode::Bug, "all services have ended")),
        }
    }

    /// Stops every service, the key management service last – and after it what shows how it is.
    pub async fn stop(self) {
        self.set_ready(false);
        self.stop_one::<Proposer>().await;
        self.stop_one::<Attesters>().await;
        self.stop_one::<Identity>().await;
        self.stop_one::<Verifier>().await;
        self.stop_one::<Kms>().await;
        if self.readiness.is_some() {
            self.stop_one::<Observe>().await;
        }
        if let Err(error) = self.handle().shutdown().await {
            tracing::warn!(error = %ErrorChain(&error), "shutting down failed");
        }
        self.overwatch.wait_finished().await;
    }

    /// Starts what shows how the node is, where the settings have it, and the key management service,
    /// then each service before those that send to it, and waits until each is ready.
    ///
    /// # Errors
    /// [`Refusal`]; what was started goes on until [`RunningNode::stop`].
    pub async fn start_services(&mut self) -> Result<(), Refusal> {
        if self.readiness.is_some() {
            self.start_one::<Observe>().await?;
        }
        self.start_one::<Kms>().await?;
        self.start_one::<Verifier>().await?;
        self.start_one::<Identity>().await?;
        self.start_one::<Attesters>().await?;
        self.start_one::<Proposer>().await?;
        self.keys = registered_keys(self.handle()).await?;
        self.set_ready(true);
        Ok(())
    }

    fn set_ready(&self, ready: bool) {
        if let Some(readiness) = &self.readiness {
            readiness.set(ready);
        }
    }

    async fn start_one<S>(&mut self) -> Result<(), Refusal>
    where
        RuntimeServiceId: AsServiceId<S>,
    {
        let id = <RuntimeServiceId as AsServiceId<S>>::SERVICE_ID;
        let started = self.handle().start_service::<S>().await;
        started.map_err(|error| Refusal::of_start(&id.to_string(), &error))?;
        let mut watcher = self.handle().status_watcher::<S>().await;
        let ready = watcher.wait_for(ServiceStatus::Ready, Some(READY_WITHIN));
        tokio::select! {
            biased;
            ready = ready => ready.map(drop).map_err(|_| {
                let text = format!("service {id} was not ready within {READY_WITHIN:?}");
                Refusal::new(ExitCode::Unavailable, text)
            }),
            Some(Event::Failed(failure)) = self.events.recv() => Err(failure.into()),
        }
    }

    async fn stop_one<S>(&self)
    where
        RuntimeServiceId: AsServiceId<S>,
    {
        if let Err(error) = self.handle().stop_service::<S>().await {
            let id = <RuntimeServiceId as AsServiceId<S>>::SERVICE_ID;
            tracing::warn!(error = %ErrorChain(&error), "service {id} did not stop");
        }
    }
}

/// The keys are listed on behalf of the identity, which publishes them anyway.
async fn registered_keys(
    handle: &OverwatchHandle<RuntimeServiceId>,
) -> Result<Vec<KeyInfo>, Refusal> {
    let refused = |error| Refusal::new(ExitCode::Unavailable, ErrorChain(&error).to_string());
    let kms = KmsApi::connect::<Kms, Identity>(handle).await.map_err(refused)?;
    let (mut keys, mut page) = (Vec::new(), PageRequest::first(1024));
    loop {
        let next = kms.list(KeyFilter::default(), page.clone()).await.map_err(refused)?;
        keys.extend(next.keys);
        page.after = next.next;
        if page.after.is_none() {
            return Ok(keys);
        }
    }
}

fn service_settings(
    settings: NodeSettings,
    observe: Option<ObserveSettings>,
    events: &EventSender,
) -> NodeServiceSettings {
    let NodeSettings { kms, identity, proposer, attesters, .. } = settings;
    NodeServiceSettings {
        kms,
        identity: IdentitySettings {
            key: identity.key,
            peer: identity.peer,
            events: events.clone(),
        },
        proposer: ProposerSettings {
            key: proposer.key,
            slot: proposer.slot,
            events: events.clone(),
        },
        attesters: AttestersSettings { keys: attesters.keys, events: events.clone() },
        verifier: VerifierSettings { events: events.clone() },
        observe,
    }
}
