//! What the service's threads share and wait by, as shuttle has it.

pub(crate) use shuttle::sync::{
    Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, atomic,
};

/// Does `work` on a thread of its own: a runtime does it at any time.
pub(crate) fn on_runtime(_: &tokio::runtime::Handle, work: impl FnOnce() + Send + 'static) {
    shuttle::thread::spawn(work);
}

/// Priorities are none of this scheduler's.
pub(crate) fn niceness() -> i32 {
    0
}

pub(crate) fn set_niceness(_: i32) {}

pub(crate) mod oneshot {
    use std::time::Duration;

    use tokio::sync::oneshot;

    pub(crate) use tokio::sync::oneshot::Receiver;

    /// To send is an event: others may come before it.
    pub(crate) struct Sender<T>(oneshot::Sender<T>);

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Sender(sender), receiver)
    }

    impl<T> Sender<T> {
        pub(crate) fn send(self, value: T) -> Result<(), T> {
            shuttle::thread::sleep(Duration::ZERO);
            self.0.send(value)
        }

        pub(crate) fn is_closed(&self) -> bool {
            self.0.is_closed()
        }

        pub(crate) async fn closed(&mut self) {
            self.0.closed().await;
        }
    }
}

pub(crate) mod thread {
    use std::cell::Cell;
    use std::io;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::atomic::{AtomicBool, Ordering};

    pub(crate) use shuttle::thread::JoinHandle;

    shuttle::thread_local! {
        static PANICS: Cell<bool> = const { Cell::new(false) };
    }

    /// The mutation of [`without_replacement`].
    static UNSEEN: AtomicBool = AtomicBool::new(false);

    /// What [`without_threads`] says.
    static NONE: AtomicBool = AtomicBool::new(false);

    /// A thread that may panic. Shuttle takes a panic of a thread for the end of the test.
    #[derive(Default)]
    pub(crate) struct Builder(shuttle::thread::Builder);

    impl Builder {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn name(self, name: String) -> Self {
            Self(self.0.name(name))
        }

        pub(crate) fn spawn(
            self,
            work: impl FnOnce() + Send + 'static,
        ) -> io::Result<JoinHandle<()>> {
            if NONE.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.0.spawn(move || {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(work))
                    && !PANICS.with(Cell::get)
                {
                    resume_unwind(panic);
                }
            })
        }
    }

    /// Whether this thread panics. Threads are one to the system here, so it can't be asked.
    pub(crate) fn panicking() -> bool {
        PANICS.with(Cell::get) && !UNSEEN.load(Ordering::Relaxed)
    }

    /// A panic that the test has meant.
    pub(crate) fn panic() -> ! {
        PANICS.with(|panics| panics.set(true));
        resume_unwind(Box::new("as the test has it"))
    }

    /// From now on in this process, no thread can be made.
    pub fn without_threads() {
        NONE.store(true, Ordering::Relaxed);
    }

    /// From now on in this process, threads that die don't know that they panic: a mutation, to show
    /// that it would be found.
    pub fn without_replacement() {
        UNSEEN.store(true, Ordering::Relaxed);
    }
}
