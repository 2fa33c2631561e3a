//! Making or importing a key, once, whoever else does so at the same time: see [`crate::candidate`].

use std::cell::Cell;
use std::time::{Duration, Instant};

use cryptoki::object::Attribute;
use cryptoki::session::Session;
use kms_backend::{BackendError, Failure};

use crate::attempt::{Attempt, Begun, Made, Outcome, SETTLED};
use crate::candidate::Candidate;
use crate::connection::{Connection, Handles};
use crate::leftovers::{LATEST, WATCHED};

/// How often a key is begun anew when somebody else makes it at the same time.
const TRIES: usize = 4;

/// How often a token may be wrong about what it is to make.
const PASSES: usize = 3;

/// How often the oldest of several candidates looks whether the others have given way.
const LOOKS: usize = 6;

/// What is to be made: one object, and a public one if it is one of a pair.
pub(crate) trait NewKey {
    /// Its `CKA_LABEL`.
    fn label(&self) -> &str;

    /// Its `CKA_ID`, once it is a key.
    fn version(&self) -> u32;

    /// What can't be done, should it fail: `can't generate key …`.
    fn what(&self) -> String;

    /// What finds the objects of this label that are keys, or are to be.
    fn keys(&self) -> Vec<Attribute>;

    /// What finds the public ones.
    fn public_keys(&self) -> Option<Vec<Attribute>>;

    /// Makes the objects with this `CKA_ID` and looks whether they are as they should be. What may pass is an error
    /// of the module, unless this is the `last` try.
    fn create(&self, session: &Session, cka_id: Vec<u8>, last: bool) -> Outcome<()>;
}

/// Makes a key, unless somebody else has made it: [`BackendError::AlreadyExists`]. Nothing stays in the token
/// that isn't as it should be.
///
/// # Errors
/// [`BackendError::Unavailable`] while others make it again and again, or are in the module all the time; what
/// the module says.
pub(crate) fn make(connection: &mut Connection, key: &dyn NewKey) -> Result<(), BackendError> {
    let (label, what) = (key.label(), key.what());
    let leftovers = connection.leftovers();
    // Whether what the module shows is all that is there.
    let mut all = false;
    // Whether the last try came to nothing for that alone.
    let mut busy = false;
    for left in (0..TRIES).rev() {
        let name = Candidate::new(key.version())?;
        let attempt = Attempt {
            key,
            name: &name,
            begun: Instant::now(),
            leftovers: &leftovers,
            last: left == 0,
            named: Cell::new(false),
            what: &what,
        };
        let made = make_once(connection, &attempt, &mut all);
        if !matches!(made, Ok(Made::New))
            && let Err(error) = connection.step(&what, |session, _| attempt.discard(session))
        {
            tracing::warn!(key = label, %error, "what isn't used can't be destroyed yet");
            leftovers.add(name);
        }
        busy = match made? {
            Made::New => return Ok(()),
            Made::BySomebody => {
                let what = format!("key {label} was made by somebody else at the same time");
                return Err(BackendError::AlreadyExists(Failure::new(what)));
            }
            Made::Hidden => {
                all = connection.read_anew();
                !all
            }
            Made::Late => {
                let what = format!("{what}: it took the token longer than {LATEST:?}");
                return Err(BackendError::Unavailable(Failure::new(what)));
            }
            Made::Busy => true,
            Made::NotYet => false,
        };
        let mut random = [0];
        getrandom::fill(&mut random)
            .map_err(|cause| BackendError::Unavailable(Failure::because("no randomness", cause)))?;
        std::thread::sleep(Duration::from_millis(random[0].into()));
    }
    let what = if busy {
        format!("{what}: the module must read the token anew, and others call it without pause")
    } else {
        format!(
            "others are making key {label} at the same time; what one left half-made is out of the way after {WATCHED:?} of \
             trying, or when it is a minute old"
        )
    };
    Err(BackendError::Unavailable(Failure::new(what)))
}

fn make_once(
    connection: &mut Connection,
    attempt: &Attempt<'_>,
    all: &mut bool,
) -> Result<Made, BackendError> {
    let mut passes = 0;
    let slowly = loop {
        let is_last = passes == PASSES;
        let begin = |session: &Session, _: &mut Handles| attempt.begin(session, *all, is_last);
        match connection.step(attempt.what, begin)?? {
            Begun::Ended(made) => return Ok(made),
            Begun::Created { slowly } => break slowly,
            Begun::NotYet => passes += 1,
        }
        std::thread::sleep(SETTLED);
    };
    // Somebody else's whole making may have passed meanwhile.
    if slowly && connection.may_hide()? {
        *all = connection.read_anew();
        if !*all {
            return Ok(Made::Busy);
        }
    }
    for _ in 0..LOOKS {
        std::thread::sleep(SETTLED);
        let finish = |session: &Session, _: &mut Handles| attempt.finish(session, *all);
        if let Some(made) = connection.step(attempt.what, finish)?? {
            return Ok(made);
        }
    }
    Ok(Made::NotYet)
}
