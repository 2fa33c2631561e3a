//! The keys of a token: looking for them, and making them.

use std::collections::BTreeMap;
use std::time::Duration;

use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use kms_backend::{BackendError, Failure};
use kms_keys::{KeyId, KeyType, PublicKey};

use crate::connection::Connection;
use crate::object;

/// How often a key is made anew when somebody else makes it at the same time.
const TRIES: usize = 8;

/// After how long everybody sees what was made.
const SETTLED: Duration = Duration::from_millis(50);

/// A key pair that was found: one version of a key.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) key_type: KeyType,
    pub(crate) public_key: PublicKey,
}

/// What an object's attributes say of a private key.
struct Private {
    handle: ObjectHandle,
    label: Vec<u8>,
    cka_id: Vec<u8>,
    key_type: Option<KeyType>,
    guarded: bool,
}

/// The versions of the key called `id`, in order; none if there is no such key.
///
/// # Errors
/// [`BackendError::Misconfigured`] for objects that are no key of ours, [`BackendError::Corrupt`] for a
/// private key without its public one, and what the module says.
pub(crate) fn look(
    connection: &mut Connection,
    id: &KeyId,
) -> Result<BTreeMap<u32, Found>, BackendError> {
    let what = format!("can't look for key {id}");
    let found = connection.with(&what, |session, _| private_keys(session, Some(id)))?;
    let alone = found.len() == 1;
    let mut versions = BTreeMap::new();
    for private in found {
        // A key that somebody else made may have any `CKA_ID`, if it is the only one of its label.
        let version = object::version_of(&private.cka_id).or(alone.then_some(1));
        let Some(version) = version else {
            return Err(misconfigured(format!(
                "there is more than one private key with label {id}, and their `CKA_ID`s are not \
                 version numbers of 4 bytes"
            )));
        };
        if versions.contains_key(&version) {
            // One of two that were made at once is about to go.
            let what = format!("there are two private keys with label {id} and version {version}");
            return Err(BackendError::Unavailable(Failure::new(what)));
        }
        let found = read(connection, id, &private)?;
        connection.handles.insert((id.as_str().to_owned(), version), private.handle);
        versions.insert(version, found);
    }
    Ok(versions)
}

