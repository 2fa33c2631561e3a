//! Key objects: how they are made, named and read.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, KeyType as Kind, ObjectClass};
use kms_keys::{KeyId, KeyType, PublicKey};

/// The curves' parameters in DER: object identifiers of RFC 8410 and SEC 2.
const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];
const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
/// Edwards curves are also named, in a PrintableString (PKCS#11 3.0, 2.3.10).
const ED25519_NAMED: &[u8] = b"\x13\x0cedwards25519";

/// A version's `CKA_ID`: its number, big-endian, 4 bytes.
pub(crate) fn version_id(version: u32) -> Vec<u8> {
    version.to_be_bytes().to_vec()
}

/// The version that a `CKA_ID` names, if it is one of ours.
pub(crate) fn version_of(id: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(id.try_into().ok()?)).filter(|version| *version > 0)
}

/// The key type of an object of this kind.
pub(crate) fn key_type(kind: Kind) -> Option<KeyType> {
    match kind {
        Kind::EC_EDWARDS => Some(KeyType::Ed25519),
        Kind::EC => Some(KeyType::Secp256k1),
        _ => None,
    }
}

/// What finds the private keys called so, or all.
pub(crate) fn private_keys(id: Option<&KeyId>) -> Vec<Attribute> {
    let mut wanted = vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true)];
    wanted.extend(id.map(label));
    wanted
}

/// What finds the public key of a private one.
pub(crate) fn public_key(id: &KeyId, cka_id: &[u8]) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::Token(true),
        label(id),
        Attribute::Id(cka_id.to_vec()),
    ]
}

/// How a key pair of this type is made, and what its two objects are to be; nothing for types that tokens
/// don't have.
pub(crate) fn generation(
    id: &KeyId,
    key_type: KeyType,
    version: u32,
) -> Option<(Mechanism<'static>, Vec<Attribute>, Vec<Attribute>)> {
    let (mechanism, kind, curve) = match key_type {
        KeyType::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, Kind::EC_EDWARDS, ED25519.as_slice()),
        KeyType::Secp256k1 => (Mechanism::EccKeyPairGen, Kind::EC, SECP256K1.as_slice()),
        _ => return None,
    };
    let both = || {
        vec![
            Attribute::Token(true),
            Attribute::KeyType(kind),
            label(id),
            Attribute::Id(version_id(version)),
        ]
    };
    let (mut public, mut private) = (both(), both());
    public.extend([
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(curve.to_vec()),
    ]);
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ]);
    Some((mechanism, public, private))
}

/// How such a key signs: Ed25519 a message, secp256k1 a digest of 32 bytes.
pub(crate) fn signing(key_type: KeyType) -> Option<Mechanism<'static>> {
    match key_type {
        KeyType::Ed25519 => Some(Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519))),
        KeyType::Secp256k1 => Some(Mechanism::Ecdsa),
        _ => None,
    }
}

/// The public key of this type that an object's curve and point are. The point comes bare or, as the
/// standard has it, in an OCTET STRING.
pub(crate) fn read_public_key(key_type: KeyType, curve: &[u8], point: &[u8]) -> Option<PublicKey> {
    let (curves, len): (&[&[u8]], usize) = match key_type {
        KeyType::Ed25519 => (&[&ED25519, ED25519_NAMED], 32),
        KeyType::Secp256k1 => (&[&SECP256K1], 65),
        _ => return None,
    };
    if !curves.contains(&curve) {
        return None;
    }
    let point = match point {
        [0x04, bytes, rest @ ..] if rest.len() == len && usize::from(*bytes) == len => rest,
        bare => bare,
    };
    PublicKey::from_bytes(key_type, point).ok()
}

fn label(id: &KeyId) -> Attribute {
    Attribute::Label(id.as_str().as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use kms_keys::SecretKey;

    use super::*;

    #[test]
    fn points_are_read_bare_and_wrapped_and_only_on_their_curve() {
        let key = SecretKey::generate(KeyType::Ed25519).unwrap().public_key();
        let point = key.to_bytes();
        let wrapped = [&[0x04, 32], point.as_slice()].concat();
        for point in [&point, &wrapped] {
            for curve in [ED25519.as_slice(), ED25519_NAMED] {
                assert_eq!(read_public_key(KeyType::Ed25519, curve, point), Some(key.clone()));
            }
            assert_eq!(read_public_key(KeyType::Ed25519, &SECP256K1, point), None);
            assert_eq!(read_public_key(KeyType::Secp256k1, &SECP256K1, point), None);
        }
        for bad in [&[][..], &[4], &[4, 32], &wrapped[..33], &[4, 33, 1]] {
            assert_eq!(read_public_key(KeyType::Ed25519, &ED25519, bad), None);
        }
    }

    #[test]
    fn versions_are_numbers_from_one_on() {
        assert_eq!(version_of(&version_id(7)), Some(7));
        for other in [&[][..], &[1], &[0, 0, 0, 0], &[0, 0, 0, 0, 1]] {
            assert_eq!(version_of(other), None);
        }
    }
}
