//! PINs that tokens have refused. They aren't shown to them again in this process, whoever has them: most lock after
//! a few tries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::slot::TokenInfo;
use kms_backend::{BackendError, ErrorChain, Failure};
use kms_secrets::Shielded;
use subtle::ConstantTimeEq;

/// What the tokens of one module have refused.
#[derive(Default)]
pub(crate) struct Refused(Mutex<HashMap<Name, Arc<Mutex<Pins>>>>);

/// A token's serial number and label, whichever of them the settings name.
type Name = (String, String);

/// What one token has refused.
#[derive(Default)]
pub(crate) struct Pins(Vec<Arc<Shielded>>);

impl Refused {
    /// What this token has refused. To be locked while a thread logs in, so that no other tries the same PIN
    /// meanwhile.
    pub(crate) fn by(&self, token: &TokenInfo) -> Arc<Mutex<Pins>> {
        let name = (token.serial_number().to_owned(), token.label().to_owned());
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tokens.entry(name).or_default())
    }
}

impl Pins {
    /// Whether this one is among them.
    ///
    /// # Errors
    /// [`BackendError::Corrupt`] if what is shielded can't be opened.
    pub(crate) fn contain(&self, pin: &Shielded) -> Result<bool, BackendError> {
        for refused in &self.0 {
            let same = pin.open(|pin| refused.open(|refused| bool::from(pin.ct_eq(refused))));
            let same = same.and_then(|same| same).map_err(|cause| {
                let what = format!("the PIN can't be opened: {}", ErrorChain(&cause));
                BackendError::Corrupt(Failure::new(what))
            })?;
            if same {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn add(&mut self, pin: Arc<Shielded>) {
        self.0.push(pin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_known_again_by_what_it_is() {
        let pin = |pin: &[u8]| Shielded::seal(pin).unwrap();
        let mut pins = Pins::default();
        assert!(!pins.contain(&pin(b"1234")).unwrap());
        pins.add(Arc::new(pin(b"1234")));
        pins.add(Arc::new(pin(b"99999")));
        for (known, expected) in
            [(&b"1234"[..], true), (b"99999", true), (b"123", false), (b"12345", false)]
        {
            assert_eq!(pins.contain(&pin(known)).unwrap(), expected);
        }
    }
}
