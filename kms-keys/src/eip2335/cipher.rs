//! The cryptography of EIP-2335: the password's spelling, AES-128-CTR, and the checksum in front of it.

use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use kms_secrets::{SecretArray, SecretBytes, on_wiped_stack};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Eip2335Error;
use crate::normalise::nfkd;

/// The password in the one spelling that counts: normalised, without control codes (C0, Delete, C1).
pub(super) fn password(password: &[u8]) -> Result<SecretBytes, Eip2335Error> {
    let text = str::from_utf8(password).map_err(|_| Eip2335Error::PasswordNotUtf8)?;
    Ok(nfkd(text, |character| !character.is_control()))
}

/// SHA-256 of the second half of the derived key and the ciphertext.
pub(super) fn checksum(derived: &SecretArray<32>, ciphertext: &[u8; 32]) -> [u8; 32] {
    on_wiped_stack(|| {
        let hash = Sha256::new_with_prefix(&derived.expose()[16..]);
        hash.chain_update(ciphertext).finalize().into()
    })
}

/// Encrypts or decrypts in place under the first half of the derived key.
pub(super) fn apply(derived: &SecretArray<32>, iv: &[u8; 16], text: &mut [u8; 32]) {
    on_wiped_stack(|| {
        let mut key = Zeroizing::new([0; 16]);
        key.copy_from_slice(&derived.expose()[..16]);
        Ctr128BE::<Aes128>::new((&*key).into(), iv.into()).apply_keystream(text);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// EIP-2335, "Test Cases".
    #[test]
    fn the_published_password_is_spelled_as_published() {
        let spelled = password("𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑".as_bytes()).unwrap();
        assert_eq!(hex::encode(spelled.expose()), "7465737470617373776f7264f09f9491");
    }

    #[test]
    fn control_codes_are_left_out() {
        let spelled = password("\u{0}a\n\u{1f} b\u{7f}\u{80}c\u{9f}\u{a0}".as_bytes()).unwrap();
        assert_eq!(spelled.expose(), b"a bc ");
        assert_eq!(password(&[0x61, 0x80]).unwrap_err(), Eip2335Error::PasswordNotUtf8);
    }
}
