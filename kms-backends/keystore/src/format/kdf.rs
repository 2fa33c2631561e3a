//! From a passphrase to a key: Argon2id (RFC 9106).

use argon2::{Algorithm, Argon2, Block, Params, Version};
use kms_secrets::{SecretArray, on_wiped_stack};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::StoreError;

/// How costly it is to try a passphrase. Kept in the store's header, in clear.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Kdf {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
    /// 16 random bytes, in hex.
    #[serde(with = "crate::hex")]
    pub(crate) salt: [u8; 16],
}

/// 64 MiB, three passes, four lanes: the second choice of RFC 9106, section 4.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;

/// The most that a store's header may ask of the machine: 1 GiB, 16 passes, 64 lanes; some seconds.
const MOST_MEMORY_KIB: u32 = 1024 * 1024;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 64;

impl Kdf {
    /// The default cost with a fresh salt.
    pub(crate) fn fresh() -> Result<Self, StoreError> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(StoreError::Randomness)?;
        Ok(Self { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt })
    }

    /// Refuses what is weaker than the default – somebody may have changed the header to make the
    /// next passphrase cheap to guess – and what no machine should be asked for.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let Self { memory_kib, passes, lanes, .. } = *self;
        if memory_kib < MEMORY_KIB || passes < PASSES || lanes == 0 {
            return Err(StoreError::WeakKdf { memory_kib, passes });
        }
        if memory_kib > MOST_MEMORY_KIB || passes > MOST_PASSES || lanes > MOST_LANES {
            return Err(StoreError::CostlyKdf { memory_kib, passes, lanes });
        }
        Ok(())
    }

    /// The key of `passphrase`. Takes a fraction of a second, on purpose. What Argon2 worked in is
    /// wiped.
    pub(crate) fn key(&self, passphrase: &[u8]) -> Result<SecretArray<32>, StoreError> {
        self.check()?;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|_| StoreError::Bug("checked Argon2 parameters are good"))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut blocks = blocks(argon2.params().block_count())?;
        SecretArray::try_init_with(|key| {
            on_wiped_stack(|| {
                argon2.hash_password_into_with_memory(passphrase, &self.salt, key, &mut **blocks)
            })
        })
        .map_err(StoreError::Kdf)
    }
}

/// The memory that Argon2 works in: with it, a passphrase is guessed at no cost. The library would
/// give its own back as it is.
fn blocks(count: usize) -> Result<Zeroizing<Box<[Block]>>, StoreError> {
    let mut blocks = Vec::new();
    blocks.try_reserve_exact(count).map_err(|_| StoreError::Kdf(argon2::Error::OutOfMemory))?;
    blocks.resize(count, Block::new());
    Ok(Zeroizing::new(blocks.into_boxed_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_passphrase_or_salt_is_another_key() {
        let kdf = Kdf::fresh().unwrap();
        let key = kdf.key(b"passphrase").unwrap();
        assert_eq!(key.expose(), kdf.key(b"passphrase").unwrap().expose());
        assert_ne!(key.expose(), kdf.key(b"Passphrase").unwrap().expose());
        assert_ne!(key.expose(), Kdf::fresh().unwrap().key(b"passphrase").unwrap().expose());
    }

    #[test]
    fn weaker_and_absurd_costs_are_refused() {
        let good = Kdf::fresh().unwrap();
        good.check().unwrap();
        for weak in [
            Kdf { memory_kib: MEMORY_KIB - 1, ..good.clone() },
            Kdf { passes: PASSES - 1, ..good.clone() },
            Kdf { lanes: 0, ..good.clone() },
        ] {
            assert!(matches!(weak.key(b"x"), Err(StoreError::WeakKdf { .. })), "{weak:?}");
        }
        for costly in [
            Kdf { memory_kib: u32::MAX, ..good.clone() },
            Kdf { passes: u32::MAX, ..good.clone() },
            Kdf { lanes: u32::MAX, ..good },
        ] {
            assert!(matches!(costly.key(b"x"), Err(StoreError::CostlyKdf { .. })), "{costly:?}");
        }
    }
}
