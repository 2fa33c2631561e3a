//! Public keys, as tokens give them, and whether they are those of the private ones.

use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use kms_keys::{Ed25519Signature, KeyId, KeyType, PublicKey};
use sha2::{Digest, Sha256};

use crate::keys::Private;
use crate::object;

/// The public key of a private one: the object of the same name. Where that doesn't say, because its making was
/// cut off, the one whose signatures the private key makes.
pub(crate) fn of(
    session: &Session,
    id: &KeyId,
    private: &Private,
    key_type: KeyType,
) -> Result<Option<PublicKey>, Error> {
    let so = [object::label(id), Attribute::Id(private.cka_id.clone())];
    let named = session.find_objects(&object::public_keys(so))?;
    let certain = named.len() == 1;
    let objects = if named.is_empty() {
        session.find_objects(&object::public_keys([object::label(id)]))?
    } else {
        named
    };
    for object in objects {
        if let Some(public_key) = read(session, object, key_type)?
            && (certain || signs(session, private.handle, &public_key)?)
        {
            return Ok(Some(public_key));
        }
    }
    Ok(None)
}

/// The public key of a private one that somebody else brought: an object with the same `CKA_ID` or label, or
/// what the private one says itself. Of several, the one whose signatures it makes.
pub(crate) fn of_named(
    session: &Session,
    private: &Private,
    key_type: KeyType,
) -> Result<Option<PublicKey>, Error> {
    let mut found = Vec::new();
    let names = [Attribute::Id(private.cka_id.clone()), Attribute::Label(private.label.clone())];
    let [has_id, has_label] = [&private.cka_id, &private.label].map(|name| !name.is_empty());
    for (name, has_it) in names.into_iter().zip([has_id, has_label]) {
        if has_it {
            for object in session.find_objects(&object::public_keys([name]))? {
                found.extend(read(session, object, key_type)?);
            }
        }
    }
    found.extend(read(session, private.handle, key_type)?);
    found.extend(told(session, private.handle, key_type)?);
    found.dedup();
    if let [only] = &found[..] {
        return Ok(Some(only.clone()));
    }
    for public_key in found {
        if signs(session, private.handle, &public_key)? {
            return Ok(Some(public_key));
        }
    }
    Ok(None)
}

/// What a private key's `CKA_PUBLIC_KEY_INFO` says, if it has one.
fn told(
    session: &Session,
    private: ObjectHandle,
    key_type: KeyType,
) -> Result<Option<PublicKey>, Error> {
    let attributes = session.get_attributes(private, &[AttributeType::PublicKeyInfo])?;
    Ok(attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::PublicKeyInfo(spki) => PublicKey::from_spki_der(key_type, &spki).ok(),
        _ => None,
    }))
}

/// The public key of this type that an object holds. None if it isn't one, or is gone.
pub(crate) fn read(
    session: &Session,
    object: ObjectHandle,
    key_type: KeyType,
) -> Result<Option<PublicKey>, Error> {
    let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
    let attributes = match session.get_attributes(object, &wanted) {
        Ok(attributes) => attributes,
        // Destroyed meanwhile.
        Err(Error::Pkcs11(RvError::ObjectHandleInvalid, _)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut curve, mut point) = (Vec::new(), Vec::new());
    for attribute in attributes {
        match attribute {
            Attribute::EcParams(bytes) => curve = bytes,
            Attribute::EcPoint(bytes) => point = bytes,
            _ => {}
        }
    }
    Ok(object::read_public_key(key_type, &curve, &point))
}

/// Whether the private key signs, and this is its public one.
pub(crate) fn signs(
    session: &Session,
    private: ObjectHandle,
    public_key: &PublicKey,
) -> Result<bool, Error> {
    let Some(mechanism) = object::signing(public_key.key_type()) else { return Ok(false) };
    // Nothing that anybody else would sign.
    let digest: [u8; 32] = Sha256::digest(b"kms-backend-pkcs11: a test signature").into();
    let bytes = session.sign(&mechanism, private, &digest)?;
    Ok(match public_key {
        PublicKey::Ed25519(public_key) => Ed25519Signature::from_bytes(&bytes)
            .is_ok_and(|signature| public_key.verify(&digest, &signature).is_ok()),
        PublicKey::Secp256k1(public_key) => public_key.complete_signature(&digest, &bytes).is_ok(),
        _ => false,
    })
}
