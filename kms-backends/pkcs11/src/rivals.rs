//! Who else makes a key at the same time.

use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;

use crate::candidate::Candidate;
use crate::keys::Private;
use crate::leftovers::Leftovers;
use crate::make::NewKey;
use crate::object;

/// Who else has made this version of the key, or is making it.
pub(crate) enum Rivals {
    None,
    Made,
    /// There is a public key. SoftHSM2 may not show a process what another made while it made something itself.
    Hidden,
    Making {
        oldest: Candidate,
    },
}

impl Rivals {
    /// Those of `own`. Destroys candidates that are `leftovers`. The
    /// public keys count, too: a token may take its time between making the two.
    pub(crate) fn of(
        own: &Candidate,
        session: &Session,
        key: &dyn NewKey,
        leftovers: &Leftovers,
        all: bool,
    ) -> Result<Self, Error> {
        let mut cka_ids = Vec::new();
        for made in object::read_all(session, &key.keys(), |it| Private::read(session, it))? {
            // One without a version is a key that somebody else brought.
            let version = object::version_of(&made.cka_id).unwrap_or(1);
            if !made.is_candidate() && version == key.version() {
                return Ok(Self::Made);
            }
            cka_ids.push(made.cka_id);
        }
        if let Some(public) = key.public_keys() {
            let public = all_cka_ids(session, &public)?;
            if !all && public.contains(&object::version_id(key.version())) {
                return Ok(Self::Hidden);
            }
            cka_ids.extend(public);
        }
        let mut rivals = Self::None;
        for candidate in cka_ids.iter().filter_map(|cka_id| Candidate::read(cka_id)) {
            if candidate == *own || candidate.version() != key.version() {
                continue;
            }
            if leftovers.has(&candidate) {
                tracing::warn!(key = key.label(), "destroys what was begun to be made and left");
                clear(session, key, &candidate)?;
                continue;
            }
            rivals = match rivals {
                Self::Making { oldest } if oldest < candidate => Self::Making { oldest },
                _ => Self::Making { oldest: candidate },
            };
        }
        Ok(rivals)
    }
}

/// Destroys a candidate.
pub(crate) fn clear(session: &Session, key: &dyn NewKey, name: &Candidate) -> Result<(), Error> {
    for objects in [Some(key.keys()), key.public_keys()].into_iter().flatten() {
        for object in session.find_objects(&named(objects, name))? {
            destroy(session, object)?;
        }
    }
    Ok(())
}

/// What finds those of the `objects` that are the candidate's.
pub(crate) fn named(mut objects: Vec<Attribute>, name: &Candidate) -> Vec<Attribute> {
    objects.push(Attribute::Id(name.cka_id()));
    objects
}

/// The `CKA_ID`s of the objects that are so.
fn all_cka_ids(session: &Session, so: &[Attribute]) -> Result<Vec<Vec<u8>>, Error> {
    let found = object::read_all(session, so, |object| {
        session.get_attributes(object, &[AttributeType::Id])
    })?;
    let cka_ids = found.into_iter().flatten().filter_map(|attribute| match attribute {
        Attribute::Id(cka_id) => Some(cka_id),
        _ => None,
    });
    Ok(cka_ids.collect())
}

fn destroy(session: &Session, object: ObjectHandle) -> Result<(), Error> {
    match session.destroy_object(object) {
        // By somebody else.
        Err(Error::Pkcs11(RvError::ObjectHandleInvalid, _)) => Ok(()),
        done => done,
    }
}
