//! Sealing: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under keys derived from the store key.

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use kms_secrets::{SecretArray, SecretBytes};
use sha2::Sha256;

use crate::error::StoreError;

/// Random bytes before each ciphertext.
const NONCE: usize = 24;

/// Authentication bytes after it.
const TAG: usize = 16;

/// What a sealed secret is longer than the secret.
pub(crate) const OVERHEAD: usize = NONCE + TAG;

/// The random key of a store. Whoever has it can read every secret in it.
pub(crate) type StoreKey = SecretArray<32>;

/// The keys that are derived from a store key (HKDF-SHA256, RFC 5869, salted with the store's id),
/// one per purpose.
pub(crate) struct StoreKeys {
    /// Seals the secrets of records.
    pub(crate) records: SecretArray<32>,
    /// Seals the header's hidden part.
    pub(crate) header: SecretArray<32>,
    /// Keys the digest over all records: as many bytes as HMAC-SHA256 takes in at once.
    pub(crate) digest: SecretArray<64>,
}

impl StoreKeys {
    pub(crate) fn derive(store_key: &StoreKey, store: &[u8; 16]) -> Result<Self, StoreError> {
        let derivation = Hkdf::<Sha256>::new(Some(store), store_key.expose());
        Ok(Self {
            records: expand(&derivation, b"kms-keystore v1 records")?,
            header: expand(&derivation, b"kms-keystore v1 header")?,
            digest: expand(&derivation, b"kms-keystore v1 digest")?,
        })
    }
}

/// A key for `purpose`.
pub(crate) fn expand<const N: usize>(
    derivation: &Hkdf<Sha256>,
    purpose: &[u8],
) -> Result<SecretArray<N>, StoreError> {
    SecretArray::try_init_with(|bytes| derivation.expand(purpose, bytes))
        .map_err(|_| StoreError::Bug("HKDF gives as many bytes as are asked for here"))
}

/// A key from the system's randomness.
pub(crate) fn random_key() -> Result<SecretArray<32>, StoreError> {
    SecretArray::try_init_with(|bytes| getrandom::fill(bytes)).map_err(StoreError::Randomness)
}

/// Seals `secret` under a fresh nonce, together with `bound`, which stays readable and can't be
/// changed: nonce, ciphertext, tag.
pub(crate) fn seal(
    key: &SecretArray<32>,
    bound: &[u8],
    secret: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let mut sealed = vec![0; OVERHEAD + secret.len()];
    let (nonce, rest) = sealed.split_at_mut(NONCE);
    let (text, tag) = rest.split_at_mut(secret.len());
    getrandom::fill(nonce).map_err(StoreError::Randomness)?;
    let nonce = XNonce::try_from(&*nonce).map_err(|_| StoreError::Bug("a nonce has 24 bytes"))?;
    // From the secret straight into its ciphertext: there is no copy of it to be wiped.
    let buffer =
        InOutBuf::new(secret, text).map_err(|_| StoreError::Bug("a ciphertext is no longer"))?;
    let made = cipher(key)
        .encrypt_inout_detached(&nonce, bound, buffer)
        .map_err(|_| StoreError::Bug("secrets are short"))?;
    tag.copy_from_slice(&made);
    Ok(sealed)
}

/// Opens what [`seal`] made; `None` if key, `bound` or ciphertext are not the ones of then.
pub(crate) fn open(key: &SecretArray<32>, bound: &[u8], sealed: &[u8]) -> Option<SecretBytes> {
    let len = sealed.len().checked_sub(OVERHEAD)?;
    let (nonce, rest) = sealed.split_at(NONCE);
    let (text, tag) = rest.split_at(len);
    let (nonce, tag) = (XNonce::try_from(nonce).ok()?, Tag::try_from(tag).ok()?);
    let mut secret = SecretBytes::with_capacity(len);
    let buffer = InOutBuf::new(text, secret.buffer_mut()).ok()?;
    cipher(key).decrypt_inout_detached(&nonce, bound, buffer, &tag).ok()?;
    secret.set_len(len);
    Some(secret)
}

/// A record as it is stored: the length of the part in clear (4 bytes, big-endian), that part, the
/// sealed secret.
pub(crate) fn join(clear: &[u8], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
    let len = u32::try_from(clear.len()).map_err(|_| StoreError::Bug("ids are short"))?;
    Ok([&len.to_be_bytes()[..], clear, sealed].concat())
}

/// The part in clear and the sealed secret of what [`join`] made.
pub(crate) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)
}

fn cipher(key: &SecretArray<32>) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.expose().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_text_alone() {
        let key = random_key().unwrap();
        let sealed = seal(&key, b"bound", b"secret").unwrap();
        assert_eq!(sealed.len(), 6 + OVERHEAD);
        assert_eq!(open(&key, b"bound", &sealed).unwrap().expose(), b"secret");
        assert!(open(&key, b"Bound", &sealed).is_none());
        assert!(open(&random_key().unwrap(), b"bound", &sealed).is_none());
    }

    #[test]
    fn every_bit_counts() {
        let key = random_key().unwrap();
        let sealed = seal(&key, b"", b"secret").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, b"", &flipped).is_none(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(open(&key, b"", &sealed[..len]).is_none(), "{len} bytes");
        }
    }

    #[test]
    fn nonces_are_fresh() {
        let key = random_key().unwrap();
        assert_ne!(seal(&key, b"", b"secret").unwrap(), seal(&key, b"", b"secret").unwrap());
    }

    #[test]
    fn purposes_and_stores_have_keys_of_their_own() {
        let store_key = random_key().unwrap();
        let here = StoreKeys::derive(&store_key, &[1; 16]).unwrap();
        let there = StoreKeys::derive(&store_key, &[2; 16]).unwrap();
        assert_ne!(here.records.expose(), here.header.expose());
        assert_ne!(here.records.expose()[..], here.digest.expose()[..32]);
        assert_ne!(here.records.expose(), there.records.expose());
    }
}
