//! The keys of a token: looking for them, signing with them, destroying them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use kms_backend::{BackendError, Failure};
use kms_keys::{KeyId, KeyType, PublicKey};

use crate::candidate::Candidate;
use crate::connection::Connection;
use crate::named::{KeyObject, in_hex};
use crate::{object, public};

/// A key that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) id: KeyId,
    /// Which object it is, if the settings say so.
    pub(crate) object: Option<KeyObject>,
}

/// A key pair that was found: one version of a key.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) key_type: KeyType,
    pub(crate) public_key: PublicKey,
    /// Whether it can't leave the token.
    pub(crate) guarded: bool,
}

/// What an object's attributes say of a private key.
pub(crate) struct Private {
    pub(crate) handle: ObjectHandle,
    pub(crate) label: Vec<u8>,
    pub(crate) cka_id: Vec<u8>,
    pub(crate) key_type: Option<KeyType>,
    /// Whether it can't leave the token.
    pub(crate) guarded: bool,
}

impl Private {
    pub(crate) fn read(session: &Session, handle: ObjectHandle) -> Result<Self, Error> {
        let wanted = [
            AttributeType::Label,
            AttributeType::Id,
            AttributeType::KeyType,
            AttributeType::Sensitive,
            AttributeType::Extractable,
        ];
        let mut private =
            Self { handle, label: vec![], cka_id: vec![], key_type: None, guarded: true };
        for attribute in session.get_attributes(handle, &wanted)? {
            match attribute {
                Attribute::Label(label) => private.label = label,
                Attribute::Id(id) => private.cka_id = id,
                Attribute::KeyType(kind) => private.key_type = object::key_type(kind),
                Attribute::Sensitive(sensitive) => private.guarded &= sensitive,
                Attribute::Extractable(extractable) => private.guarded &= !extractable,
                _ => {}
            }
        }
        Ok(private)
    }

    pub(crate) fn is_candidate(&self) -> bool {
        Candidate::read(&self.cka_id).is_some()
    }
}

/// The versions of a key, in order; none if there is no such key.
///
/// # Errors
/// [`BackendError::Misconfigured`] for objects that are no key of ours, [`BackendError::Corrupt`] for a
/// private key without its public one, and what the module says.
pub(crate) fn look(
    connection: &mut Connection,
    key: &Wanted,
) -> Result<BTreeMap<u32, Found>, BackendError> {
    let id = &key.id;
    let what = format!("can't look for key {id}");
    let found = connection.with(&what, |session, _| made_keys(session, key.search()))?;
    if let (Some(object), [_, _, ..]) = (&key.object, &found[..]) {
        return Err(ambiguous(id, object, &found));
    }
    let mut versions = BTreeMap::new();
    for (version, private) in key.numbered(found) {
        if versions.contains_key(&version) {
            return Err(misconfigured(format!(
                "there are two private keys with label {id} and version {version}"
            )));
        }
        let found = read(connection, key, &private)?;
        connection.handles.insert((id.as_str().to_owned(), version), private.handle);
        versions.insert(version, found);
    }
    Ok(versions)
}

/// The same for who depends on it: before a key counts as damaged, the module reads the token anew. SoftHSM2 may
/// not show a process what another made while it made something itself.
pub(crate) fn look_closely(
    connection: &mut Connection,
    key: &Wanted,
) -> Result<BTreeMap<u32, Found>, BackendError> {
    match look(connection, key) {
        Err(BackendError::Corrupt(_)) if connection.read_anew() => look(connection, key),
        Err(BackendError::Corrupt(failure)) => Err(BackendError::Unavailable(failure)),
        found => found,
    }
}

impl Wanted {
    /// What finds its private keys, besides their class.
    fn search(&self) -> Vec<Attribute> {
        match &self.object {
            Some(object) => object.attributes().collect(),
            None => vec![object::label(&self.id)],
        }
    }

    /// What was found, with versions. One that somebody else brought may have any `CKA_ID`, and is the first.
    fn numbered(&self, found: Vec<Private>) -> impl Iterator<Item = (u32, Private)> {
        let named = self.object.is_some();
        found.into_iter().map(move |private| {
            let version = object::version_of(&private.cka_id).filter(|_| !named);
            (version.unwrap_or(1), private)
        })
    }
}

/// The ids of all keys: those that `named` has, and the labels of all other private keys that are ids.
pub(crate) fn ids(
    connection: &mut Connection,
    named: &BTreeMap<KeyId, KeyObject>,
) -> Result<BTreeSet<KeyId>, BackendError> {
    let found = connection.with("can't list the keys", |session, _| made_keys(session, []))?;
    let is_named = |it: &Private| named.values().any(|object| object.is(&it.label, &it.cka_id));
    let others = found.into_iter().filter(|it| it.key_type.is_some() && !is_named(it));
    let labels = others.filter_map(|private| String::from_utf8(private.label).ok());
    let ids = labels.filter_map(|label| KeyId::new(label).ok());
    Ok(ids.chain(named.keys().cloned()).collect())
}

/// Destroys every version of a key. `seen` tells whether there was any, then or in an earlier try, whose outcome
/// may be unknown: what was seen and is no longer there is destroyed.
pub(crate) fn destroy(
    connection: &mut Connection,
    id: &KeyId,
    seen: &AtomicBool,
) -> Result<(), BackendError> {
    connection.change(&format!("can't destroy key {id}"), |session, handles| {
        handles.retain(|(label, _), _| label != id.as_str());
        let keys = private_keys(session, [object::label(id)])?;
        seen.fetch_or(!keys.is_empty(), Ordering::AcqRel);
        for key in &keys {
            // The private one last: by it the next try finds what is left.
            let so = [object::label(id), Attribute::Id(key.cka_id.clone())];
            for public in session.find_objects(&object::public_keys(so))? {
                session.destroy_object(public)?;
            }
            session.destroy_object(key.handle)?;
        }
        Ok(())
    })
}

