use std::{
    fmt::{self, Debug, Display, Formatter},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use overwatch::{
    DynError, OpaqueServiceResourcesHandle,
    overwatch::OverwatchHandle,
    services::{
        ServiceCore, ServiceData,
        state::{ServiceState, StateOperator},
    },
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, oneshot},
};

/// What a worker is told at its start, and what it notes.
#[derive(Debug)]
pub struct Control {
    pub init: Mutex<Init>,
    pub load: Mutex<Load>,
    pub notes: Mutex<Vec<Note>>,
    /// An operator takes a permit for every state it keeps.
    pub keeps: Semaphore,
    /// An operator says here that it begins to keep a state.
    pub keeping: Mutex<Option<mpsc::UnboundedSender<u64>>>,
    panic_in_drop: Mutex<bool>,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            init: Mutex::default(),
            load: Mutex::default(),
            notes: Mutex::default(),
            keeps: Semaphore::new(1000),
            keeping: Mutex::default(),
            panic_in_drop: Mutex::default(),
        }
    }
}

impl Control {
    pub fn note(&self, note: Note) {
        self.notes.lock().unwrap().push(note);
    }

    pub fn notes(&self) -> Vec<Note> {
        self.notes.lock().unwrap().clone()
    }

    /// Lets the operator keep `permits` states for now, and tells of each that it begins with.
    pub fn watch_keeps(&self, permits: usize) -> mpsc::UnboundedReceiver<u64> {
        self.keeps.forget_permits(usize::MAX);
        self.keeps.add_permits(permits);
        let (sender, keeping) = mpsc::unbounded_channel();
        *self.keeping.lock().unwrap() = Some(sender);
        keeping
    }

    /// Has the next drop of the worker panic.
    pub fn panic_in_drop(&self) {
        *self.panic_in_drop.lock().unwrap() = true;
    }

    pub fn set_init(&self, init: Init) {
        *self.init.lock().unwrap() = init;
    }

    pub fn set_load(&self, load: Load) {
        *self.load.lock().unwrap() = load;
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Init {
    #[default]
    Fine,
    Fails,
    Panics,
    BlocksOnIo,
    SaysReady,
}

#[derive(Clone, Copy, Debug, Default)]
pub enum Load {
    #[default]
    Nothing,
    Saved(u64),
    Fails,
    Panics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    Operator,
    Init(u64),
    Polled,
    Dropped,
    Kept(u64),
}

/// The error of a failing `init`, to be found again in what the start returns.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused(pub usize);

impl Display for Refused {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} refused", self.0)
    }
}

impl std::error::Error for Refused {}

/// The error of a failing `run`.
#[derive(Debug)]
struct WorkFailed(Refused);

impl Display for WorkFailed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("the work failed")
    }
}

impl std::error::Error for WorkFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub text: &'static str,
    /// The state to begin with; none if it is odd.
    pub begin_with: u64,
    pub control: Arc<Control>,
}

impl Settings {
    pub fn new(control: &Arc<Control>) -> Self {
        Self { control: Arc::clone(control), ..Self::default() }
    }
}

