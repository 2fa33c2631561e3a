//! BLS signatures on BLS12-381 (draft-irtf-cfrg-bls-signature) with public keys in G1 ("min-pk").
//!
//! Every point that comes in is checked once, when it is read: on the curve, in the subgroup of prime
//! order, not the identity. So a value of these types is a checked point, and verifying does not
//! check again.

mod public_key;
pub(crate) mod secret_key;
mod signature;

pub use public_key::Bls12381PublicKey;
pub use secret_key::Bls12381SecretKey;
pub use signature::Bls12381Signature;

/// The domain-separation tag of the proof of possession.
const POSSESSION_TAG: &[u8] = b"BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// How BLS keeps an attacker from choosing a public key that cancels others out of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlsCiphersuite {
    /// Basic: all messages of an aggregate differ.
    Basic,
    /// Message augmentation: each signer signs its own public key in front of the message.
    Aug,
    /// Proof of possession: each signer has proven to know its secret
    /// ([`Bls12381PublicKey::verify_possession`]). What Ethereum uses.
    Pop,
}

impl BlsCiphersuite {
    /// The domain-separation tag of signatures.
    const fn tag(self) -> &'static [u8] {
        match self {
            Self::Basic => b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_NUL_",
            Self::Aug => b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_AUG_",
            Self::Pop => b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_",
        }
    }
}
