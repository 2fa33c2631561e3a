//! Key agreement with Ed25519 keys.

use curve25519_dalek::MontgomeryPoint;
use kms_secrets::on_wiped_stack;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::ed25519::hash_seed;
use crate::{KeyType, Operator, OperatorError, SecretRef};

/// Diffie–Hellman (RFC 7748, X25519) with the X25519 form of an Ed25519 key.
///
/// The secret scalar is the one of Ed25519: the clamped first half of SHA-512 of the seed. The input is
/// the peer's X25519 public key, 32 bytes (for a peer with an Ed25519 key,
/// [`Ed25519PublicKey::to_x25519`](crate::Ed25519PublicKey::to_x25519)). The output is the shared
/// secret, 32 bytes; it is to be hashed together with both public keys before it is used as a key.
#[derive(Debug, Clone, Copy, Default)]
pub struct X25519Operator;

impl Operator for X25519Operator {
    fn name(&self) -> &'static str {
        "x25519"
    }

    fn key_type(&self) -> KeyType {
        KeyType::Ed25519
    }

    fn max_output(&self) -> usize {
        32
    }

    /// # Errors
    /// [`OperatorError::WrongKeyType`]; [`OperatorError::InvalidInput`] unless the input is 32 bytes;
    /// [`OperatorError::Refused`] for a public key of low order, with which the result would be zero
    /// whatever the secret is (RFC 7748, section 6.1).
    fn run(
        &self,
        key: SecretRef<'_>,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), OperatorError> {
        if key.key_type() != KeyType::Ed25519 {
            return Err(OperatorError::WrongKeyType {
                expected: KeyType::Ed25519,
                got: key.key_type(),
            });
        }
        let peer = input.try_into().map(MontgomeryPoint).map_err(|_| {
            OperatorError::InvalidInput { expected: "an X25519 public key of 32 bytes" }
        })?;
        // Exposed because the scalar that X25519 multiplies with is a hash of the seed.
        let multiply = || Zeroizing::new(peer.mul_clamped(*scalar(key.expose())));
        let shared = on_wiped_stack(multiply);
        if bool::from(shared.as_bytes().ct_eq(&[0; 32])) {
            return Err(OperatorError::Refused("the public key has low order".into()));
        }
        out.extend_from_slice(shared.as_bytes());
        Ok(())
    }
}

/// The number that X25519 multiplies with.
fn scalar(seed: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let mut scalar = Zeroizing::new([0; 32]);
    scalar.copy_from_slice(&hash_seed(seed).expose()[..32]);
    scalar
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ed25519SecretKey, SecretKey, hex};

    fn key(byte: u8) -> (SecretKey, [u8; 32]) {
        let public = Ed25519SecretKey::from_bytes(&[byte; 32]).unwrap().public_key().to_x25519();
        (SecretKey::from_bytes(KeyType::Ed25519, &[byte; 32]).unwrap(), public)
    }

    fn agree(secret: &SecretKey, peer: &[u8]) -> Result<Vec<u8>, OperatorError> {
        let mut out = Vec::with_capacity(X25519Operator.max_output());
        X25519Operator.run(secret.expose_secret(), peer, &mut out).map(|()| out)
    }

    #[test]
    fn both_sides_agree_and_others_do_not() {
        let ((a, a_public), (b, b_public), (c, _)) = (key(1), key(2), key(3));
        let shared = agree(&a, &b_public).unwrap();
        assert_eq!(shared.len(), 32);
        assert_eq!(agree(&b, &a_public).unwrap(), shared);
        assert_ne!(agree(&c, &a_public).unwrap(), shared);
    }

    #[test]
    fn the_map_of_public_keys_matches_the_arithmetic_of_secret_ones() {
        // RFC 7748 knows nothing of Edwards points: the public key is the scalar times 9.
        let base = MontgomeryPoint({
            let mut nine = [0; 32];
            nine[0] = 9;
            nine
        });
        for byte in 0..16 {
            let (_, mapped) = key(byte);
            let scalar = scalar(&[byte; 32]);
            assert_eq!(base.mul_clamped(*scalar).to_bytes(), mapped);
            assert_eq!(MontgomeryPoint::mul_base_clamped(*scalar).to_bytes(), mapped);
        }
    }

    #[test]
    fn the_base_point_maps_to_nine() {
        // The generators of the two curves correspond (RFC 7748, section 4.1).
        let base = curve25519_dalek::constants::ED25519_BASEPOINT_COMPRESSED.to_bytes();
        let mut nine = [0; 32];
        nine[0] = 9;
        assert_eq!(crate::Ed25519PublicKey::from_bytes(&base).unwrap().to_x25519(), nine);
    }

    #[test]
    fn the_pair_of_libsodium_s_tests_is_mapped() {
        // libsodium, test/default/ed25519_convert.c
        let seed = hex::decode(b"421151a459faeade3d247115f94aedae42318124095afabe4d1451a559faedee")
            .unwrap();
        let key = Ed25519SecretKey::from_bytes(&seed).unwrap();
        assert_eq!(
            hex::encode(&key.public_key().to_x25519()),
            "f1814f0e8ff1043d8a44d25babff3cedcae6c22c3edaa48f857ae70de2baae50"
        );
        assert_eq!(
            hex::encode(&*scalar(key.seed())),
            "8052030376d47112be7f73ed7a019293dd12ad910b654455798b4667d73de166"
        );
    }

    #[test]
    fn points_of_low_order_are_refused() {
        let (secret, _) = key(1);
        for low in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            let mut point = hex::decode(low.as_bytes()).unwrap();
            for top_bit in [0, 0x80] {
                point[31] = point[31] & 0x7f | top_bit;
                let result = agree(&secret, &point);
                assert!(matches!(result, Err(OperatorError::Refused(_))), "{low}");
            }
        }
    }

    #[test]
    fn other_input_and_other_keys_are_refused() {
        let (secret, public) = key(1);
        let expected = "an X25519 public key of 32 bytes";
        for input in [&[][..], &public[1..], &[9; 33]] {
            assert_eq!(agree(&secret, input), Err(OperatorError::InvalidInput { expected }));
        }
        let other = SecretKey::from_bytes(KeyType::Secp256k1, &[1; 32]).unwrap();
        assert_eq!(
            agree(&other, &public),
            Err(OperatorError::WrongKeyType {
                expected: KeyType::Ed25519,
                got: KeyType::Secp256k1
            })
        );
    }
}