#[derive(Debug)]
pub enum Message {
    Ready,
    Echo(u32, oneshot::Sender<u32>),
    ReadSettings(oneshot::Sender<&'static str>),
    Save(Option<u64>, oneshot::Sender<()>),
    /// Waits for ever, after it has answered.
    Hang(oneshot::Sender<()>),
    /// Gives the relay to a task that outlives this run until it is told.
    LeaveRelayBehind(oneshot::Receiver<()>),
    Shutdown,
    Return,
    Fail,
    Panic,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved(pub u64);

impl ServiceState for Saved {
    type Settings = Settings;
    type Error = String;

    fn from_settings(settings: &Settings) -> Result<Self, String> {
        if settings.begin_with.is_multiple_of(2) {
            Ok(Self(settings.begin_with))
        } else {
            Err(format!("{} is odd", settings.begin_with))
        }
    }
}

#[derive(Clone)]
pub struct Keeper(Arc<Control>);

#[async_trait]
impl<Id> StateOperator<Id> for Keeper {
    type State = Saved;
    type LoadError = DynError;

    fn try_load(settings: &Settings) -> Result<Option<Saved>, DynError> {
        let load = *settings.control.load.lock().unwrap();
        match load {
            Load::Nothing => Ok(None),
            Load::Saved(saved) => Ok(Some(Saved(saved))),
            Load::Fails => Err("the file is torn".into()),
            Load::Panics => panic!("the disk is on fire"),
        }
    }

    fn from_settings(settings: &Settings, _overwatch_handle: OverwatchHandle<Id>) -> Self {
        settings.control.note(Note::Operator);
        Self(Arc::clone(&settings.control))
    }

    async fn run(&mut self, state: Saved) {
        if let Some(keeping) = &*self.0.keeping.lock().unwrap() {
            keeping.send(state.0).unwrap();
        }
        self.0.keeps.acquire().await.unwrap().forget();
        assert_ne!(state.0, 666, "not this state");
        self.0.note(Note::Kept(state.0));
    }
}

/// `N` tells the workers of one node apart.
pub struct Worker<const N: usize, Id> {
    resources: OpaqueServiceResourcesHandle<Self, Id>,
    /// Notes the drop of the whole.
    _drop: NoteDrop,
}

struct NoteDrop(Arc<Control>);

impl Drop for NoteDrop {
    fn drop(&mut self) {
        self.0.note(Note::Dropped);
        let panics = std::mem::take(&mut *self.0.panic_in_drop.lock().unwrap());
        assert!(!panics, "this drop panics");
    }
}

impl<const N: usize, Id> ServiceData for Worker<N, Id> {
    type Settings = Settings;
    type State = Saved;
    type StateOperator = Keeper;
    type Message = Message;
}

#[async_trait]
impl<const N: usize, Id> ServiceCore<Id> for Worker<N, Id>
where
    Id: Clone + Debug + Display + Send + Sync + 'static,
{
    fn init(
        resources: OpaqueServiceResourcesHandle<Self, Id>,
        state: Saved,
    ) -> Result<Self, DynError> {
        let control = resources.settings_handle.notifier().get_updated_settings().control;
        let init = *control.init.lock().unwrap();
        match init {
            Init::Fine => {}
            Init::Fails => return Err(Box::new(Refused(N))),
            Init::Panics => panic!("worker {N} panicked"),
            Init::BlocksOnIo => tokio::task::block_in_place(|| {
                let runtime: &Handle = resources.overwatch_handle.runtime();
                runtime.block_on(async {
                    tokio::spawn(tokio::task::yield_now()).await.unwrap();
                });
            }),
            Init::SaysReady => resources.status_updater.notify_ready(),
        }
        control.note(Note::Init(state.0));
        Ok(Self { resources, _drop: NoteDrop(control) })
    }

    async fn run(mut self) -> Result<(), DynError> {
        self._drop.0.note(Note::Polled);
        while let Some(message) = self.resources.inbound_relay.recv().await {
            match message {
                Message::Ready => self.resources.status_updater.notify_ready(),
                Message::Echo(value, reply) => {
                    let _ = reply.send(value);
                }
                Message::ReadSettings(reply) => {
                    let settings = self.resources.settings_handle.notifier();
                    let _ = reply.send(settings.get_updated_settings().text);
                }
                Message::Save(state, reply) => {
                    self.resources.state_updater.update(state.map(Saved));
                    let _ = reply.send(());
                }
                Message::Hang(reply) => {
                    let _ = reply.send(());
                    std::future::pending::<()>().await;
                }
                Message::LeaveRelayBehind(until) => {
                    tokio::spawn(async move {
                        let _relay = self.resources.inbound_relay;
                        drop(until.await);
                    });
                    return Ok(());
                }
                Message::Shutdown => {
                    self.resources.overwatch_handle.shutdown().await?;
                    unreachable!("the service is stopped while it waits");
                }
                Message::Return => return Ok(()),
                Message::Fail => {
                    return Err(Box::new(WorkFailed(Refused(N))));
                }
                Message::Panic => panic!("worker {N} panicked in run"),
            }
        }
        Ok(())
    }
}
