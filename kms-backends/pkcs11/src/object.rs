//! Key objects: how they are made, named and read.

use std::time::Duration;

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, KeyType as Kind, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use kms_keys::{KeyId, KeyType, PublicKey};

use crate::error::is_changing;

/// The curves' parameters in DER: object identifiers of RFC 8410 and SEC 2.
const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];
const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
/// Edwards curves are also named, in a PrintableString (PKCS#11 3.0, 2.3.10).
const ED25519_NAMED: &[u8] = b"\x13\x0cedwards25519";

/// How often objects that others are changing are looked for again, and after how long.
pub(crate) const LOOKS: usize = 5;
pub(crate) const CHANGED: Duration = Duration::from_millis(10);

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

/// What finds the private keys that are so.
pub(crate) fn private_keys(so: impl IntoIterator<Item = Attribute>) -> Vec<Attribute> {
    let class = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true)];
    class.into_iter().chain(so).collect()
}

/// What finds the public keys that are so.
pub(crate) fn public_keys(so: impl IntoIterator<Item = Attribute>) -> Vec<Attribute> {
    let class = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Token(true)];
    class.into_iter().chain(so).collect()
}

/// What `read` gives of every object that is so. One that can't be read, since somebody else is changing it, is
/// not passed over: it is looked for again until it can be, or is gone.
pub(crate) fn read_all<T>(
    session: &Session,
    so: &[Attribute],
    read: impl Fn(ObjectHandle) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut looks = 0;
    loop {
        let found = session.find_objects(so)?;
        match found.into_iter().map(&read).collect() {
            Err(error) if is_changing(&error) && looks < LOOKS => {
                looks += 1;
                std::thread::sleep(CHANGED);
            }
            read => return read,
        }
    }
}

/// What the two objects of a key are to be.
pub(crate) struct Objects {
    kind: Kind,
    curve: &'static [u8],
    mechanism: Mechanism<'static>,
    name: [Attribute; 2],
}

impl Objects {
    /// Those of a key of this type; nothing for types that tokens don't have.
    pub(crate) fn new(id: &KeyId, key_type: KeyType, cka_id: Vec<u8>) -> Option<Self> {
        let (mechanism, kind, curve) = match key_type {
            KeyType::Ed25519 => {
                (Mechanism::EccEdwardsKeyPairGen, Kind::EC_EDWARDS, ED25519.as_slice())
            }
            KeyType::Secp256k1 => (Mechanism::EccKeyPairGen, Kind::EC, SECP256K1.as_slice()),
            _ => return None,
        };
        Some(Self { kind, curve, mechanism, name: [label(id), Attribute::Id(cka_id)] })
    }

    /// How such a pair is generated.
    pub(crate) fn generation(&self) -> &Mechanism<'static> {
        &self.mechanism
    }

    pub(crate) fn public(&self) -> Vec<Attribute> {
        let own = [
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(self.curve.to_vec()),
        ];
        self.both().chain(own).collect()
    }

    pub(crate) fn private(&self) -> Vec<Attribute> {
        let own = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        self.both().chain(own).collect()
    }

    pub(crate) fn public_to_import(&self, public_key: &PublicKey) -> Vec<Attribute> {
        let mut object = self.public();
        object.push(Attribute::Class(ObjectClass::PUBLIC_KEY));
        object.push(Attribute::EcPoint(wrapped_point(public_key)));
        object
    }

    /// The last attribute holds a copy of the secret. The caller wipes it.
    pub(crate) fn private_to_import(&self, secret: &[u8]) -> Vec<Attribute> {
        let mut object = self.private();
        object.push(Attribute::Class(ObjectClass::PRIVATE_KEY));
        object.push(Attribute::EcParams(self.curve.to_vec()));
        object.push(Attribute::Value(secret.to_vec()));
        object
    }

    fn both(&self) -> impl Iterator<Item = Attribute> {
        let both = [Attribute::Token(true), Attribute::KeyType(self.kind)];
        both.into_iter().chain(self.name.clone())
    }
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

/// A point as [`read_public_key`] reads it, in an OCTET STRING.
fn wrapped_point(public_key: &PublicKey) -> Vec<u8> {
    let point = match public_key {
        PublicKey::Secp256k1(public_key) => public_key.to_uncompressed_bytes().to_vec(),
        other => other.to_bytes(),
    };
    // Of at most 65 bytes: a length of one byte.
    let mut wrapped = vec![0x04, point.len().to_le_bytes()[0]];
    wrapped.extend(point);
    wrapped
}

/// The label of a key's objects.
pub(crate) fn label(id: &KeyId) -> Attribute {
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
    fn a_point_that_is_written_is_read_back() {
        for (key_type, curve) in
            [(KeyType::Ed25519, &ED25519[..]), (KeyType::Secp256k1, &SECP256K1)]
        {
            let key = SecretKey::generate(key_type).unwrap().public_key();
            let point = wrapped_point(&key);
            assert_eq!(read_public_key(key_type, curve, &point), Some(key));
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
