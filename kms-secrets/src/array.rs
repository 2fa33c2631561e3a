//! Secrets whose length is known when compiling.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

/// `N` secret bytes in one heap allocation that is wiped when it is dropped.
///
/// The bytes never move: moving the value moves a pointer. There is no `Clone`, no `Display` and
/// no serialisation; comparison is constant-time through [`ConstantTimeEq`].
///
/// ```compile_fail
/// let secret = kms_secrets::SecretArray::<32>::init_with(|bytes| bytes.fill(7));
/// let copy = secret.clone();
/// ```
pub struct SecretArray<const N: usize>(Box<[u8; N]>);

impl<const N: usize> SecretArray<N> {
    /// Makes a secret in place: `fill` is handed the `N` zero bytes where the secret will live.
    pub fn init_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self(Box::new([0; N]));
        fill(&mut secret.0);
        secret
    }

    /// Like [`SecretArray::init_with`], for a `fill` that can fail. What was written until then is
    /// wiped.
    ///
    /// # Errors
    /// Whatever `fill` returns.
    pub fn try_init_with<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self(Box::new([0; N]));
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// Copies `bytes` into a secret; `None` unless they are exactly `N`. The caller wipes its own
    /// copy.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == N).then(|| Self::init_with(|secret| secret.copy_from_slice(bytes)))
    }

    /// The secret bytes. Whoever copies them wipes the copy.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> ConstantTimeEq for SecretArray<N> {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&*other.0)
    }
}

impl<const N: usize> fmt::Debug for SecretArray<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretArray<{N}>(..)")
    }
}

impl<const N: usize> Drop for SecretArray<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_in_place_and_read_back() {
        let secret = SecretArray::<4>::init_with(|bytes| bytes.copy_from_slice(&[1, 2, 3, 4]));
        assert_eq!(secret.expose(), &[1, 2, 3, 4]);
    }

    #[test]
    fn a_slice_of_another_length_is_no_secret() {
        assert!(SecretArray::<4>::from_slice(&[1, 2, 3]).is_none());
        assert!(SecretArray::<4>::from_slice(&[1, 2, 3, 4, 5]).is_none());
        assert!(SecretArray::<4>::from_slice(&[1, 2, 3, 4]).is_some());
    }

    #[test]
    fn a_failing_fill_makes_no_secret() {
        let result = SecretArray::<4>::try_init_with(|_| Err("no entropy"));
        assert_eq!(result.err(), Some("no entropy"));
    }

    #[test]
    fn comparison_looks_at_every_byte() {
        let make = |last| SecretArray::<3>::init_with(|b| b.copy_from_slice(&[1, 2, last]));
        assert!(bool::from(make(3).ct_eq(&make(3))));
        assert!(!bool::from(make(3).ct_eq(&make(4))));
    }

    #[test]
    fn debug_shows_the_length_alone() {
        let secret = SecretArray::<4>::init_with(|bytes| bytes.fill(0xab));
        assert_eq!(format!("{secret:?}"), "SecretArray<4>(..)");
    }
}
