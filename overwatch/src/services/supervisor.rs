//! Runs one service: starts and stops it as told, and sees when it ends by itself.

use std::{
    future::{Future, pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
};

use tokio::{
    select,
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinHandle},
};
use tracing::{debug, error};

use super::{
    ServiceCore, ServiceData,
    failure::{StartError, panic_text},
    lifecycle::{LifecycleMessage, Order},
    relay::{InboundRelay, Relay},
    resources::ServiceResourcesHandle,
    runner::ServiceNames,
    settings::SettingsHandle,
    state::{Ending, ServiceState, StateHandle, StateOperator, StateUpdater, StateWatcher},
    status::StatusHandle,
};
use crate::{
    DynError,
    overwatch::{OverwatchHandle, errors::Chain},
    task,
};

/// Runs one service.
pub(super) struct Supervisor<Service: ServiceData, RuntimeServiceId> {
    pub(super) names: ServiceNames,
    pub(super) overwatch_handle: OverwatchHandle<RuntimeServiceId>,
    pub(super) relay: Relay<Service::Message>,
    pub(super) settings: SettingsHandle<Service::Settings>,
    pub(super) status: StatusHandle,
    pub(super) operator: Service::StateOperator,
    pub(super) orders: mpsc::Receiver<Order>,
    /// An order that came while the service was ending by itself.
    pub(super) next: Option<Order>,
}

type Outcome = Result<(), DynError>;

/// One run of the service.
struct Run {
    service: JoinHandle<Outcome>,
    state: JoinHandle<()>,
    ending: watch::Sender<Ending>,
}

/// A service that `init` has made.
struct Made<State, Operator> {
    run: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    states: watch::Receiver<Option<State>>,
    operator: Operator,
}

