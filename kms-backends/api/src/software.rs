//! A signer for a key in this process's memory.

use std::error::Error;

use kms_keys::{
    KeyType, Operator, OperatorError, PublicKey, RestingKey, SecretKey, SignError, Signature,
    SigningScheme,
};
use kms_secrets::{ShieldError, Shielded, WIPED_STACK_BYTES, on_wiped_stack};

use crate::{BackendError, ErrorChain, Failure, LocalSigner};

/// Bytes of stack that are wiped around a signature. [`RestingKey::sign`] wipes what it used itself.
const OPENED_STACK: usize = 4096;

/// Signs with a key that is in this process's memory until the signer is dropped. For backends that
/// load secrets.
///
/// The key is kept shielded ([`Shielded`]) and is opened for as long as one signature or one run of an
/// operator takes.
#[derive(Debug)]
pub struct SoftwareSigner {
    /// Why it could not be shielded is told when it is used. It isn't kept in plain instead.
    key: Result<Shielded, ShieldError>,
    public_key: PublicKey,
}

impl SoftwareSigner {
    /// A signer for `key`. Without memory or randomness to shield it with, the signer signs nothing;
    /// the service doesn't start then ([`kms_secrets::protection`]).
    #[must_use]
    pub fn new(key: SecretKey) -> Self {
        let public_key = key.public_key();
        // The key ends in there too.
        let key = on_wiped_stack(move || Shielded::seal(key.at_rest().expose()));
        Self { key, public_key }
    }

    fn key(&self) -> Result<&Shielded, BackendError> {
        self.key.as_ref().map_err(|cause| {
            let what = format!("the secret could not be shielded: {}", ErrorChain(cause));
            BackendError::Unavailable(Failure::new(what))
        })
    }

    /// Lends the key to `work`, which uses no more than `STACK` bytes of stack.
    fn open<const STACK: usize, T>(
        &self,
        work: impl FnOnce(RestingKey<'_>) -> T,
    ) -> Result<T, BackendError> {
        let work = |bytes: &[u8]| RestingKey::new(&self.public_key, bytes).map(work);
        let opened = self.key()?.open_on::<STACK, _>(work);
        let done = opened.map_err(|cause| corrupt("the secret can't be opened", cause))?;
        done.map_err(|cause| corrupt("the secret is no key", cause))
    }
}

impl LocalSigner for SoftwareSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn sign(&self, scheme: SigningScheme, message: &[u8]) -> Result<Signature, BackendError> {
        let signed = self.open::<OPENED_STACK, _>(|key| key.sign(scheme, message))?;
        signed.map_err(|cause| match cause {
            SignError::RandomnessUnavailable(_) => {
                BackendError::Unavailable(Failure::because("no randomness to sign with", cause))
            }
            _ => BackendError::Misconfigured(Failure::because("the key can't sign that", cause)),
        })
    }

    fn is_brief(&self) -> bool {
        // A BLS signature costs ten times as much as the others.
        self.public_key.key_type() != KeyType::Bls12381
    }

    fn execute(
        &self,
        operator: &dyn Operator,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OperatorError> {
        self.open::<WIPED_STACK_BYTES, _>(|key| operator.run(key.expose_secret(), input, out))
            .map_err(|cause| OperatorError::Refused(ErrorChain(&cause).to_string()))?
    }
}

fn corrupt(what: &str, cause: impl Error + Send + Sync + 'static) -> BackendError {
    BackendError::Corrupt(Failure::because(what, cause))
}

#[cfg(test)]
mod tests {
    use kms_keys::X25519Operator;

    use super::*;

    #[test]
    fn what_is_signed_and_computed_is_the_same_as_with_the_key_itself() {
        for key_type in KeyType::ALL {
            let key = SecretKey::generate(*key_type).unwrap();
            let again = SecretKey::from_bytes(*key_type, key.expose_secret().expose()).unwrap();
            let signer = SoftwareSigner::new(key);
            assert_eq!(signer.public_key(), &again.public_key());
            for scheme in key_type.schemes() {
                let message = &[7; 32][..scheme.message_len().unwrap_or(32)];
                let signature = signer.sign(*scheme, message).unwrap();
                assert_eq!(signer.public_key().verify(*scheme, message, &signature), Ok(()));
                if *scheme != SigningScheme::Bip340 {
                    assert_eq!(signature, again.sign(*scheme, message).unwrap());
                }
            }
            let [ours, expected] = [true, false].map(|shielded| {
                let mut out = Vec::with_capacity(32);
                let peer = [9; 32];
                let result = if shielded {
                    signer.execute(&X25519Operator, &peer, &mut out)
                } else {
                    X25519Operator.run(again.expose_secret(), &peer, &mut out)
                };
                (result, out)
            });
            assert_eq!(ours, expected);
        }
    }

    #[test]
    fn a_key_that_could_not_be_shielded_signs_nothing() {
        let mut signer = SoftwareSigner::new(SecretKey::generate(KeyType::Ed25519).unwrap());
        signer.key = Err(ShieldError::Damaged);
        let refused = signer.sign(SigningScheme::Ed25519, b"m").unwrap_err();
        assert!(matches!(refused, BackendError::Unavailable(_)), "{refused:?}");
    }

    #[test]
    fn another_key_s_secret_signs_nothing() {
        let [mut signer, other] =
            [(); 2].map(|()| SoftwareSigner::new(SecretKey::generate(KeyType::Ed25519).unwrap()));
        signer.key = other.key;
        let refused = signer.sign(SigningScheme::Ed25519, b"m").unwrap_err();
        assert!(matches!(refused, BackendError::Corrupt(_)), "{refused:?}");
    }
}
