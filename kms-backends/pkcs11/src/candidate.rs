//! Key pairs that nobody may use yet: their `CKA_ID` says that they are being made.
//!
//! Tokens let two objects have one name, so two nodes that make a key at once both can. Each makes its pair as a
//! candidate, looks for others only after that, and makes a key of it when there are none. Of two the later one
//! sees the earlier, so that never both do. Whoever went away half-way leaves a candidate, which others destroy
//! after a while ([`crate::leftovers`]); if its maker was only slow, it has nothing left to make a key of.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kms_backend::{BackendError, Failure};

/// What these `CKA_ID`s begin with.
const MARK: [u8; 4] = *b"kms~";

/// From which age on it isn't even waited for whether a candidate's maker goes on. If the clocks of two nodes differ
/// by more, a key is not made while both try.
const PATIENCE: Duration = Duration::from_secs(60);

/// A candidate's `CKA_ID`: [`MARK`], the second it was begun in, 8 random bytes and the key's version. They are
/// in the order of their age.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate([u8; 20]);

impl Candidate {
    /// A name that nobody else has.
    pub(crate) fn new(version: u32) -> Result<Self, BackendError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|cause| BackendError::Unavailable(Failure::because("no randomness", cause)))?;
        Ok(Self::begun(now(), random, version))
    }

    /// The candidate that a `CKA_ID` names, if it is one.
    pub(crate) fn read(cka_id: &[u8]) -> Option<Self> {
        cka_id.try_into().ok().filter(|bytes: &[u8; 20]| bytes.starts_with(&MARK)).map(Self)
    }

    pub(crate) fn version(&self) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Whether its maker must have gone away, by the clock.
    pub(crate) fn is_old(&self) -> bool {
        let [_, _, _, _, a, b, c, d, ..] = self.0;
        let age = now().abs_diff(u32::from_be_bytes([a, b, c, d]));
        u64::from(age) > PATIENCE.as_secs()
    }

    pub(crate) fn cka_id(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    fn begun(second: u32, random: [u8; 8], version: u32) -> Self {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&MARK);
        bytes[4..8].copy_from_slice(&second.to_be_bytes());
        bytes[8..16].copy_from_slice(&random);
        bytes[16..].copy_from_slice(&version.to_be_bytes());
        Self(bytes)
    }
}

/// Seconds, of which those that 4 bytes hold are enough to tell an age.
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{version_id, version_of};

    #[test]
    fn a_name_is_read_back_and_is_no_version() {
        let name = Candidate::new(7).unwrap();
        assert_eq!(Candidate::read(&name.cka_id()), Some(name.clone()));
        assert_eq!((name.version(), version_of(&name.cka_id())), (7, None));
        assert_ne!(Candidate::new(7).unwrap(), name);
        for other in [&version_id(7), &name.cka_id()[..19], &[0; 20], &[]] {
            assert_eq!(Candidate::read(other), None);
        }
    }

    #[test]
    fn the_older_comes_first_and_is_old_after_a_minute() {
        let at = |second| Candidate::begun(second, [0xff; 8], 1);
        assert!(at(now() - 1) < Candidate::begun(now(), [0; 8], 1));
        for (age, old) in [(0, false), (55, false), (65, true), (100_000, true)] {
            assert_eq!(at(now() - age).is_old(), old, "{age}");
            assert_eq!(at(now() + age).is_old(), old, "{age} too early");
        }
    }
}
