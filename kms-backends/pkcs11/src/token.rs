//! One token: which it is, and how a session there is had.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use kms_backend::{BackendError, ErrorChain, Failure};
use kms_secrets::Shielded;

use crate::TokenName;
use crate::error::backend_error;
use crate::module::{self, Calling, Module};

/// A token and what it takes to use it.
pub(crate) struct Token {
    path: PathBuf,
    module: Arc<Module>,
    name: TokenName,
    pin: Shielded,
    /// Whether the token has refused the PIN. It isn't asked again: most lock after a few tries.
    refused: AtomicBool,
    /// Whether the module had no such token when it was asked last.
    absent: AtomicBool,
}

impl Token {
    pub(crate) fn new(path: PathBuf, name: TokenName, pin: Shielded) -> Self {
        let (module, refused, absent) = (module::at(&path), false.into(), false.into());
        Self { path, module, name, pin, refused, absent }
    }

    /// To be held while the module is called. Blocks while it is initialised.
    pub(crate) fn call(&self) -> Result<Calling<'_>, BackendError> {
        let call = self.module.call(&self.path);
        call.map_err(|error| {
            backend_error(&format!("module {} can't be loaded", self.path.display()), error)
        })
    }

    /// Opens a session and logs in, if nobody has. Blocks for as long as the module likes.
    pub(crate) fn session(&self, calling: &Calling<'_>) -> Result<Session, BackendError> {
        let failed = |error| backend_error(&format!("no session with {}", self.shown()), error);
        let module = calling.module().map_err(failed)?;
        let slot = self.slot(module)?;
        let session = module.open_rw_session(slot).map_err(failed)?;
        self.log_in(&session)?;
        Ok(session)
    }

    /// Whether the module has the token.
    pub(crate) fn is_present(&self, calling: &Calling<'_>) -> Result<(), BackendError> {
        let failed = |error| backend_error(&format!("can't look for {}", self.shown()), error);
        self.slot(calling.module().map_err(failed)?).map(drop)
    }

    /// Has the module look again for a token that it didn't have. Whether that was done is told.
    pub(crate) fn refresh(&self) -> bool {
        let refreshed = self.absent.load(Ordering::Acquire).then(|| self.module.refresh());
        match refreshed {
            Some(Ok(refreshed)) => refreshed,
            Some(Err(error)) => {
                tracing::warn!(%error, module = %self.path.display(), "not initialised again");
                false
            }
            None => false,
        }
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
        self.absent.store(found.is_empty(), Ordering::Release);
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

    fn log_in(&self, session: &Session) -> Result<(), BackendError> {
        if self.refused.load(Ordering::Acquire) {
            let what = format!("{} has refused the PIN, which is not tried again", self.shown());
            return Err(BackendError::WrongSecret(Failure::new(what)));
        }
        let pin = self.pin.open(|pin| std::str::from_utf8(pin).map(|pin| AuthPin::new(pin.into())));
        let pin = pin.map_err(|cause| {
            let what = format!("the PIN can't be opened: {}", ErrorChain(&cause));
            BackendError::Corrupt(Failure::new(what))
        })?;
        let Ok(pin) = pin else {
            return Err(BackendError::WrongSecret(Failure::new("the PIN is not UTF-8")));
        };
        match session.login(UserType::User, Some(&pin)) {
            // Whoever opens a session of the same process is logged in by the first.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let error = backend_error(&format!("can't log in to {}", self.shown()), error);
                if matches!(error, BackendError::WrongSecret(_) | BackendError::Denied(_)) {
                    self.refused.store(true, Ordering::Release);
                }
                Err(error)
            }
        }
    }

    fn shown(&self) -> String {
        match &self.name {
            TokenName::Label(label) => format!("token with label {label}"),
            TokenName::Serial(serial) => format!("token with serial number {serial}"),
        }
    }
}
