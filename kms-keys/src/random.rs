//! New secrets from the system's randomness.

use kms_secrets::SecretArray;

use crate::KeyError;

/// So many draws may be refused in a row. Half of all draws are good for every curve here, so sound
/// randomness comes this far once in 2^128 times.
const MAX_DRAWS: usize = 128;

/// 32 uniformly random bytes.
pub(crate) fn secret_bytes() -> Result<SecretArray<32>, KeyError> {
    SecretArray::try_init_with(|bytes| getrandom::fill(bytes))
        .map_err(KeyError::RandomnessUnavailable)
}

/// A uniformly random key: bytes are drawn until `make` does not find them zero or out of range.
/// `mask` is laid over the first byte, so that few draws are out of range.
pub(crate) fn draw<K>(
    mask: u8,
    source: impl Fn(&mut [u8; 32]) -> Result<(), getrandom::Error>,
    make: impl Fn(SecretArray<32>) -> Result<K, KeyError>,
) -> Result<K, KeyError> {
    for _ in 0..MAX_DRAWS {
        let bytes = SecretArray::try_init_with(|bytes| {
            source(bytes)?;
            bytes[0] &= mask;
            Ok(())
        })
        .map_err(KeyError::RandomnessUnavailable)?;
        match make(bytes) {
            Err(KeyError::Zero | KeyError::OutOfRange) => {}
            result => return result,
        }
    }
    Err(KeyError::RandomnessBroken)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_source_that_repeats_itself_is_given_up() {
        let source = |bytes: &mut [u8; 32]| {
            bytes.fill(0xff);
            Ok(())
        };
        let result = draw(0xff, source, |_| Err::<(), _>(KeyError::OutOfRange));
        assert_eq!(result, Err(KeyError::RandomnessBroken));
    }

    #[test]
    fn a_failing_source_is_named() {
        let failure = getrandom::Error::UNSUPPORTED;
        let result = draw(0xff, |_| Err(failure), |_| Ok(()));
        assert_eq!(result, Err(KeyError::RandomnessUnavailable(failure)));
    }

    #[test]
    fn draws_are_masked_and_repeated_until_one_is_good() {
        let next = Cell::new(0xfd_u8);
        let source = |bytes: &mut [u8; 32]| {
            bytes.fill(next.get());
            next.set(next.get().wrapping_add(1));
            Ok(())
        };
        let key = draw(0x7f, source, |bytes| match bytes.expose() {
            [0x7f, 0xff, ..] => Ok(bytes.expose()[31]),
            _ => Err(KeyError::OutOfRange),
        });
        assert_eq!(key, Ok(0xff));
    }

    #[test]
    fn two_draws_differ() {
        assert_ne!(secret_bytes().unwrap().expose(), secret_bytes().unwrap().expose());
    }
}