/// The ids of all private keys whose labels are ids, with their number of versions left out.
pub(crate) fn ids(connection: &mut Connection) -> Result<Vec<KeyId>, BackendError> {
    let found = connection.with("can't list the keys", |session, _| private_keys(session, None))?;
    let labels = found.into_iter().filter(|private| private.key_type.is_some());
    let labels = labels.filter_map(|private| String::from_utf8(private.label).ok());
    let mut ids: Vec<_> = labels.filter_map(|label| KeyId::new(label).ok()).collect();
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// Makes this version of a key, unless somebody else does so at the same time:
/// [`BackendError::AlreadyExists`].
pub(crate) fn make(
    connection: &mut Connection,
    id: &KeyId,
    key_type: KeyType,
    version: u32,
) -> Result<(), BackendError> {
    let Some((mechanism, public, private)) = object::generation(id, key_type, version) else {
        return Err(misconfigured(format!("key {id}: tokens hold no {key_type} keys")));
    };
    let what = format!("can't generate key {id}");
    let cka_id = object::version_id(version);
    let count = |connection: &mut Connection| {
        connection.with(&what, |session, _| {
            let keys = private_keys(session, Some(id))?;
            Ok(keys.into_iter().filter(|key| key.cka_id == cka_id).count())
        })
    };
    for _ in 0..TRIES {
        if count(connection)? > 0 {
            let what = format!("key {id} was made by somebody else at the same time");
            return Err(BackendError::AlreadyExists(Failure::new(what)));
        }
        let (public, private) = connection
            .with(&what, |session, _| session.generate_key_pair(&mechanism, &public, &private))?;
        // Some tokens show a new object to others a moment late.
        let first = count(connection)?;
        std::thread::sleep(SETTLED);
        if first == 1 && count(connection)? == 1 {
            return Ok(());
        }
        // Tokens let two objects have one name. Whoever sees another gives way: the other may have seen
        // itself alone, and have given its key out.
        connection.with(&what, |session, _| {
            session.destroy_object(public)?;
            session.destroy_object(private)
        })?;
        let mut random = [0];
        getrandom::fill(&mut random)
            .map_err(|cause| BackendError::Unavailable(Failure::because("no randomness", cause)))?;
        std::thread::sleep(Duration::from_millis(random[0].into()));
    }
    let what = format!("others make key {id} again and again at the same time");
    Err(BackendError::Unavailable(Failure::new(what)))
}

/// Destroys every version of a key. Whether there was any is told.
pub(crate) fn destroy(connection: &mut Connection, id: &KeyId) -> Result<bool, BackendError> {
    connection.with(&format!("can't destroy key {id}"), |session, handles| {
        handles.retain(|(label, _), _| label != id.as_str());
        let keys = private_keys(session, Some(id))?;
        for key in &keys {
            session.destroy_object(key.handle)?;
            for public in session.find_objects(&object::public_key(id, &key.cka_id))? {
                session.destroy_object(public)?;
            }
        }
        Ok(!keys.is_empty())
    })
}

/// The private key of this version, found before or now.
pub(crate) fn handle(
    session: &Session,
    id: &KeyId,
    version: u32,
) -> Result<Option<ObjectHandle>, Error> {
    let keys = private_keys(session, Some(id))?;
    let alone = keys.len() == 1;
    let mut keys = keys.into_iter();
    let wanted = |key: &Private| {
        let found = object::version_of(&key.cka_id).or(alone.then_some(1));
        found == Some(version)
    };
    Ok(keys.find(wanted).map(|key| key.handle))
}

fn private_keys(session: &Session, id: Option<&KeyId>) -> Result<Vec<Private>, Error> {
    let wanted = [
        AttributeType::Label,
        AttributeType::Id,
        AttributeType::KeyType,
        AttributeType::Sensitive,
        AttributeType::Extractable,
    ];
    let mut found = Vec::new();
    for handle in session.find_objects(&object::private_keys(id))? {
        let attributes = match session.get_attributes(handle, &wanted) {
            Ok(attributes) => attributes,
            // Destroyed meanwhile.
            Err(Error::Pkcs11(RvError::ObjectHandleInvalid, _)) => continue,
            Err(error) => return Err(error),
        };
        let mut private =
            Private { handle, label: vec![], cka_id: vec![], key_type: None, guarded: true };
        for attribute in attributes {
            match attribute {
                Attribute::Label(label) => private.label = label,
                Attribute::Id(id) => private.cka_id = id,
                Attribute::KeyType(kind) => private.key_type = object::key_type(kind),
                Attribute::Sensitive(sensitive) => private.guarded &= sensitive,
                Attribute::Extractable(extractable) => private.guarded &= !extractable,
                _ => {}
            }
        }
        found.push(private);
    }
    Ok(found)
}

fn read(connection: &mut Connection, id: &KeyId, private: &Private) -> Result<Found, BackendError> {
    let Some(key_type) = private.key_type else {
        return Err(misconfigured(format!("the private key with label {id} is on no known curve")));
    };
    if !private.guarded {
        return Err(misconfigured(format!(
            "private key {id} may leave the token: it is not sensitive, or it is extractable"
        )));
    }
    let what = format!("can't read the public key of {id}");
    let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
    let attributes = connection.with(&what, |session, _| {
        match session.find_objects(&object::public_key(id, &private.cka_id))?[..] {
            [] => Ok(Some(Vec::new())),
            [public] => session.get_attributes(public, &wanted).map(Some),
            _ => Ok(None),
        }
    })?;
    let Some(attributes) = attributes else {
        // One of two that were made at once is about to go.
        let what = format!("there are two public keys with label {id} and the same `CKA_ID`");
        return Err(BackendError::Unavailable(Failure::new(what)));
    };
    let (mut curve, mut point) = (Vec::new(), Vec::new());
    for attribute in attributes {
        match attribute {
            Attribute::EcParams(bytes) => curve = bytes,
            Attribute::EcPoint(bytes) => point = bytes,
            _ => {}
        }
    }
    let public_key = object::read_public_key(key_type, &curve, &point).ok_or_else(|| {
        BackendError::Corrupt(Failure::new(format!(
            "private key {id} has no public key object of the same label and `CKA_ID`, or that one is \
             on another curve"
        )))
    })?;
    Ok(Found { key_type, public_key })
}

/// Signs with this version of a key: the bytes that the token gives.
pub(crate) fn sign(
    connection: &mut Connection,
    id: &KeyId,
    key_type: KeyType,
    version: u32,
    data: &[u8],
) -> Result<Vec<u8>, BackendError> {
    let what = format!("can't sign with key {id}");
    let mechanism = object::signing(key_type)
        .ok_or_else(|| misconfigured(format!("key {id}: tokens hold no {key_type} keys")))?;
    let name = (id.as_str().to_owned(), version);
    let signed = connection.with(&what, |session, handles| {
        let known = handles.get(&name).copied();
        if let Some(handle) = known {
            return session.sign(&mechanism, handle, data).map(Some);
        }
        let Some(handle) = handle(session, id, version)? else { return Ok(None) };
        handles.insert(name.clone(), handle);
        session.sign(&mechanism, handle, data).map(Some)
    })?;
    signed.ok_or_else(|| {
        let what = format!("version {version} of key {id} is no longer in the token");
        BackendError::NotFound(Failure::new(what))
    })
}

fn misconfigured(what: String) -> BackendError {
    BackendError::Misconfigured(Failure::new(what))
}
