//! Somebody else who uses the token.

use std::path::Path;
use std::time::Duration;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use kms_peers::SoftHsm;

/// Does `work` in a session in the token, logged in. Once more if it fails, since a backend may have had the
/// module, which it has initialised, read everything anew meanwhile; all handles are others then.
#[allow(dead_code, reason = "not all test programs have keys made meanwhile")]
pub(crate) fn with<T>(
    module: &Path,
    token: &SoftHsm,
    work: impl Fn(&Session) -> Result<T, Error>,
) -> T {
    for _ in 0..50 {
        if let Ok(done) = session(module, token).and_then(|session| work(&session)) {
            return done;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    work(&session(module, token).unwrap()).unwrap()
}

/// A session in the token, logged in.
pub(crate) fn session(module: &Path, token: &SoftHsm) -> Result<Session, Error> {
    let module = Pkcs11::new(module)?;
    let slots = module.get_slots_with_token()?;
    // Those of other tests go away meanwhile.
    let is_it = |slot: &Slot| {
        module.get_token_info(*slot).is_ok_and(|found| found.label() == token.label())
    };
    let slot = slots.into_iter().find(is_it);
    let session = module.open_rw_session(slot.ok_or(Error::NotSupported)?)?;
    match session.login(UserType::User, Some(&AuthPin::new(SoftHsm::PIN.into()))) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
        Err(error) => Err(error),
    }
}
