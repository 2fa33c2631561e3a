//! BIP-32 for secp256k1: a key is the sum of its parent and a hash.

use k256::elliptic_curve::PrimeField;
use k256::{FieldBytes, Scalar};
use zeroize::Zeroizing;

use super::hmac::Node;
use super::{DerivationError, HARDENED};
use crate::Secp256k1SecretKey;

/// The node at the end of `indices`.
pub(super) fn derive(
    seed: &[u8],
    mut indices: impl Iterator<Item = u32>,
) -> Result<Node, DerivationError> {
    indices.try_fold(Node::hash(b"Bitcoin seed", &[seed]), |parent, index| child(&parent, index))
}

/// `CKDpriv` of BIP-32.
fn child(parent: &Node, index: u32) -> Result<Node, DerivationError> {
    let number = index.to_be_bytes();
    let hash = if index & HARDENED != 0 {
        Node::hash(parent.chain_code(), &[&[0], parent.secret(), &number])
    } else {
        let key = Secp256k1SecretKey::from_bytes(parent.secret())
            .map_err(|_| DerivationError::NoKeyOnPath)?;
        Node::hash(parent.chain_code(), &[&key.public_key().to_bytes(), &number])
    };
    let sum = Zeroizing::new(*scalar(hash.secret())? + *scalar(parent.secret())?);
    if bool::from(sum.is_zero()) {
        return Err(DerivationError::NoKeyOnPath);
    }
    let secret = Zeroizing::new(sum.to_repr());
    Ok(hash.with_secret(&secret))
}

/// The number of 32 bytes, which must be below the group order.
fn scalar(bytes: &[u8]) -> Result<Zeroizing<Scalar>, DerivationError> {
    let mut repr = Zeroizing::new(FieldBytes::default());
    repr.copy_from_slice(bytes);
    Option::from(Scalar::from_repr(*repr)).map(Zeroizing::new).ok_or(DerivationError::NoKeyOnPath)
}
