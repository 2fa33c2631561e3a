//! Keystores, encrypted and decrypted.

use std::fmt;

use kms_secrets::SecretArray;
use subtle::ConstantTimeEq;

use super::{Eip2335Error, cipher, uuid};
use crate::password_kdf::{CostRefused, PasswordKdf};
use crate::{Bls12381PublicKey, Bls12381SecretKey, DerivationPath};

/// How a password becomes a key, at the cost that EIP-2335 shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Eip2335Kdf {
    /// scrypt with n = 262144, r = 8 and p = 1, which takes 256 MiB and most of a second.
    Scrypt,
    /// PBKDF2 with HMAC-SHA256 and 262144 rounds, which takes about half a second and no memory: much
    /// easier for whoever guesses on many cores.
    Pbkdf2,
}

/// A BLS12-381 secret key encrypted under a password (EIP-2335, version 4).
///
/// Nothing in it is secret, but whoever has it can guess passwords at leisure. `Debug` shows what it
/// says of itself.
#[derive(Clone)]
pub struct Eip2335Keystore {
    pub(super) kdf: PasswordKdf,
    pub(super) salt: Vec<u8>,
    pub(super) iv: [u8; 16],
    pub(super) ciphertext: [u8; 32],
    pub(super) checksum: [u8; 32],
    pub(super) description: Option<String>,
    pub(super) public_key: Option<Bls12381PublicKey>,
    pub(super) path: String,
    pub(super) uuid: String,
}

impl Eip2335Keystore {
    /// Encrypts `key` under `password`, UTF-8 text of which the normalised form (NFKD, without control
    /// codes) counts. `path` says how the key was derived, and is empty if it was not. Salt, counter
    /// block and UUID are random. Takes what `kdf` says.
    ///
    /// # Errors
    /// [`Eip2335Error::PasswordNotUtf8`]; [`Eip2335Error::BadValue`] for a path that is none;
    /// [`Eip2335Error::RandomnessUnavailable`].
    pub fn encrypt(
        key: &Bls12381SecretKey,
        password: &[u8],
        path: &str,
        kdf: Eip2335Kdf,
    ) -> Result<Self, Eip2335Error> {
        let kdf = match kdf {
            Eip2335Kdf::Scrypt => PasswordKdf::scrypt(1 << 18, 8, 1),
            Eip2335Kdf::Pbkdf2 => PasswordKdf::pbkdf2(1 << 18),
        };
        Self::encrypt_at(key, password, path, kdf.map_err(refusal)?)
    }

    fn encrypt_at(
        key: &Bls12381SecretKey,
        password: &[u8],
        path: &str,
        kdf: PasswordKdf,
    ) -> Result<Self, Eip2335Error> {
        let is_path = path.is_empty() || path.parse::<DerivationPath>().is_ok();
        if !is_path {
            let expected = "a derivation path such as m/12381/3600/0/0/0, or nothing";
            return Err(Eip2335Error::BadValue { field: "path", expected });
        }
        let password = cipher::password(password)?;
        let (mut salt, mut iv) = (vec![0; 32], [0; 16]);
        getrandom::fill(&mut salt).map_err(Eip2335Error::RandomnessUnavailable)?;
        getrandom::fill(&mut iv).map_err(Eip2335Error::RandomnessUnavailable)?;
        let derived = kdf.derive(password.expose(), &salt).map_err(refusal)?;
        // Encrypted where the secret was copied to, so that no plain copy is left.
        let encrypted = SecretArray::<32>::init_with(|text| {
            text.copy_from_slice(key.bytes());
            cipher::apply(&derived, &iv, text);
        });
        let ciphertext = *encrypted.expose();
        Ok(Self {
            kdf,
            salt,
            iv,
            checksum: cipher::checksum(&derived, &ciphertext),
            ciphertext,
            description: None,
            public_key: Some(*key.public_key()),
            path: path.to_owned(),
            uuid: uuid::random()?,
        })
    }

    /// The key, under the password with which it was encrypted. Nothing is decrypted before the checksum
    /// is found right, and a public key in the document must be the key's. Takes up to half a
    /// minute and [`Eip2335Keystore::memory_bytes`], as the document says. The caller wipes its own copy of the
    /// password.
    ///
    /// # Errors
    /// [`Eip2335Error::PasswordNotUtf8`], [`Eip2335Error::WrongPassword`], [`Eip2335Error::NotAKey`],
    /// [`Eip2335Error::PublicKeyMismatch`].
    pub fn decrypt(&self, password: &[u8]) -> Result<Bls12381SecretKey, Eip2335Error> {
        let password = cipher::password(password)?;
        let derived = self.kdf.derive(password.expose(), &self.salt).map_err(refusal)?;
        let checksum = cipher::checksum(&derived, &self.ciphertext);
        if !bool::from(checksum.ct_eq(&self.checksum)) {
            return Err(Eip2335Error::WrongPassword);
        }
        let secret = SecretArray::init_with(|text| {
            text.copy_from_slice(&self.ciphertext);
            cipher::apply(&derived, &self.iv, text);
        });
        let key = Bls12381SecretKey::from_secret(secret).map_err(Eip2335Error::NotAKey)?;
        if self.public_key.is_some_and(|claimed| claimed != *key.public_key()) {
            return Err(Eip2335Error::PublicKeyMismatch);
        }
        Ok(key)
    }

