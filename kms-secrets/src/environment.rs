//! Secrets out of the process environment, into memory where they are shielded.
//!
//! The environment is readable by whoever may read `/proc/<pid>/environ`, is handed on to child
//! processes and is never wiped. So `main` calls [`take`] with every variable that the settings
//! name, before it starts any thread; sources read from what was taken.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use zeroize::Zeroize;

use crate::source::{MAX_SOURCE_BYTES, SourceError, refuse_empty};
use crate::{SecretBytes, ShieldError, Shielded};

/// What was taken, kept as long as the process lives: a service that is started again reads its
/// secrets again.
static TAKEN: Mutex<BTreeMap<String, Shielded>> = Mutex::new(BTreeMap::new());

/// Why the environment could not be emptied of secrets.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// Changing the environment is sound only while no other thread can read it.
    #[error(
        "{threads} threads are running, expected the main thread alone: take secrets out of the \
         environment before anything starts a thread"
    )]
    Threads {
        /// How many threads the process has.
        threads: usize,
    },
    /// The number of threads can't be read (`/proc` is not mounted, or this is not Linux).
    #[error("can't tell how many threads are running: /proc/self/task can't be read")]
    NoProc(#[source] std::io::Error),
    /// What would be taken can't be kept.
    #[error("what is taken from the environment can't be shielded")]
    Shield(#[source] ShieldError),
}

/// Takes the variables called `names` out of the process environment and keeps them shielded;
/// overwrites their old place and removes them. What is not set is skipped: reading it later says
/// so. A variable over [`MAX_SOURCE_BYTES`] is removed all the same, and reading it says that it
/// is too large.
///
/// # Errors
/// [`EnvironmentError`] if other threads are running already, if that can't be told, or if nothing can
/// be shielded; nothing has been changed then.
pub fn take(names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), EnvironmentError> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(EnvironmentError::NoProc)?.count();
    if threads != 1 {
        return Err(EnvironmentError::Threads { threads });
    }
    // The shielding key is made before anything is changed. From then on shielding doesn't fail.
    crate::protection().map_err(EnvironmentError::Shield)?;
    for name in names {
        let name = name.as_ref();
        if let Ok(c_name) = CString::new(name)
            && !name.is_empty()
            && !name.contains('=')
            && let Some(secret) = take_one(&c_name)
        {
            let shielded = Shielded::seal(secret.expose()).map_err(EnvironmentError::Shield)?;
            taken().insert(name.to_owned(), shielded);
        }
    }
    Ok(())
}

/// A copy of the variable `name` as it was taken.
pub(crate) fn read(name: &str) -> Result<SecretBytes, SourceError> {
    let place = || format!("environment variable {name}");
    match taken().get(name) {
        Some(shielded) => {
            let secret = shielded.open(SecretBytes::from_slice);
            let secret = secret.map_err(|cause| SourceError::Shield { place: place(), cause })?;
            if secret.len() > MAX_SOURCE_BYTES {
                return Err(SourceError::TooLarge { place: place() });
            }
            refuse_empty(secret, place)
        }
        None if std::env::var_os(name).is_some() => {
            Err(SourceError::NotTaken { name: name.into() })
        }
        None => Err(SourceError::Unset { name: name.into() }),
    }
}

fn taken() -> MutexGuard<'static, BTreeMap<String, Shielded>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// Wipes and removes every entry for `name` (a process can be started with several) and gives the
/// first one's value, which is the one that `getenv` would have found.
fn take_one(name: &CStr) -> Option<SecretBytes> {
    let mut secret = None;
    // SAFETY: `take` has made sure that this is the only thread of the process, so nobody reads or
    // changes the environment meanwhile. `environ` is null or points to an array of pointers to
    // NUL-terminated strings that ends with a null pointer; `entry` walks it no further than that
    // null. The strings lie in writable memory of this process (the initial stack, or what setenv
    // allocated), and only bytes between the `=` and the terminating NUL are overwritten.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            if let Some(value) = value_of(*entry, name) {
                let len = CStr::from_ptr(value).count_bytes();
                let bytes = std::slice::from_raw_parts_mut(value.cast::<u8>(), len);
                secret.get_or_insert_with(|| SecretBytes::from_slice(bytes));
                bytes.zeroize();
            }
            entry = entry.add(1);
        }
        libc::unsetenv(name.as_ptr());
    }
    secret
}

/// The start of the value, if `entry` is of the form `name=value`.
///
/// # Safety
/// `entry` points to a NUL-terminated string.
unsafe fn value_of(entry: *mut c_char, name: &CStr) -> Option<*mut c_char> {
    // SAFETY: the caller says that `entry` is NUL-terminated; the offset lies within it, since the
    // string begins with the name and a `=`.
    unsafe {
        let rest = CStr::from_ptr(entry).to_bytes().strip_prefix(name.to_bytes())?;
        rest.starts_with(b"=").then(|| entry.add(name.count_bytes() + 1))
    }
}