/// The private key of this version. None of several that settings name alike.
fn handle(session: &Session, key: &Wanted, version: u32) -> Result<Option<ObjectHandle>, Error> {
    let found = made_keys(session, key.search())?;
    if key.object.is_some() && found.len() > 1 {
        return Ok(None);
    }
    let mut keys = key.numbered(found);
    Ok(keys.find(|(found, _)| *found == version).map(|(_, key)| key.handle))
}

/// The private keys that are so, with those that are still being made.
pub(crate) fn private_keys(
    session: &Session,
    so: impl IntoIterator<Item = Attribute>,
) -> Result<Vec<Private>, Error> {
    object::read_all(session, &object::private_keys(so), |handle| Private::read(session, handle))
}

/// The same without those that are being made.
fn made_keys(
    session: &Session,
    so: impl IntoIterator<Item = Attribute>,
) -> Result<Vec<Private>, Error> {
    let mut found = private_keys(session, so)?;
    found.retain(|private| !private.is_candidate());
    Ok(found)
}

fn read(
    connection: &mut Connection,
    key: &Wanted,
    private: &Private,
) -> Result<Found, BackendError> {
    let (id, guarded) = (&key.id, private.guarded);
    let Some(key_type) = private.key_type else {
        return Err(misconfigured(format!("private key {key} is on no known curve")));
    };
    if !guarded && key.object.is_none() {
        return Err(misconfigured(format!(
            "private key {id} may leave the token: it is not sensitive, or it is extractable"
        )));
    }
    let what = format!("can't read the public key of {id}");
    let found = connection.with(&what, |session, _| match key.object {
        Some(_) => public::of_named(session, private, key_type),
        None => public::of(session, id, private, key_type),
    })?;
    match (found, &key.object) {
        (Some(public_key), _) => Ok(Found { key_type, public_key, guarded }),
        (None, None) => Err(BackendError::Corrupt(Failure::new(format!(
            "private key {id} has no public key object of the same label and `CKA_ID`, or that one is \
             on another curve, or of another key"
        )))),
        (None, Some(_)) => Err(misconfigured(format!(
            "nothing says what the public key of private key {key} is: the token has no public key object \
             of the same `CKA_ID` or label that is an {key_type} key and its own, and the private one has \
             no `CKA_EC_POINT` and no `CKA_PUBLIC_KEY_INFO`"
        ))),
    }
}

fn ambiguous(id: &KeyId, object: &KeyObject, found: &[Private]) -> BackendError {
    let them = found.iter().map(|private| {
        let label = String::from_utf8_lossy(&private.label);
        format!("label {} and CKA_ID {}", label.escape_debug(), in_hex(&private.cka_id))
    });
    let (number, them) = (found.len(), them.collect::<Vec<_>>().join(", "));
    misconfigured(format!("{number} private keys have {object}, which key {id} would be: {them}"))
}

/// Has a key that others made sign something, and looks whether that is its public key's.
pub(crate) fn prove(
    connection: &mut Connection,
    key: &Wanted,
    public_key: &PublicKey,
) -> Result<(), BackendError> {
    let what = format!("can't sign with key {key}");
    let proved = connection.with(&what, |session, _| match handle(session, key, 1)? {
        Some(private) => public::signs(session, private, public_key).map(Some),
        None => Ok(None),
    })?;
    match proved {
        Some(true) => Ok(()),
        Some(false) => Err(BackendError::Corrupt(Failure::new(format!(
            "a test signature by key {key} is not one by public key {public_key}, which the token gives for it"
        )))),
        None => Err(BackendError::NotFound(Failure::new(format!("key {key} has gone meanwhile")))),
    }
}

/// In words, with the object's name if it has one of its own.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Some(object) => write!(f, "{} ({object})", self.id),
            None => self.id.fmt(f),
        }
    }
}

/// Signs with this version of a key: the bytes that the token gives.
pub(crate) fn sign(
    connection: &mut Connection,
    key: &Wanted,
    key_type: KeyType,
    version: u32,
    data: &[u8],
) -> Result<Vec<u8>, BackendError> {
    let what = format!("can't sign with key {key}");
    let mechanism = object::signing(key_type)
        .ok_or_else(|| misconfigured(format!("key {key}: tokens hold no {key_type} keys")))?;
    let name = (key.id.as_str().to_owned(), version);
    let signed = connection.with(&what, |session, handles| {
        let known = handles.get(&name).copied();
        if let Some(handle) = known {
            return session.sign(&mechanism, handle, data).map(Some);
        }
        let Some(handle) = handle(session, key, version)? else { return Ok(None) };
        handles.insert(name.clone(), handle);
        session.sign(&mechanism, handle, data).map(Some)
    })?;
    signed.ok_or_else(|| {
        let what = match key.object {
            Some(_) => format!("key {key} is no longer in the token, or no longer the only one"),
            None => format!("version {version} of key {key} is no longer in the token"),
        };
        BackendError::NotFound(Failure::new(what))
    })
}

pub(crate) fn misconfigured(what: String) -> BackendError {
    BackendError::Misconfigured(Failure::new(what))
}
