//! One try to make a key: a candidate is made, looked at, and made a key of if nobody else makes one.

use std::cell::Cell;
use std::time::{Duration, Instant};

use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session;
use kms_backend::BackendError;

use crate::candidate::Candidate;
use crate::error::{backend_error, is_session_lost, may_pass};
use crate::leftovers::{LATEST, Leftovers};
use crate::make::NewKey;
use crate::object;
use crate::rivals::{Rivals, clear, named};

/// After how long everybody sees what was made: some tokens show a new object to others a moment late.
pub(crate) const SETTLED: Duration = Duration::from_millis(150);

/// A try.
pub(crate) struct Attempt<'a> {
    pub(crate) key: &'a dyn NewKey,
    /// The candidate's.
    pub(crate) name: &'a Candidate,
    /// When that was made.
    pub(crate) begun: Instant,
    /// Candidates that nobody makes a key of any more.
    pub(crate) leftovers: &'a Leftovers,
    /// Whether there is to be no other try: what goes wrong is not passed over.
    pub(crate) last: bool,
    /// Whether it was to get a key's name.
    pub(crate) named: Cell<bool>,
    /// What can't be done: `can't generate key …`.
    pub(crate) what: &'a str,
}

/// What came of the beginning.
pub(crate) enum Begun {
    /// There is a candidate. A module that caches objects may hide what others made if that took long.
    Created {
        slowly: bool,
    },
    /// The token was wrong about it, which may pass.
    NotYet,
    Ended(Made),
}

/// What came of a try.
pub(crate) enum Made {
    New,
    /// There is such a key, of somebody else's making.
    BySomebody,
    /// There is, and the module doesn't show its private part.
    Hidden,
    /// Somebody else is making it.
    NotYet,
    /// The module may hide what others made, and can't read the token anew: it is being called.
    Busy,
    /// It took so long that others may take it for abandoned.
    Late,
}

/// The objects of a candidate.
#[derive(Clone, Copy)]
struct Objects {
    key: ObjectHandle,
    public: Option<ObjectHandle>,
}

/// What the module says, and what is said of it. After an error of the module, another session may do it.
pub(crate) type Outcome<T> = Result<Result<T, BackendError>, Error>;

impl Attempt<'_> {
    /// Makes a candidate, unless somebody else has, and looks whether it is as it should be. `all` says whether
    /// what the module shows is all that is there, `is_last` whether the token may not be wrong about it once more.
    pub(crate) fn begin(&self, session: &Session, all: bool, is_last: bool) -> Outcome<Begun> {
        let begun = self.try_begin(session, all, is_last);
        self.unless_it_may_pass(begun, Begun::Ended(Made::NotYet))
    }

    /// Makes a key of the candidate, if there are no others. Gives way to a key that was made and to an older
    /// candidate; nothing, if there is a younger one that has not given way yet.
    pub(crate) fn finish(&self, session: &Session, all: bool) -> Outcome<Option<Made>> {
        let finished = self.try_finish(session, all);
        self.unless_it_may_pass(finished, Some(Made::NotYet))
    }

    fn try_begin(&self, session: &Session, all: bool, is_last: bool) -> Outcome<Begun> {
        let begun = Instant::now();
        let rivals = self.rivals(session, all)?;
        // What a session left behind that was lost half-way.
        clear(session, self.key, self.name)?;
        match rivals {
            Rivals::None => {}
            Rivals::Made => return Ok(Ok(Begun::Ended(Made::BySomebody))),
            Rivals::Hidden => return Ok(Ok(Begun::Ended(Made::Hidden))),
            Rivals::Making { .. } => return Ok(Ok(Begun::Ended(Made::NotYet))),
        }
        match self.key.create(session, self.name.cka_id(), is_last) {
            Err(error) if !is_last && may_pass(&error) => {
                clear(session, self.key, self.name)?;
                Ok(Ok(Begun::NotYet))
            }
            created => {
                let slowly = begun.elapsed() >= SETTLED / 2;
                Ok(created?.map(|()| Begun::Created { slowly }))
            }
        }
    }

    fn try_finish(&self, session: &Session, all: bool) -> Outcome<Option<Made>> {
        let found = |objects| session.find_objects(&named(objects, self.name));
        let keys = found(self.key.keys())?;
        let public = self.key.public_keys().map(found).transpose()?;
        let objects = match (&keys[..], public.as_deref()) {
            ([key], None) => Objects { key: *key, public: None },
            ([key], Some([public])) => Objects { key: *key, public: Some(*public) },
            // Somebody took it for abandoned. Or a session that was lost has made a key of it, and the public
            // part has still this name.
            _ => return Ok(Ok(Some(Made::NotYet))),
        };
        let made = match self.rivals(session, all)? {
            Rivals::None => return Ok(self.publish(session, objects)?.map(Some)),
            Rivals::Made => Made::BySomebody,
            Rivals::Hidden => Made::Hidden,
            // The oldest stays.
            Rivals::Making { oldest } if oldest < *self.name => Made::NotYet,
            Rivals::Making { .. } => return Ok(Ok(None)),
        };
        Ok(Ok(Some(made)))
    }

    /// `not_yet` for an error that may pass, but on the last try.
    fn unless_it_may_pass<T>(&self, outcome: Outcome<T>, not_yet: T) -> Outcome<T> {
        match outcome {
            Err(error) if !self.last && may_pass(&error) => Ok(Ok(not_yet)),
            outcome => outcome,
        }
    }

    /// Destroys the candidate, unless it has become a key in a session that was lost: its public part may still
    /// have this name.
    pub(crate) fn discard(&self, session: &Session) -> Result<(), Error> {
        let key = named(self.key.keys(), self.name);
        if self.named.get() && session.find_objects(&key)?.is_empty() {
            return Ok(());
        }
        clear(session, self.key, self.name)
    }

    fn rivals(&self, session: &Session, all: bool) -> Result<Rivals, Error> {
        Rivals::of(self.name, session, self.key, self.leftovers, all)
    }

    /// Gives the objects their real name. With that of the key itself, which changes at once, it is one.
    fn publish(&self, session: &Session, objects: Objects) -> Outcome<Made> {
        let Self { key, what, .. } = self;
        let named = [Attribute::Id(object::version_id(key.version()))];
        if self.begun.elapsed() > LATEST {
            return Ok(Ok(Made::Late));
        }
        self.named.set(true);
        match session.update_attributes(objects.key, &named) {
            Ok(()) => {}
            // Somebody took it for abandoned.
            Err(Error::Pkcs11(RvError::ObjectHandleInvalid, _)) => return Ok(Ok(Made::NotYet)),
            Err(error) if is_session_lost(&error) => return Err(error),
            Err(error) => {
                let what =
                    format!("{what}: its `CKA_ID` can't be changed, which would make it usable");
                return Ok(Err(backend_error(&what, error)));
            }
        }
        if let Some(public) = objects.public
            && let Err(error) = session.update_attributes(public, &named)
        {
            // It is found all the same.
            tracing::warn!(key = key.label(), %error, "the public key keeps a name of no meaning");
        }
        Ok(Ok(Made::New))
    }
}
