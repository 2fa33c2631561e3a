//! One token: which it is, and how a session there is had.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use kms_backend::{BackendError, ErrorChain, Failure};
use kms_backend_remote::{Call, Remote};
use kms_secrets::Shielded;

use crate::TokenName;
use crate::error::{backend_error, login_error};
use crate::leftovers::Leftovers;
use crate::module::{self, Calling, Module};

/// `C_Login`, as records name it.
const LOGIN: Call<'_> = Call { operation: "login", key: None, algorithm: None };

/// How long it is waited for that another thread has logged in. No longer: it may hang in the module.
const LOGGED_IN: Duration = Duration::from_secs(1);

/// A token and what it takes to use it.
pub(crate) struct Token {
    path: PathBuf,
    module: Arc<Module>,
    name: TokenName,
    pin: Arc<Shielded>,
    /// What records who logs in.
    remote: Arc<Remote>,
    /// Whether what the module shows of the token may be old: it had no such token when it was asked last, or
    /// one without a PIN.
    old: AtomicBool,
    pub(crate) leftovers: Arc<Leftovers>,
}

impl Token {
    pub(crate) fn new(path: PathBuf, name: TokenName, pin: Shielded, remote: Arc<Remote>) -> Self {
        let (module, pin, old) = (module::at(&path), Arc::new(pin), false.into());
        Self { path, module, name, pin, remote, old, leftovers: Arc::default() }
    }

    /// To be held while the module is called. Blocks while it is initialised.
    pub(crate) fn call(&self) -> Result<Calling<'_>, BackendError> {
        self.loaded(self.module.call(&self.path))
    }

    /// The same while objects are made, renamed or destroyed: [`Module::change`].
    pub(crate) fn change(&self) -> Result<Calling<'_>, BackendError> {
        self.loaded(self.module.change(&self.path))
    }

    /// Opens a session and logs in, if nobody has. Blocks for as long as the module likes.
    pub(crate) fn session(&self, calling: &Calling<'_>) -> Result<Session, BackendError> {
        let failed = |error| backend_error(&format!("no session with {}", self.shown()), error);
        let module = calling.module().map_err(failed)?;
        let slot = self.slot(module)?;
        let session = module.open_rw_session(slot).map_err(failed)?;
        self.log_in(module, slot, &session)?;
        Ok(session)
    }

    /// Whether the module has the token.
    pub(crate) fn is_present(&self, calling: &Calling<'_>) -> Result<(), BackendError> {
        let failed = |error| backend_error(&format!("can't look for {}", self.shown()), error);
        self.slot(calling.module().map_err(failed)?).map(drop)
    }

    /// Has the module look again for a token that it didn't have as it should be. Whether that was done is told.
    pub(crate) fn refresh(&self) -> bool {
        self.old.load(Ordering::Acquire) && self.done(self.module.refresh())
    }

    /// Has the module read everything anew, once nobody calls it: [`Module::read_anew`].
    pub(crate) fn read_anew(&self) -> bool {
        self.done(self.module.read_anew())
    }

    fn loaded<'a>(&self, calling: Result<Calling<'a>, Error>) -> Result<Calling<'a>, BackendError> {
        calling.map_err(|error| {
            backend_error(&format!("module {} can't be loaded", self.path.display()), error)
        })
    }

    fn done(&self, initialised_again: Result<bool, Error>) -> bool {
        initialised_again.unwrap_or_else(|error| {
            tracing::warn!(%error, module = %self.path.display(), "not initialised again");
            false
        })
    }

    fn slot(&self, module: &Pkcs11) -> Result<Slot, BackendError> {
        let failed = |error| backend_error(&format!("can't look for {}", self.shown()), error);
        let mut found = Vec::new();
        for slot in module.get_slots_with_token().map_err(failed)? {
            // Another token that is broken, or was taken out meanwhile, is none of ours.
            let Ok(info) = module.get_token_info(slot) else { continue };
            let same = match &self.name {
                TokenName::Label(label) => info.label().trim_end() == label,
                TokenName::Serial(serial) => info.serial_number().trim_end() == serial,
            };
            if same {
                found.push(slot);
            }
        }
        self.old.store(found.is_empty(), Ordering::Release);
        match found[..] {
            [slot] => Ok(slot),
            // It may be put in again.
            [] => Err(BackendError::Unavailable(Failure::new(format!(
                "module {} has no {}",
                self.path.display(),
                self.shown()
            )))),
            _ => Err(BackendError::Misconfigured(Failure::new(format!(
                "module {} has more than one {}; its serial number tells it from others",
                self.path.display(),
                self.shown()
            )))),
        }
    }

    fn log_in(&self, module: &Pkcs11, slot: Slot, session: &Session) -> Result<(), BackendError> {
        let info = || {
            let info = module.get_token_info(slot);
            info.map_err(|error| backend_error(&format!("can't look at {}", self.shown()), error))
        };
        let refused = self.module.refused.by(&info()?);
        let Some(mut refused) = locked_soon(&refused) else {
            let what = format!("another thread is still logging in to {}", self.shown());
            return Err(BackendError::Unavailable(Failure::new(what)));
        };
        if refused.contain(&self.pin)? {
            let what = format!("{} has refused the PIN, which is not tried again", self.shown());
            return Err(BackendError::WrongSecret(Failure::new(what)));
        }
        // Each start may try once: the last try is a human's.
        if info()?.user_pin_final_try() {
            let what = format!(
                "{} locks at the next wrong PIN, so it isn't tried; log in with the right one once by hand",
                self.shown()
            );
            return Err(BackendError::Denied(Failure::new(what)));
        }
        let pin = self.pin.open(|pin| std::str::from_utf8(pin).map(|pin| AuthPin::new(pin.into())));
        let pin = pin.map_err(|cause| {
            let what = format!("the PIN can't be opened: {}", ErrorChain(&cause));
            BackendError::Corrupt(Failure::new(what))
        })?;
        let Ok(pin) = pin else {
            return Err(BackendError::WrongSecret(Failure::new("the PIN is not UTF-8")));
        };
        self.remote.once_here(&LOGIN, || match session.login(UserType::User, Some(&pin)) {
            // Whoever opens a session of the same process is logged in by the first.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                // SoftHSM2 keeps what it read while another process was writing it.
                if matches!(error, Error::Pkcs11(RvError::UserPinNotInitialized, _)) {
                    self.old.store(true, Ordering::Release);
                }
                let what = format!("can't log in to {}", self.shown());
                let never_locks = module::is_softhsm(module).unwrap_or(false);
                let error = login_error(&what, error, never_locks);
                if !error.is_retryable() {
                    refused.add(Arc::clone(&self.pin));
                }
                Err(error)
            }
        })
    }

    fn shown(&self) -> String {
        self.name.to_string()
    }
}

/// The lock, unless whoever has it keeps it for long.
fn locked_soon<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(locked) => return Some(locked),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if begun.elapsed() >= LOGGED_IN => return None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
