//! Blocks: a header, who signed it, who attested to it.

use std::fmt;
use std::time::Instant;

use kms_keys::{KeyId, Signature};
use kms_service::AggregateSignature;
use sha2::{Digest, Sha256};

/// What is in a block header. Encoded as 40 bytes: the slot, big-endian, and the parent's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The slot, from 1 on.
    pub slot: u64,
    /// The hash of the block before.
    pub parent: Hash,
}

/// A SHA-256 hash, printed in hex.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

/// A header with its proposer's signature.
#[derive(Clone, Debug)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// Who proposed it.
    pub proposer: KeyId,
    /// The proposer's signature over [`Header::to_bytes`] (ECDSA, SHA-256).
    pub signature: Signature,
    /// When the slot began.
    pub began: Instant,
}

/// A block with its attestation.
#[derive(Clone, Debug)]
pub struct AttestedBlock {
    /// The block.
    pub block: Block,
    /// The attesters' aggregate signature over the block's hash.
    pub attestation: AggregateSignature,
}

impl Header {
    /// What is signed.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.slot.to_be_bytes());
        bytes[8..].copy_from_slice(&self.parent.0);
        bytes
    }

    /// What is attested to, and what the next block names as its parent.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash(Sha256::digest(self.to_bytes()).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