    /// The public key that the document claims, if it names one. Only [`Eip2335Keystore::decrypt`] shows
    /// whether it is the right one.
    #[must_use]
    pub fn public_key(&self) -> Option<&Bls12381PublicKey> {
        self.public_key.as_ref()
    }

    /// How the key was derived, such as `m/12381/3600/0/0/0`, as the document has it; empty if it was not.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The name of this document, a UUID.
    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// What the document says of itself, if it does.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The bytes of memory that [`Eip2335Keystore::decrypt`] takes while it runs, 0 for PBKDF2, at most
    /// about 512 MiB. Who decrypts several at once bounds their sum.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.kdf.memory_bytes()
    }
}

pub(super) fn refusal(CostRefused(expected): CostRefused) -> Eip2335Error {
    Eip2335Error::CostRefused { expected }
}

impl fmt::Debug for Eip2335Keystore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eip2335Keystore")
            .field("public_key", &self.public_key)
            .field("path", &self.path)
            .field("uuid", &self.uuid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_standard_costs_are_used() {
        let key = Bls12381SecretKey::generate().unwrap();
        for (kdf, expected) in [
            (Eip2335Kdf::Scrypt, PasswordKdf::scrypt(262_144, 8, 1)),
            (Eip2335Kdf::Pbkdf2, PasswordKdf::pbkdf2(262_144)),
        ] {
            let keystore = Eip2335Keystore::encrypt(&key, b"a password", "", kdf).unwrap();
            assert_eq!(Ok(keystore.kdf), expected);
            let decrypted = keystore.decrypt(b"a password").unwrap();
            assert_eq!(decrypted.bytes(), key.bytes());
        }
    }

    #[test]
    fn two_keystores_of_one_key_share_nothing_random() {
        let key = Bls12381SecretKey::generate().unwrap();
        let kdf = PasswordKdf::pbkdf2(1).unwrap();
        let make = || Eip2335Keystore::encrypt_at(&key, b"", "", kdf).unwrap();
        let (one, other) = (make(), make());
        assert_ne!(one.salt, other.salt);
        assert_ne!(one.iv, other.iv);
        assert_ne!(one.uuid, other.uuid);
        assert_ne!(one.ciphertext, other.ciphertext);
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_right_password() {
        let key = Bls12381SecretKey::generate().unwrap();
        let kdf = PasswordKdf::scrypt(2, 1, 1).unwrap();
        let mut keystore = Eip2335Keystore::encrypt_at(&key, b"", "", kdf).unwrap();
        // Another ciphertext under the same key, with its checksum made good.
        let derived = kdf.derive(b"", &keystore.salt).unwrap();
        keystore.ciphertext = [0xff; 32];
        cipher::apply(&derived, &keystore.iv, &mut keystore.ciphertext);
        keystore.checksum = cipher::checksum(&derived, &keystore.ciphertext);
        let error = keystore.decrypt(b"").unwrap_err();
        assert_eq!(error, Eip2335Error::NotAKey(crate::KeyError::OutOfRange));
    }

    #[test]
    fn a_path_that_is_none_is_refused() {
        let key = Bls12381SecretKey::generate().unwrap();
        for path in ["m", "12381/3600", "m/x"] {
            let refused =
                Eip2335Keystore::encrypt(&key, b"", path, Eip2335Kdf::Pbkdf2).unwrap_err();
            assert!(matches!(refused, Eip2335Error::BadValue { field: "path", .. }));
        }
    }

    proptest! {
        #[test]
        fn any_key_is_encrypted_written_read_and_decrypted(
            mut secret: [u8; 32],
            password in ".{0,40}",
            scrypt: bool,
        ) {
            secret[0] &= 0x3f;
            secret[31] |= 1;
            let key = Bls12381SecretKey::from_bytes(&secret).unwrap();
            let kdf = if scrypt { PasswordKdf::scrypt(2, 2, 3) } else { PasswordKdf::pbkdf2(3) };
            let path = "m/12381/3600/0/0/0";
            let keystore =
                Eip2335Keystore::encrypt_at(&key, password.as_bytes(), path, kdf.unwrap()).unwrap();
            let read = Eip2335Keystore::from_json(&keystore.to_json()).unwrap();
            prop_assert_eq!(read.kdf, keystore.kdf);
            prop_assert_eq!(read.to_json(), keystore.to_json());
            let decrypted = read.decrypt(password.as_bytes()).unwrap();
            prop_assert_eq!(decrypted.bytes(), &secret);
            let wrong = read.decrypt(format!("{password}x").as_bytes()).unwrap_err();
            prop_assert_eq!(wrong, Eip2335Error::WrongPassword);
        }
    }
}
