//! The actor: takes requests from its relay and gives them to the engine.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::pin::pin;
use std::task::Poll;

use futures::FutureExt;
use kms_backend::BackendSettings;
use overwatch::services::relay::InboundRelay;
use overwatch::services::state::{NoOperator, NoState};
use overwatch::services::status::StatusUpdater;
use overwatch::services::status::handle::ServiceAPI;
use overwatch::services::{ServiceCore, ServiceData};
use overwatch::{DynError, OpaqueServiceResourcesHandle};
use tokio::runtime::RuntimeFlavor;
use tokio::task::coop;

use crate::engine::{Engine, Waiting};
use crate::{KmsMessage, KmsSettings, Operators, StartupError, startup};

/// The key management service of a node.
///
/// - `B` is the settings type of its backends: [`BackendSettings`] of one backend, or an enum of
///   several.
/// - `O` names the [`Operators`] that may use secrets in this node.
/// - `RuntimeServiceId` is the node's service id type.
///
/// `init` opens the backends and registers every key of the settings. If one can't be loaded, the
/// service does not start and says why for every such key; the report ([`StartupError`]) is the
/// error that `init` returns, and is logged as well. Needs a multi-thread runtime.
///
/// The service stops by being dropped, as the framework does it: what waits is answered
/// [`Stopped`](crate::KmsError::Stopped), a running signature ends, secrets are wiped.
pub struct KmsService<B, O, RuntimeServiceId> {
    inbound: InboundRelay<KmsMessage>,
    status: StatusUpdater<ServiceAPI>,
    engine: Engine,
    parameters: Parameters<B, O, RuntimeServiceId>,
}

/// The service holds no value of these types; they say how it was put together.
type Parameters<B, O, RuntimeServiceId> = PhantomData<fn() -> (B, O, RuntimeServiceId)>;

impl<B: BackendSettings, O: Operators, RuntimeServiceId> ServiceData
    for KmsService<B, O, RuntimeServiceId>
{
    /// How many requests may be on their way to the service. The loop takes them out without ever
    /// waiting, so the relay is full only for moments, and a sender waits no longer than that; how
    /// much may wait for a signature is `limits.queue` of the settings.
    const SERVICE_RELAY_BUFFER_SIZE: usize = 1024;

    type Settings = KmsSettings<B>;
    type State = NoState<Self::Settings>;
    type StateOperator = NoOperator<Self::State>;
    type Message = KmsMessage;
}

#[async_trait::async_trait]
impl<B, O, RuntimeServiceId> ServiceCore<RuntimeServiceId> for KmsService<B, O, RuntimeServiceId>
where
    B: BackendSettings,
    O: Operators,
    RuntimeServiceId: Send + 'static,
{
    fn init(
        resources: OpaqueServiceResourcesHandle<Self, RuntimeServiceId>,
        _initial_state: Self::State,
    ) -> Result<Self, DynError> {
        let settings = resources.settings_handle.notifier().get_updated_settings();
        let runtime = resources.overwatch_handle.runtime().clone();
        let started = if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            Err(StartupError::CurrentThreadRuntime)
        } else {
            tokio::task::block_in_place(|| {
                runtime.block_on(startup::start::<B, O>(&settings, &runtime))
            })
        };
        let engine = started.inspect_err(|report| {
            // A target of its own: who prints the returned report can leave it out of the log.
            tracing::error!(target: "kms_service::startup::failed", "{report}");
        })?;
        tracing::info!(keys = engine.registry.len(), "key management service started");
        Ok(Self {
            inbound: resources.inbound_relay,
            status: resources.status_updater,
            engine,
            parameters: PhantomData,
        })
    }

    async fn run(mut self) -> Result<(), DynError> {
        self.status.notify_ready();
        loop {
            tokio::select! {
                biased;
                Some(finished) = self.engine.next_finished() => self.engine.finish(finished),
                message = self.inbound.recv() => match message {
                    Some(message) => self.handle(message).await,
                    None => return Ok(()),
                },
                never = end_turn() => match never {},
            }
            if self.engine.lanes.can_wait() {
                // Others who can run may have more to ask for, and the lanes have work meanwhile.
                step_back().await;
                while let Some(message) = self.inbound.recv().now_or_never().flatten() {
                    self.pass_on(message, Waiting::Others).await;
                }
            }
            self.engine.lanes.call();
        }
    }
}

impl<B, O, RuntimeServiceId> KmsService<B, O, RuntimeServiceId> {
    /// Handles `message` and whatever has come behind it. Only the last one finds nothing waiting:
    /// what is cheap enough to be signed at once is signed here for one caller at a time, and by the
    /// lanes as soon as there are more.
    async fn handle(&mut self, message: KmsMessage) {
        let mut message = message;
        // Not waiting; and at some point the runtime's budget ends this, for other tasks to go on.
        while let Some(next) = self.inbound.recv().now_or_never().flatten() {
            self.pass_on(message, Waiting::Others).await;
            message = next;
            if let Some(Some(finished)) = self.engine.next_finished().now_or_never() {
                self.engine.finish(finished);
            }
        }
        self.pass_on(message, Waiting::Nobody).await;
    }

    async fn pass_on(&mut self, message: KmsMessage, behind: Waiting) {
        self.engine.handle(message, behind);
        while self.engine.gather() {
            step_back().await;
        }
    }
}

/// Goes to the end of the queue of what can run. Unlike tokio's own `yield_now`, which lets this thread
/// run out of work first, however long that takes.
async fn step_back() {
    let mut back = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut back, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Ends this thread's turn once there is nothing to do, for whoever was just answered to go on in a
/// turn of its own. Never ready.
///
/// tokio runs two tasks that wake each other on one thread, and at every third time wakes another
/// thread to share in, which finds nothing: measured, 6 us for two requests in three of one caller.
/// It does so no more often than a turn is long, and a turn ends with its budget.
async fn end_turn() -> Infallible {
    std::future::poll_fn(|context| {
        // No budget is larger; and outside of a turn there is none, which would never be spent.
        for _ in 0..=u8::MAX {
            if !coop::has_budget_remaining() {
                break;
            }
            let _ = pin!(coop::consume_budget()).poll(context);
        }
        Poll::Pending
    })
    .await
}
