//! A signature from elsewhere is believed when its key verifies it.

use kms_backend::{BackendError, ErrorChain, Failure};
use kms_keys::{Ed25519Signature, KeyId, PublicKey, Signature, SigningScheme};
use sha2::{Digest, Sha256};

/// What signatures from elsewhere must fit: the key that is expected there.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The key's name.
    pub id: KeyId,
    /// The name of the backend.
    pub backend: String,
    /// The public key.
    pub public_key: PublicKey,
    /// Whether Ed25519 signatures are checked at all. What is missing of an ECDSA signature is found by
    /// checking it, so that those always are.
    pub verify: bool,
}

impl Expected {
    /// The signature of `message` under `scheme` that has these bytes: 64 for Ed25519; for ECDSA `r` ‖
    /// `s`, 64 bytes, with any `s`, which is brought into the lower half, and the recovery id is found.
    ///
    /// # Errors
    /// [`BackendError::Corrupt`], which names key and backend, for bytes that are no such signature:
    /// another key has signed, or something else, or the machine there miscalculates.
    /// [`BackendError::Misconfigured`] for a scheme that the key doesn't have, or of no remote backend.
    pub fn signature(
        &self,
        scheme: SigningScheme,
        message: &[u8],
        bytes: &[u8],
    ) -> Result<Signature, BackendError> {
        match (&self.public_key, scheme) {
            (PublicKey::Ed25519(public_key), SigningScheme::Ed25519) => {
                let signature =
                    Ed25519Signature::from_bytes(bytes).map_err(|cause| self.wrong(&cause))?;
                if self.verify {
                    public_key.verify(message, &signature).map_err(|cause| self.wrong(&cause))?;
                }
                Ok(Signature::Ed25519(signature))
            }
            (PublicKey::Secp256k1(public_key), SigningScheme::EcdsaSha256) => public_key
                .complete_signature(&Sha256::digest(message).into(), bytes)
                .map(Signature::Ecdsa)
                .map_err(|cause| self.wrong(&cause)),
            (PublicKey::Secp256k1(public_key), SigningScheme::EcdsaDigest) => {
                let digest = message.try_into().map_err(|_| {
                    let what =
                        format!("{scheme} signs 32 bytes, the message has {}", message.len());
                    BackendError::Misconfigured(Failure::new(what))
                })?;
                let signature = public_key.complete_signature(digest, bytes);
                signature.map(Signature::Ecdsa).map_err(|cause| self.wrong(&cause))
            }
            (public_key, scheme) => Err(BackendError::Misconfigured(Failure::new(format!(
                "key {} in backend {} is of type {} and can't sign under {scheme} there",
                self.id,
                self.backend,
                public_key.key_type()
            )))),
        }
    }

    fn wrong(&self, cause: &(dyn std::error::Error + 'static)) -> BackendError {
        BackendError::Corrupt(Failure::new(format!(
            "what backend {} gave for a signature by key {} is not one by the public key that was \
             registered: {}",
            self.backend,
            self.id,
            ErrorChain(cause)
        )))
    }
}

#[cfg(test)]
mod tests {
    use kms_keys::{KeyType, SecretKey};

    use super::*;

    fn expected(key: &SecretKey) -> Expected {
        Expected {
            id: KeyId::new("proposer/main").unwrap(),
            backend: "hsm".into(),
            public_key: key.public_key(),
            verify: true,
        }
    }

    #[test]
    fn a_good_signature_comes_out_as_the_key_itself_makes_it() {
        for scheme in
            [SigningScheme::Ed25519, SigningScheme::EcdsaSha256, SigningScheme::EcdsaDigest]
        {
            let key = SecretKey::generate(scheme.key_type()).unwrap();
            for round in 0..16 {
                let signature = key.sign(scheme, &[round; 32]).unwrap();
                let found = expected(&key).signature(scheme, &[round; 32], &signature.to_bytes());
                assert_eq!(found.unwrap(), signature);
            }
        }
    }

    #[test]
    fn a_wrong_signature_is_refused_and_key_and_backend_are_named() {
        for scheme in [SigningScheme::Ed25519, SigningScheme::EcdsaSha256] {
            let [key, other] = [(); 2].map(|()| SecretKey::generate(scheme.key_type()).unwrap());
            let good = key.sign(scheme, b"m").unwrap().to_bytes();
            let mut bent = good.clone();
            bent[40] ^= 1;
            for wrong in [
                other.sign(scheme, b"m").unwrap().to_bytes(),
                key.sign(scheme, b"n").unwrap().to_bytes(),
                bent,
                good[..63].to_vec(),
                vec![0; 64],
                vec![0xff; 64],
                Vec::new(),
            ] {
                let error = expected(&key).signature(scheme, b"m", &wrong).unwrap_err();
                assert!(matches!(error, BackendError::Corrupt(_)), "{error:?}");
                let text = error.to_string();
                assert!(text.contains("proposer/main") && text.contains("hsm"), "{text}");
            }
        }
    }

    #[test]
    fn verifying_can_be_left_out_for_ed25519_alone() {
        for (key_type, passes) in [(KeyType::Ed25519, true), (KeyType::Secp256k1, false)] {
            let [key, other] = [(); 2].map(|()| SecretKey::generate(key_type).unwrap());
            let scheme = key_type.default_scheme();
            let foreign = other.sign(scheme, b"m").unwrap().to_bytes();
            let expected = Expected { verify: false, ..expected(&key) };
            assert_eq!(expected.signature(scheme, b"m", &foreign).is_ok(), passes);
        }
    }

    #[test]
    fn a_scheme_of_another_type_is_refused() {
        let key = SecretKey::generate(KeyType::Secp256k1).unwrap();
        for scheme in [SigningScheme::Ed25519, SigningScheme::Bip340, SigningScheme::BlsPop] {
            let error = expected(&key).signature(scheme, &[1; 32], &[1; 64]).unwrap_err();
            assert!(matches!(error, BackendError::Misconfigured(_)), "{error:?}");
        }
        let short = expected(&key).signature(SigningScheme::EcdsaDigest, b"m", &[1; 64]);
        assert!(matches!(short, Err(BackendError::Misconfigured(_))));
    }
}
