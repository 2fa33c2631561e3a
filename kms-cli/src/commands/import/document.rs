//! One key in a document.

use std::path::Path;

use kms_keys::{Eip2335Keystore, KeyId, KeyType, SecretKey};

use super::{Format, Import, warn_of_slashing};
use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::source;

const PEM: &[u8] = b"-----BEGIN ";
const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

impl Import {
    /// The key that a document holds.
    pub(super) fn document(
        &self,
        context: &Context,
        id: &KeyId,
        from: &Path,
    ) -> Outcome<SecretKey> {
        let document = source::document(from)?;
        let document = document.expose();
        let what = || format!("key {id} can't be read from {}", place(from));
        match self.format.unwrap_or_else(|| guess(document)) {
            Format::Pem => self.pem(document, from).map_err(|failure| failure.of(what())),
            Format::Eip2335 => {
                let key = self.keystore(document, from).map_err(|failure| failure.of(what()))?;
                warn_of_slashing(context);
                Ok(key)
            }
            _ => {
                let key_type = self.key_type.ok_or_else(|| needs_type("hexadecimal digits"))?;
                SecretKey::from_hex(key_type, document.trim_ascii_end())
                    .map_err(|error| Failure::from(error).of(what()))
            }
        }
    }

    fn pem(&self, text: &[u8], from: &Path) -> Outcome<SecretKey> {
        if contains(text, ENCRYPTED) {
            let key_type = self.key_type.ok_or_else(|| needs_type("an encrypted document"))?;
            let passphrase = self.passphrase.read(&place(from))?;
            let key = SecretKey::from_encrypted_pkcs8_pem(key_type, text, passphrase.expose());
            return Ok(key?);
        }
        let key_type = match self.key_type {
            Some(key_type) => key_type,
            None => KeyType::of_pkcs8_pem(text)?,
        };
        Ok(SecretKey::from_pkcs8_pem(key_type, text)?)
    }

    fn keystore(&self, json: &[u8], from: &Path) -> Outcome<SecretKey> {
        if self.key_type.is_some_and(|key_type| key_type != KeyType::Bls12381) {
            return Err(Failure::usage("an EIP-2335 keystore holds a bls12-381 key"));
        }
        let keystore = Eip2335Keystore::from_json(json)?;
        let password = self.passphrase.read(&place(from))?;
        Ok(keystore.decrypt(password.expose())?.into())
    }
}

/// The format that a document seems to have.
fn guess(document: &[u8]) -> Format {
    if source::is_keystore(document) {
        Format::Eip2335
    } else if contains(document, PEM) {
        Format::Pem
    } else {
        Format::Hex
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn needs_type(what: &str) -> Failure {
    Failure::usage(format_args!("{what} don't say what key they hold: add --type"))
}

/// Where a document is, in words.
pub(super) fn place(from: &Path) -> String {
    if from == Path::new("-") { "standard input".into() } else { from.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_guessed() {
        assert_eq!(guess(b" {\"crypto\": {}}"), Format::Eip2335);
        assert_eq!(guess(b"a remark\n-----BEGIN PRIVATE KEY-----\n"), Format::Pem);
        assert_eq!(guess(b"0x00"), Format::Hex);
        assert_eq!(guess(b""), Format::Hex);
    }
}
