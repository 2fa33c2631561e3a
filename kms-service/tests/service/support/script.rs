//! What a test tells the fake backend to do, and what it sees of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use kms_backend::{BackendError, Failure, KeyState, Operation};
use kms_keys::{KeyId, KeyType, SecretKey};
use tokio::sync::watch;

/// Something that the service has the backend do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    Open,
    Register(KeyId),
    Change(KeyId),
    Sign(KeyId),
    Health,
    Close,
    /// The backend's drop; it can only be seen.
    Drop,
    /// A signer's drop; it can only be seen.
    SignerDrop(KeyId),
}

/// How the backend does it.
#[derive(Clone, Copy, Debug)]
pub enum Does {
    /// As it should.
    Right,
    /// Not before it is told otherwise.
    Stuck,
    Panic,
    Fail(Class),
    /// It answers, and not with the truth.
    Lie(Lie),
}

#[derive(Clone, Copy, Debug)]
pub enum Lie {
    Id,
    KeyType,
    PublicKey,
    /// Another state than the one that was asked for.
    State,
}

/// Makes an error of one class.
pub type Class = fn() -> BackendError;

/// The script of one backend. Clones are the same script; it outlives the backend, as a disk would.
#[derive(Clone, Default)]
pub struct Script(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// For those who are stuck on a thread.
    told: Condvar,
    /// For those who are stuck in a task, and for tests that wait for something to happen.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    rules: HashMap<Act, Does>,
    seen: HashMap<Act, usize>,
    missing: BTreeSet<KeyId>,
    remote: BTreeSet<KeyId>,
    stored: BTreeMap<KeyId, Stored>,
}

/// What the backend keeps of a key.
#[derive(Clone, Copy)]
pub struct Stored {
    pub version: u32,
    pub state: KeyState,
}

impl Script {
    /// From now on `act` is done like this. Whoever is stuck in it goes on like this.
    pub fn when(&self, act: Act, does: Does) {
        self.state().rules.insert(act, does);
        self.tell();
    }

    /// Nothing goes wrong any more, and nobody is stuck.
    pub fn all_right(&self) {
        self.state().rules.clear();
        self.tell();
    }

    /// The backend has no such key.
    pub fn missing(&self, id: &KeyId) {
        self.state().missing.insert(id.clone());
    }

    /// The key, once registered, signs elsewhere.
    pub fn remote(&self, id: &KeyId) {
        self.state().remote.insert(id.clone());
    }

    /// How often this has begun.
    pub fn count(&self, act: &Act) -> usize {
        self.state().seen.get(act).copied().unwrap_or(0)
    }

    /// Waits until this has begun so often.
    pub async fn seen(&self, act: Act, times: usize) {
        let mut changed = self.0.changed.subscribe();
        let enough = changed.wait_for(|_| self.count(&act) >= times);
        super::within(enough).await.unwrap();
    }

    pub fn record(&self, act: Act) {
        *self.state().seen.entry(act).or_default() += 1;
        self.tell();
    }

    /// Does `act` as the test has it.
    pub async fn perform(&self, act: Act) -> Result<Option<Lie>, BackendError> {
        self.record(act.clone());
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.borrow_and_update();
            match self.rule(&act) {
                Does::Stuck => changed.changed().await.unwrap(),
                other => return outcome(other),
            }
        }
    }

    /// The same on a thread.
    pub fn perform_here(&self, act: Act) -> Result<Option<Lie>, BackendError> {
        self.record(act.clone());
        let mut state = self.state();
        while matches!(state.rules.get(&act), Some(Does::Stuck)) {
            state = self.0.told.wait(state).unwrap();
        }
        let does = state.rules.get(&act).copied().unwrap_or(Does::Right);
        drop(state);
        outcome(does)
    }

    /// Loads the key, or makes it; `None` if there is none and none is to be made.
    pub fn load(&self, id: &KeyId, generate: bool) -> Option<Stored> {
        let mut state = self.state();
        if state.missing.contains(id) {
            if !generate {
                return None;
            }
            state.missing.remove(id);
        }
        let new = Stored { version: 1, state: KeyState::Active };
        Some(*state.stored.entry(id.clone()).or_insert(new))
    }

    /// Changes what is kept of a registered key.
    pub fn change(&self, id: &KeyId, change: impl FnOnce(&mut Stored)) -> Stored {
        let mut state = self.state();
        let stored = state.stored.get_mut(id).unwrap();
        change(stored);
        *stored
    }

    pub fn is_remote(&self, id: &KeyId) -> bool {
        self.state().remote.contains(id)
    }

    fn rule(&self, act: &Act) -> Does {
        self.state().rules.get(act).copied().unwrap_or(Does::Right)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn tell(&self) {
        self.0.told.notify_all();
        self.0.changed.send_modify(|times| *times += 1);
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

fn outcome(does: Does) -> Result<Option<Lie>, BackendError> {
    match does {
        // Unlike `panic!`, this prints nothing: it is no news to whoever runs the tests.
        Does::Panic => resume_unwind(Box::new("as the script has it")),
        Does::Fail(class) => Err(class()),
        Does::Lie(lie) => Ok(Some(lie)),
        Does::Right | Does::Stuck => Ok(None),
    }
}

/// The secret of a version of a key, in 32 bytes that are a secret of every key type.
pub fn secret_of(id: &KeyId, version: u32) -> [u8; 32] {
    let mut secret = [0; 32];
    let mut state = u64::from(version);
    for (byte, letter) in secret.iter_mut().zip(id.as_str().bytes().cycle()) {
        // Any mixing will do; what is wanted is a secret that looks like nothing else.
        state = (state ^ u64::from(letter)).wrapping_mul(0x0100_0000_01b3);
        state ^= state >> 29;
        *byte = (state >> 16) as u8;
    }
    // Below the order of every group.
    secret[0] = 1;
    secret
}

pub fn key_of(id: &KeyId, key_type: KeyType, version: u32) -> SecretKey {
    SecretKey::from_bytes(key_type, &secret_of(id, version)).unwrap()
}

impl Does {
    /// One failure of every class.
    pub const CLASSES: &[Class] = &[
        || BackendError::NotFound(Failure::new("scripted")),
        || BackendError::AlreadyExists(Failure::new("scripted")),
        || BackendError::Denied(Failure::new("scripted")),
        || BackendError::WrongSecret(Failure::new("scripted")),
        || BackendError::Unsupported(Operation::Generate),
        || BackendError::Throttled { failure: Failure::new("scripted"), retry_after: None },
        || BackendError::Unavailable(Failure::new("scripted")),
        || BackendError::Corrupt(Failure::new("scripted")),
        || BackendError::Misconfigured(Failure::new("scripted")),
    ];
}
