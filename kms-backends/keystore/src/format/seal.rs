//! Sealing: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under keys derived from the store key.

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use kms_secrets::{SecretArray, SecretBytes, Shielded, on_wiped_stack};
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
/// one per purpose. Shielded, as long as nobody needs them.
pub(crate) struct StoreKeys(Shielded);

/// The keys of a store while they are open.
pub(crate) struct OpenKeys<'k> {
    /// Seals the secrets of records.
    pub(crate) records: &'k [u8; 32],
    /// Seals the header's hidden part.
    pub(crate) header: &'k [u8; 32],
    /// Keys the digest over all records: as many bytes as HMAC-SHA256 takes in at once.
    pub(crate) digest: &'k [u8; 64],
}

impl StoreKeys {
    pub(crate) fn derive(store_key: &StoreKey, store: &[u8; 16]) -> Result<Self, StoreError> {
        on_wiped_stack(|| {
            let derivation = Hkdf::<Sha256>::new(Some(store), store_key.expose());
            let keys = SecretArray::<{ 32 + 32 + 64 }>::try_init_with(|keys| {
                let (records, rest) = keys.split_at_mut(32);
                let (header, digest) = rest.split_at_mut(32);
                derivation.expand(b"kms-keystore v1 records", records)?;
                derivation.expand(b"kms-keystore v1 header", header)?;
                derivation.expand(b"kms-keystore v1 digest", digest)
            });
            let keys = keys.map_err(|_| TOO_LONG)?;
            Shielded::seal(keys.expose()).map(Self).map_err(StoreError::Shield)
        })
    }

    /// Lends the keys to `work`, which computes and doesn't wait for anything. The keys and the stack
    /// that it used are wiped then. To open them costs a microsecond: who seals much, opens them once.
    pub(crate) fn open<T>(
        &self,
        work: impl FnOnce(&OpenKeys<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let opened = self.0.open(|keys| {
            let keys = OpenKeys::of(keys).ok_or(StoreError::Bug("there are three keys"))?;
            work(&keys)
        });
        opened.map_err(StoreError::Shield)?
    }
}

impl<'k> OpenKeys<'k> {
    fn of(keys: &'k [u8]) -> Option<Self> {
        let (records, rest) = keys.split_first_chunk()?;
        let (header, digest) = rest.split_first_chunk()?;
        Some(Self { records, header, digest: digest.try_into().ok()? })
    }
}

const TOO_LONG: StoreError = StoreError::Bug("HKDF gives as many bytes as are asked for here");

/// A key for `purpose`.
pub(crate) fn expand<const N: usize>(
    derivation: &Hkdf<Sha256>,
    purpose: &[u8],
) -> Result<SecretArray<N>, StoreError> {
    SecretArray::try_init_with(|bytes| derivation.expand(purpose, bytes)).map_err(|_| TOO_LONG)
}

/// A key from the system's randomness.
pub(crate) fn random_key() -> Result<SecretArray<32>, StoreError> {
    SecretArray::try_init_with(|bytes| getrandom::fill(bytes)).map_err(StoreError::Randomness)
}

/// Seals `secret` under a fresh nonce, together with `bound`, which stays readable and can't be
/// changed: nonce, ciphertext, tag.
pub(crate) fn seal(key: &[u8; 32], bound: &[u8], secret: &[u8]) -> Result<Vec<u8>, StoreError> {
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
pub(crate) fn open(key: &[u8; 32], bound: &[u8], sealed: &[u8]) -> Option<SecretBytes> {
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

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_text_alone() {
        let key = random_key().unwrap();
        let key = key.expose();
        let sealed = seal(key, b"bound", b"secret").unwrap();
        assert_eq!(sealed.len(), 6 + OVERHEAD);
        assert_eq!(open(key, b"bound", &sealed).unwrap().expose(), b"secret");
        assert!(open(key, b"Bound", &sealed).is_none());
        assert!(open(random_key().unwrap().expose(), b"bound", &sealed).is_none());
    }

    #[test]
    fn every_bit_counts() {
        let key = random_key().unwrap();
        let key = key.expose();
        let sealed = seal(key, b"", b"secret").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(key, b"", &flipped).is_none(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(open(key, b"", &sealed[..len]).is_none(), "{len} bytes");
        }
    }

    #[test]
    fn nonces_are_fresh() {
        let key = random_key().unwrap();
        let key = key.expose();
        assert_ne!(seal(key, b"", b"secret").unwrap(), seal(key, b"", b"secret").unwrap());
    }

    #[test]
    fn purposes_and_stores_have_keys_of_their_own() {
        let store_key = random_key().unwrap();
        let here = StoreKeys::derive(&store_key, &[1; 16]).unwrap();
        let there = StoreKeys::derive(&store_key, &[2; 16]).unwrap();
        let opened = here.open(|here| {
            assert_ne!(here.records, here.header);
            assert_ne!(here.records[..], here.digest[..32]);
            there.open(|there| {
                assert_ne!(here.records, there.records);
                Ok(())
            })
        });
        opened.unwrap();
    }
}