impl<Service, RuntimeServiceId> Supervisor<Service, RuntimeServiceId>
where
    Service: ServiceCore<RuntimeServiceId> + 'static,
    Service::Message: Send + 'static,
    Service::Settings: Clone + Send + Sync + 'static,
    Service::State: ServiceState<Settings = Service::Settings, Error: std::fmt::Display>
        + Clone
        + Send
        + Sync
        + 'static,
    Service::StateOperator: StateOperator<RuntimeServiceId, State = Service::State, LoadError: std::fmt::Display>
        + Clone
        + Send
        + 'static,
    RuntimeServiceId: Clone + Send + 'static,
{
    /// Works until told to end, or until nobody is left who could tell anything.
    pub(super) async fn supervise(mut self) {
        let mut run: Option<Run> = None;
        loop {
            let order = match self.next.take() {
                Some(order) => Some(order),
                None => select! {
                    // What has ended is seen before the order that may start it again.
                    biased;
                    outcome = outcome(&mut run) => {
                        if let Some(run) = run.take() {
                            self.see_off(run, outcome).await;
                        }
                        continue;
                    }
                    order = self.orders.recv() => order,
                },
            };
            match order {
                Some(Order::Change { message, failure }) => {
                    self.change(&mut run, message, failure).await;
                }
                Some(Order::End) | None => {
                    self.stop(&mut run).await;
                    return;
                }
            }
        }
    }

    async fn change(
        &mut self,
        run: &mut Option<Run>,
        message: LifecycleMessage,
        failure: Option<oneshot::Sender<DynError>>,
    ) {
        let done = match message {
            LifecycleMessage::Start(done) => {
                if run.is_none() {
                    match self.start().await {
                        Ok(started) => *run = Some(started),
                        Err(error) => {
                            // The cause first: whoever waits for `done`, which is dropped here,
                            // then looks into the slot. An error that nobody takes is logged.
                            let untaken = match failure {
                                Some(slot) => slot.send(error.into()).err(),
                                None => Some(error.into()),
                            };
                            if let Some(error) = untaken {
                                let service = &self.names.service;
                                error!(%service, "not started: {}", Chain(&*error));
                            }
                            return;
                        }
                    }
                }
                done
            }
            LifecycleMessage::Stop(done) => {
                self.stop(run).await;
                done
            }
        };
        if done.send(()).is_err() {
            debug!(service = %self.names.service, "nobody waits for the change any more");
        }
    }

    async fn start(&mut self) -> Result<Run, StartError> {
        let inbound_relay = self.relay.lend().await.map_err(StartError::Relay)?;
        // A panic in the service's code is a failed start, and not the end of this task.
        let made = catch_unwind(AssertUnwindSafe(|| self.make(inbound_relay)));
        let Made { run, states, operator } =
            made.unwrap_or_else(|panic| Err(StartError::Panic(panic_text(&*panic).to_owned())))?;
        self.status.runner_updater().notify_starting();

        let runtime = self.overwatch_handle.runtime();
        let (ending, ends) = watch::channel(Ending::No);
        let state =
            StateHandle::new(self.names.service.clone(), StateWatcher::new(states), operator, ends);
        let state = task::spawn(runtime, self.names.state_task, state.run());
        let (polled, first_poll) = oneshot::channel();
        let service = task::spawn(runtime, self.names.service_task, announce(run, polled));
        // An error means that the first poll panicked; it has taken place all the same.
        let _ = first_poll.await;
        Ok(Run { service, state, ending })
    }

    /// Loads the state and makes the service.
    fn make(
        &self,
        inbound_relay: InboundRelay<Service::Message>,
    ) -> Result<Made<Service::State, Service::StateOperator>, StartError> {
        let settings = self.settings.notifier().get_updated_settings();
        let loaded = Service::StateOperator::try_load(&settings)
            .map_err(|error| StartError::LoadState(error.to_string()))?;
        let state = match loaded {
            Some(state) => state,
            None => Service::State::from_settings(&settings)
                .map_err(|error| StartError::InitialState(error.to_string()))?,
        };
        let (updater, states) = watch::channel(Some(state.clone()));
        let resources = ServiceResourcesHandle {
            inbound_relay,
            status_updater: self.status.service_updater(),
            overwatch_handle: self.overwatch_handle.clone(),
            settings_handle: self.settings.clone(),
            state_updater: StateUpdater::new(Arc::new(updater)),
        };
        let operator = self.operator.clone();
        let service = Service::init(resources, state).map_err(StartError::Init)?;
        Ok(Made { run: service.run(), states, operator })
    }

    async fn stop(&mut self, run: &mut Option<Run>) {
        if let Some(mut run) = run.take() {
            run.service.abort();
            let _ = run.ending.send_replace(Ending::Awaited);
            // Only when the future has been dropped, with everything in it, is this done.
            let outcome = (&mut run.service).await;
            self.see_off(run, outcome).await;
        }
    }

    /// After the service's future has been dropped: its last state, then its status.
    async fn see_off(&mut self, mut run: Run, outcome: Result<Outcome, JoinError>) {
        let service = &self.names.service;
        let mut orphaned = Vec::new();
        match outcome {
            Ok(Ok(())) => debug!(%service, "done"),
            Ok(Err(error)) => error!(%service, "failed: {}", Chain(&*error)),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => {
                    error!(%service, "panicked: {}", panic_text(&*panic));
                    orphaned = self.relay.take_queued();
                }
                Err(_) => debug!(%service, "stopped"),
            },
        }
        self.drain_state(&mut run).await;
        self.status.runner_updater().notify_stopped();
        // Their reply channels close only now, so that who is surprised finds the reason.
        drop(orphaned);
    }

    /// Waits until the last state is kept.
    async fn drain_state(&mut self, run: &mut Run) {
        run.ending.send_if_modified(|ending| {
            let running = *ending == Ending::No;
            if running {
                *ending = Ending::Ended;
            }
            running
        });
        if *run.ending.borrow() == Ending::Ended {
            select! {
                biased;
                ended = &mut run.state => return self.note_end_of_state(ended),
                // Whoever sent this waits for us.
                order = self.orders.recv() => {
                    self.next = Some(order.unwrap_or(Order::End));
                    run.ending.send_replace(Ending::Awaited);
                }
            }
        }
        let ended = (&mut run.state).await;
        self.note_end_of_state(ended);
    }

    /// The operator's panics are caught, but not those of, say, cloning a state.
    fn note_end_of_state(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended {
            error!(service = %self.names.service, "its states are no longer kept: {error}");
        }
    }
}

/// Waits for the end of the run, if there is one.
async fn outcome(run: &mut Option<Run>) -> Result<Outcome, JoinError> {
    match run {
        Some(run) => (&mut run.service).await,
        None => pending().await,
    }
}

/// Runs the service, and tells when it has been polled for the first time.
async fn announce(
    mut run: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    polled: oneshot::Sender<()>,
) -> Outcome {
    let mut polled = Some(polled);
    poll_fn(|cx| {
        let progress = run.as_mut().poll(cx);
        if let Some(polled) = polled.take() {
            let _ = polled.send(());
        }
        progress
    })
    .await
}
