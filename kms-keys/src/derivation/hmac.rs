//! HMAC-SHA512, the step from which BIP-32 and SLIP-0010 are made.

use hmac::{Hmac, KeyInit, Mac};
use kms_secrets::SecretArray;
use sha2::Sha512;
use sha2::digest::FixedOutput;
use zeroize::Zeroizing;

/// What BIP-32 and SLIP-0010 carry from step to step: a secret and a chain code, 32 bytes each.
pub(super) struct Node(SecretArray<64>);

impl Node {
    /// HMAC-SHA512 of `parts` under a key of at most 128 bytes, cut in two.
    pub(super) fn hash(key: &[u8], parts: &[&[u8]]) -> Self {
        // A shorter key is filled up with zeros (RFC 2104).
        let mut block = Zeroizing::new([0; 128]);
        block[..key.len()].copy_from_slice(key);
        let mut mac = Hmac::<Sha512>::new((&*block).into());
        for part in parts {
            mac.update(part);
        }
        Self(SecretArray::init_with(|hash| mac.finalize_into(hash.into())))
    }

    /// `secret` with the chain code of this node.
    pub(super) fn with_secret(self, secret: &[u8]) -> Self {
        Self(SecretArray::init_with(|node| {
            node[..32].copy_from_slice(secret);
            node[32..].copy_from_slice(self.chain_code());
        }))
    }

    pub(super) fn secret(&self) -> &[u8] {
        &self.0.expose()[..32]
    }

    pub(super) fn chain_code(&self) -> &[u8] {
        &self.0.expose()[32..]
    }
}
