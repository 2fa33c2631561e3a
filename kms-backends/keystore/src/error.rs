//! What can go wrong with a store.

use std::io;
use std::path::PathBuf;

use kms_backend::{BackendError, Derivation, Failure};
use kms_keys::{DerivationError, KeyError, KeyId, MnemonicError};
use kms_secrets::ShieldError;
use thiserror::Error;

use crate::format;

/// Why a store can't be opened, read or changed. No variant holds any part of a secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such file, and it is not to be made.
    #[error(
        "store {} does not exist; is the right disk mounted? `create: true` makes a new one",
        path.display()
    )]
    Missing {
        /// The store's path.
        path: PathBuf,
    },
    /// There is such a file already.
    #[error("store {} exists already", path.display())]
    Exists {
        /// The store's path.
        path: PathBuf,
    },
    /// Another process has the store open.
    #[error(
        "store {} is in use by {}",
        path.display(),
        holder.map_or("another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The store's path.
        path: PathBuf,
        /// The other process, if it is known.
        holder: Option<u32>,
    },
    /// The file's owner or mode is not what a store's must be.
    #[error("store {} is open to others (mode {mode:04o}), expected 0600 or stricter", path.display())]
    OpenToOthers {
        /// The store's path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The path leads to no regular file.
    #[error("{} is no store: it is no regular file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// The file is larger than any that is read into memory.
    #[error("store {} is larger than 4 GiB", path.display())]
    TooLarge {
        /// The store's path.
        path: PathBuf,
    },
    /// A passphrase of no bytes.
    #[error("an empty passphrase protects nothing")]
    EmptyPassphrase,
    /// An unlocker's name that can't be shown.
    #[error("an unlocker's name has 1 to 64 characters, none of them a control character")]
    UnlockerName,
    /// The file can't be read or written.
    #[error("store {} can't be {doing}", path.display())]
    Io {
        /// The store's path.
        path: PathBuf,
        /// What was being done: `read`, `written`, …
        doing: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The database file is damaged, or none.
    #[error("the store's file is damaged, or no store")]
    Damaged(#[source] Box<redb::Error>),
    /// The store is of another version of the format.
    #[error("the store's format is version {found}, expected {}", format::VERSION)]
    Version {
        /// The store's version.
        found: u32,
    },
    /// The header can't be read.
    #[error("the store's header is damaged: {0}")]
    Header(&'static str),
    /// A record can't be read, or was changed.
    #[error("the record of key {id} version {version} is damaged")]
    Record {
        /// The key's id, as far as it can be read.
        id: String,
        /// The version.
        version: u32,
    },
    /// A master can't be read, or was changed.
    #[error("the record of master {id} is damaged")]
    Master {
        /// The master's name, as far as it can be read.
        id: String,
    },
    /// Every record is whole, but one was taken out, or put back as it was before.
    #[error("records were removed, added or replaced behind the store's back")]
    Records,
    /// No unlocker of the store takes the passphrase or key.
    #[error("{}", wrong_key(*unlockers))]
    WrongKey {
        /// How many unlockers of that kind there are.
        unlockers: usize,
    },
    /// Somebody else who was to seal or open the store's key did not.
    #[error("unlocker {unlocker:?}: the store's key can't be {doing} by {provider}")]
    External {
        /// The unlocker's name.
        unlocker: String,
        /// Who was asked.
        provider: &'static str,
        /// What was asked: `sealed` or `opened`.
        doing: &'static str,
        /// What was answered.
        #[source]
        cause: Box<BackendError>,
    },
    /// A key file that is too short to be a key.
    #[error("a key file has {found} bytes, expected at least 32")]
    ShortKeyFile {
        /// How many bytes it has.
        found: usize,
    },
    /// Trying passphrases on this store would be too cheap.
    #[error(
        "the store's key derivation is too weak ({memory_kib} KiB, {passes} passes), expected at \
         least 65536 KiB and 3"
    )]
    WeakKdf {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over it.
        passes: u32,
    },
    /// The header asks for more than any machine should give.
    #[error(
        "the store's key derivation asks for {memory_kib} KiB, {passes} passes and {lanes} lanes"
    )]
    CostlyKdf {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over it.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// The key derivation failed, for want of memory as a rule.
    #[error("the passphrase's key can't be derived")]
    Kdf(#[source] argon2::Error),
    /// No such key in the store.
    #[error("there is no key {0} in the store")]
    NotFound(KeyId),
    /// There is such a key already.
    #[error("key {0} is in the store already")]
    AlreadyExists(KeyId),
    /// The key's state doesn't permit it.
    #[error("key {id} is {state}: {advice}")]
    State {
        /// The key's id.
        id: KeyId,
        /// Its state, in words.
        state: &'static str,
        /// What can be done instead.
        advice: &'static str,
    },
    /// No such version of a key.
    #[error("key {id} has no version {version}")]
    NoVersion {
        /// The key's id.
        id: KeyId,
        /// The version that was asked for.
        version: u32,
    },
    /// The key's secret is gone for good.
    #[error("key {0} was destroyed; its id can't be used again")]
    Destroyed(KeyId),
    /// The key's deletion is scheduled for later.
    #[error("key {id} may be destroyed in {seconds} s, not before")]
    Waiting {
        /// The key's id.
        id: KeyId,
        /// How long it still is, in seconds.
        seconds: u64,
    },
    /// The secret was not made exportable.
    #[error("{0} was not made exportable, and can't be exported")]
    NotExportable(KeyId),
    /// No such master in the store.
    #[error("there is no master {0} in the store")]
    MasterNotFound(KeyId),
    /// There is such a master already.
    #[error("master {0} is in the store already")]
    MasterExists(KeyId),
    /// A key can't be derived as asked.
    #[error("key {id} can't be derived")]
    Derivation {
        /// The key's id.
        id: KeyId,
        /// Why not.
        #[source]
        cause: DerivationError,
    },
    /// A mnemonic's passphrase is no text.
    #[error("master {id} gives no seed")]
    Mnemonic {
        /// The master's name.
        id: KeyId,
        /// Why not.
        #[source]
        cause: MnemonicError,
    },
    /// A stored key was not derived as its settings say.
    #[error("key {id} is in the store {}, expected one derived by {expected}", derived(found.as_ref()))]
    OtherDerivation {
        /// The key's id.
        id: KeyId,
        /// How it was to be derived.
        expected: Derivation,
        /// How it was derived, if it was.
        found: Option<Derivation>,
    },
    /// There is such an unlocker already.
    #[error("there is an unlocker called {0:?} already")]
    UnlockerExists(String),
    /// No such unlocker.
    #[error("there is no unlocker called {0:?}")]
    NoUnlocker(String),
    /// The only way to open the store can't be taken away.
    #[error("unlocker {0:?} is the last that opens the store: add another one first")]
    LastUnlocker(String),
    /// Nobody but others could open the store, without whom it would be lost.
    #[error("without unlocker {0:?}, no passphrase or key file opens the store")]
    LastLocalUnlocker(String),
    /// The header has no place for another unlocker.
    #[error("the store has {most} unlockers, which is the most there can be")]
    TooManyUnlockers {
        /// The most there can be.
        most: usize,
    },
    /// The store that is read here was sealed under other keys meanwhile.
    #[error("store {} was sealed anew while it was read: try again", path.display())]
    SealedAnew {
        /// The store's path.
        path: PathBuf,
    },
    /// The store was opened for reading alone.
    #[error("store {} is open for reading alone", path.display())]
    ReadOnly {
        /// The store's path.
        path: PathBuf,
    },
    /// A backup has other keys under ids that the store has too.
    #[error("the backup has other keys than the store under {}", ids(.0))]
    Conflict(Vec<String>),
    /// A backup has something in it that can't be proved.
    #[error("the backup is not whole: {problems} of its secrets can't be proved")]
    BackupDamaged {
        /// How many.
        problems: usize,
        /// What is wrong with the first.
        #[source]
        first: Box<StoreError>,
    },
    /// A stored key is of another type than asked for.
    #[error("key {id} is in the store as {found}, expected {expected}")]
    TypeMismatch {
        /// The key's id.
        id: KeyId,
        /// The type that was asked for.
        expected: kms_keys::KeyType,
        /// The type of the stored key.
        found: kms_keys::KeyType,
    },
    /// A sealed secret is no key, or not the one of its public key.
    #[error("the secret of key {id} is damaged")]
    Secret {
        /// The key's id.
        id: KeyId,
        /// What is wrong with it.
        #[source]
        cause: KeyError,
    },
    /// A key can't be generated.
    #[error("no key can be generated")]
    Generate(#[source] KeyError),
    /// The system gave no randomness.
    #[error("the system's randomness is unavailable")]
    Randomness(#[source] getrandom::Error),
    /// The store's keys can't be shielded in memory, or not be opened again.
    #[error("the store's keys can't be kept in memory")]
    Shield(#[source] ShieldError),
    /// Something that can't be. Please report it.
    #[error("a bug: {0} – and here it is not so")]
    Bug(&'static str),
}

fn wrong_key(unlockers: usize) -> String {
    match unlockers {
        0 => "the store has no unlocker of this kind: passphrase, key file or external key?".into(),
        1 => "wrong passphrase or key: it doesn't open the store".into(),
        more => format!("wrong passphrase or key: it opens none of the store's {more} unlockers"),
    }
}

fn derived(found: Option<&Derivation>) -> String {
    found.map_or("without a derivation".into(), |found| format!("as derived by {found}"))
}

fn ids(ids: &[String]) -> String {
    ids.join(", ")
}

impl From<StoreError> for BackendError {
    fn from(error: StoreError) -> Self {
        let class = match &error {
            StoreError::Missing { .. }
            | StoreError::NotFound(_)
            | StoreError::NoVersion { .. }
            | StoreError::MasterNotFound(_)
            | StoreError::NoUnlocker(_) => Self::NotFound,
            StoreError::Exists { .. }
            | StoreError::AlreadyExists(_)
            | StoreError::TypeMismatch { .. }
            | StoreError::OtherDerivation { .. }
            | StoreError::MasterExists(_)
            | StoreError::UnlockerExists(_)
            | StoreError::Conflict(_) => Self::AlreadyExists,
            StoreError::WrongKey { .. } => Self::WrongSecret,
            StoreError::External { cause, .. } => match &**cause {
                Self::NotFound(_) => Self::NotFound,
                Self::Denied(_) => Self::Denied,
                Self::WrongSecret(_) => Self::WrongSecret,
                Self::Corrupt(_) => Self::Corrupt,
                cause if cause.is_retryable() => Self::Unavailable,
                _ => Self::Misconfigured,
            },
            StoreError::InUse { .. }
            | StoreError::SealedAnew { .. }
            | StoreError::Randomness(_)
            | StoreError::Generate(_) => Self::Unavailable,
            StoreError::Shield(ShieldError::Damaged) => Self::Corrupt,
            StoreError::Shield(_) => Self::Unavailable,
            StoreError::Io { cause, .. } => match cause.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied,
                _ => Self::Unavailable,
            },
            StoreError::State { .. }
            | StoreError::Destroyed(_)
            | StoreError::Waiting { .. }
            | StoreError::NotExportable(_)
            | StoreError::LastUnlocker(_)
            | StoreError::LastLocalUnlocker(_)
            | StoreError::TooManyUnlockers { .. }
            | StoreError::ReadOnly { .. } => Self::Denied,
            StoreError::OpenToOthers { .. }
            | StoreError::NotRegular { .. }
            | StoreError::TooLarge { .. }
            | StoreError::EmptyPassphrase
            | StoreError::UnlockerName
            | StoreError::Derivation { .. }
            | StoreError::Mnemonic { .. }
            | StoreError::ShortKeyFile { .. }
            | StoreError::Kdf(_)
            | StoreError::Bug(_) => Self::Misconfigured,
            StoreError::Damaged(_)
            | StoreError::Version { .. }
            | StoreError::Header(_)
            | StoreError::Record { .. }
            | StoreError::Master { .. }
            | StoreError::Records
            | StoreError::BackupDamaged { .. }
            | StoreError::WeakKdf { .. }
            | StoreError::CostlyKdf { .. }
            | StoreError::Secret { .. } => Self::Corrupt,
        };
        class(Failure::because("the keystore", error))
    }
}
