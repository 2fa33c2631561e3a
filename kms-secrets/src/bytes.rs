//! Secrets whose length is known when running.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

/// Up to a fixed number of secret bytes in one heap allocation that is wiped when it is dropped.
///
/// The capacity is chosen when the value is made and never grows, because a growing buffer leaves
/// unwiped copies behind. There is no `Clone`, no `Display` and no serialisation; comparison is
/// constant-time through [`ConstantTimeEq`] (for equal lengths; the length itself is not secret).
///
/// ```compile_fail
/// let secret = kms_secrets::SecretBytes::from_slice(&[7]);
/// println!("{secret}");
/// ```
pub struct SecretBytes {
    buffer: Box<[u8]>,
    len: usize,
}

impl SecretBytes {
    /// An empty secret that can hold `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { buffer: vec![0; capacity].into_boxed_slice(), len: 0 }
    }

    /// Copies `bytes` into a secret of just that capacity. The caller wipes its own copy.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Self {
        Self { buffer: bytes.into(), len: bytes.len() }
    }

    /// Copies `parts`, one behind the other, into a secret of just that capacity. The caller wipes its own
    /// copies.
    #[must_use]
    pub fn concat(parts: &[impl AsRef<[u8]>]) -> Self {
        let mut secret = Self::with_capacity(parts.iter().map(|part| part.as_ref().len()).sum());
        let mut rest = secret.buffer_mut();
        for part in parts {
            let (place, behind) = rest.split_at_mut(part.as_ref().len());
            place.copy_from_slice(part.as_ref());
            rest = behind;
        }
        secret.len = secret.buffer.len();
        secret
    }

    /// The whole buffer, used or not, to be written into; [`SecretBytes::set_len`] says afterwards
    /// how much of it counts.
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// Declares the first `len` bytes of the buffer to be the secret. What lies behind is wiped.
    ///
    /// # Panics
    /// If `len` is over the capacity.
    pub fn set_len(&mut self, len: usize) {
        self.buffer[len..].zeroize();
        self.len = len;
    }

    /// The secret bytes. Whoever copies them wipes the copy.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// How many bytes the secret has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the secret has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl ConstantTimeEq for SecretBytes {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.expose().ct_eq(other.expose())
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_the_length_is_wiped() {
        let mut secret = SecretBytes::with_capacity(8);
        secret.buffer_mut().fill(0xab);
        secret.set_len(3);
        assert_eq!(secret.expose(), &[0xab; 3]);
        assert_eq!(&secret.buffer[3..], &[0; 5]);
    }

    #[test]
    fn parts_lie_behind_each_other() {
        let joined = SecretBytes::concat(&[&b"ab"[..], b"", b"c"]);
        assert_eq!((joined.expose(), joined.buffer.len()), (&b"abc"[..], 3));
        assert!(SecretBytes::concat(&[[0_u8; 0]; 2]).is_empty());
    }

    #[test]
    fn comparison_needs_equal_length_and_bytes() {
        let eq = |a: &[u8], b: &[u8]| {
            bool::from(SecretBytes::from_slice(a).ct_eq(&SecretBytes::from_slice(b)))
        };
        assert!(eq(b"abc", b"abc"));
        assert!(!eq(b"abc", b"abd"));
        assert!(!eq(b"abc", b"abcd"));
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", SecretBytes::from_slice(b"abc")), "SecretBytes(..)");
    }
}
