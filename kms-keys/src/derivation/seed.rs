//! The secret from which many keys are derived.

use std::fmt;

use kms_secrets::{SecretBytes, on_wiped_stack};

use super::{DerivationError, DerivationPath, bip32, eip2333, slip10};
use crate::{Bls12381SecretKey, Ed25519SecretKey, KeyType, Secp256k1SecretKey, SecretKey};

/// A seed of 16 to 64 secret bytes, from which any number of keys of any type is derived. Whoever has
/// it has all of them.
///
/// No `Clone`, no `Display`, no serialisation. `Debug` shows nothing.
///
/// ```
/// use kms_keys::{KeyType, Mnemonic};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let seed = Mnemonic::generate(24)?.to_seed(b"")?;
/// let key = seed.derive(KeyType::Ed25519, &"m/44'/501'/0'".parse()?)?;
/// # assert_eq!(key.key_type(), KeyType::Ed25519);
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail
/// let seed = kms_keys::Seed::from_bytes(&[7; 32]).unwrap();
/// let copy = seed.clone();
/// ```
pub struct Seed(SecretBytes);

impl Seed {
    /// The seed of 16 to 64 bytes. The caller wipes its own copy.
    ///
    /// # Errors
    /// [`DerivationError::WrongSeedLength`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DerivationError> {
        if (16..=64).contains(&bytes.len()) {
            Ok(Self(SecretBytes::from_slice(bytes)))
        } else {
            Err(DerivationError::WrongSeedLength { least: 16, got: bytes.len() })
        }
    }

    /// The seed of 64 bytes that `fill` writes into the place where they stay.
    pub(super) fn init_with(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = SecretBytes::with_capacity(64);
        fill(bytes.buffer_mut());
        bytes.set_len(64);
        Self(bytes)
    }

    /// The secret bytes. Whoever copies them wipes the copy.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// The key at the end of `path`: by BIP-32 for secp256k1, SLIP-0010 for Ed25519 and EIP-2333 for
    /// BLS12-381, which takes some hundred microseconds a step. The same path gives the same key.
    ///
    /// # Errors
    /// Those of [`DerivationPath::check`]; [`DerivationError::WrongSeedLength`] for BLS12-381 with a
    /// seed under 32 bytes; [`DerivationError::NoKeyOnPath`] for secp256k1, once in 2^127 times;
    /// [`DerivationError::NotAKey`] if the machine miscalculates.
    pub fn derive(
        &self,
        key_type: KeyType,
        path: &DerivationPath,
    ) -> Result<SecretKey, DerivationError> {
        path.check(key_type)?;
        let (seed, indices) = (self.0.expose(), path.indices());
        match key_type {
            KeyType::Ed25519 => {
                let node = on_wiped_stack(|| slip10::derive(seed, indices));
                Ed25519SecretKey::from_bytes(node.secret()).map(SecretKey::Ed25519)
            }
            KeyType::Secp256k1 => {
                let node = on_wiped_stack(|| bip32::derive(seed, indices))?;
                Secp256k1SecretKey::from_bytes(node.secret()).map(SecretKey::Secp256k1)
            }
            KeyType::Bls12381 => {
                let secret = on_wiped_stack(|| eip2333::derive(seed, indices))
                    .ok_or(DerivationError::WrongSeedLength { least: 32, got: seed.len() })?;
                Bls12381SecretKey::from_secret(secret).map(SecretKey::Bls12381)
            }
        }
        .map_err(DerivationError::NotAKey)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_have_16_to_64_bytes() {
        for got in [0, 15, 65] {
            let refused = DerivationError::WrongSeedLength { least: 16, got };
            assert_eq!(Seed::from_bytes(&vec![7; got]).unwrap_err(), refused);
        }
        for got in 16..=64 {
            let seed = Seed::from_bytes(&vec![7; got]).unwrap();
            assert_eq!((seed.expose().len(), format!("{seed:?}").as_str()), (got, "Seed(..)"));
            assert!(seed.derive(KeyType::Ed25519, &"m/0'".parse().unwrap()).is_ok());
            assert!(seed.derive(KeyType::Secp256k1, &"m/0'/1".parse().unwrap()).is_ok());
            let bls = seed.derive(KeyType::Bls12381, &"m/0".parse().unwrap());
            if got < 32 {
                let refused = DerivationError::WrongSeedLength { least: 32, got };
                assert_eq!(bls.unwrap_err(), refused);
            } else {
                assert!(bls.is_ok());
            }
        }
    }

    #[test]
    fn a_path_that_the_type_does_not_allow_leads_to_no_key() {
        let seed = Seed::from_bytes(&[7; 32]).unwrap();
        let derive = |key_type, path: &str| seed.derive(key_type, &path.parse().unwrap());
        for (key_type, path, refused) in [
            (KeyType::Ed25519, "m/0'/0", DerivationError::NotHardened { step: 2 }),
            (KeyType::Bls12381, "m/0/0'", DerivationError::Hardened { step: 2 }),
            (
                KeyType::Secp256k1,
                "m/4294967295",
                DerivationError::IndexTooLarge { step: 1, key_type: KeyType::Secp256k1 },
            ),
        ] {
            assert_eq!(derive(key_type, path).unwrap_err(), refused);
        }
    }
}
