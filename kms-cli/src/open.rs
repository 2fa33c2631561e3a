//! Opening the store.

use std::path::{Path, PathBuf};

use clap::Args;
use kms_backend_keystore::{Store, StoreError, UnlockSecret, UnlockSource};
use kms_secrets::{PassphraseSource, prompt};

use crate::confirm::Confirm;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::source;

/// What opens the store: at most one of these.
#[derive(Debug, Args)]
pub(crate) struct UnlockOptions {
    /// A file (0600) with the store's passphrase; unless another option says what opens the store, the
    /// one that the variable KMS_PASSPHRASE_FILE names
    #[arg(long, global = true, value_name = "PATH", help_heading = "Store")]
    passphrase_file: Option<PathBuf>,
    /// An environment variable with the store's passphrase
    #[arg(long, global = true, value_name = "NAME", help_heading = "Store")]
    passphrase_env: Option<String>,
    /// A program that prints the store's passphrase, and its arguments, which white space separates; no
    /// shell is in between, so quotes do nothing
    #[arg(long, global = true, value_name = "PROGRAM ARGS", help_heading = "Store")]
    passphrase_command: Option<String>,
    /// A key file (0600) that opens the store
    #[arg(long, global = true, value_name = "PATH", help_heading = "Store")]
    key_file: Option<PathBuf>,
}

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// The store's file.
    pub(crate) path: PathBuf,
    pub(crate) unlock: UnlockOptions,
    pub(crate) output: Output,
    pub(crate) confirm: Confirm,
}

impl UnlockOptions {
    /// Whether an option says what opens the store.
    pub(crate) fn is_given(&self) -> bool {
        self.given().contains(&true)
    }

    fn given(&self) -> [bool; 4] {
        [
            self.passphrase_file.is_some(),
            self.passphrase_env.is_some(),
            self.passphrase_command.is_some(),
            self.key_file.is_some(),
        ]
    }

    pub(crate) fn env_name(&self) -> Option<&str> {
        self.passphrase_env.as_deref()
    }

    /// The place that is named, if one is. Global options conflict wherever they stand on the command
    /// line, which clap doesn't see.
    pub(crate) fn place(&self) -> Outcome<Option<UnlockSource>> {
        let given = self.given();
        if given.into_iter().filter(|given| *given).count() > 1 {
            return Err(Failure::usage(
                "--passphrase-file, --passphrase-env, --passphrase-command and --key-file exclude \
                 each other",
            ));
        }
        if let Some(path) = &self.key_file {
            source::check_place(path)?;
            return Ok(Some(UnlockSource::KeyFile(path.clone())));
        }
        let by_default = std::env::var_os("KMS_PASSPHRASE_FILE").map(PathBuf::from);
        let by_default =
            by_default.filter(|path| !given.contains(&true) && !path.as_os_str().is_empty());
        let file = self.passphrase_file.as_deref().or(by_default.as_deref());
        let env = self.passphrase_env.as_deref();
        let place = source::place(file, env, self.passphrase_command.as_deref())?;
        Ok(place.map(UnlockSource::Passphrase))
    }
}

impl Context {
    /// The store, to be read; somebody else may have it open. Blocks.
    pub(crate) fn reader(&self) -> Outcome<Store> {
        let secret = self.secret()?;
        Store::open_read_only(&self.path, &secret).map_err(refused)
    }

    /// The store, to be changed, with what opened it. Blocks.
    pub(crate) fn writer(&self) -> Outcome<(Store, UnlockSecret)> {
        let secret = self.secret()?;
        let store = Store::open(&self.path, &secret).map_err(refused)?;
        Ok((store, secret))
    }

    /// A new store. Blocks.
    pub(crate) fn create(&self, secret: &UnlockSecret) -> Outcome<Store> {
        Store::create(&self.path, secret).map_err(refused)
    }

    /// What opens the store that is there.
    pub(crate) fn secret(&self) -> Outcome<UnlockSecret> {
        let place = self.unlock.place()?;
        // Nobody is asked for the passphrase of what isn't there.
        if !self.is_there() {
            return Err(refused(StoreError::Missing { path: self.path.clone() }));
        }
        match place {
            Some(place) => read(&place),
            None => {
                let whose = self.whose();
                let asked = prompt::passphrase(&format!("Passphrase of {whose}: "));
                let asked = asked.map(UnlockSecret::Passphrase);
                asked.map_err(|error| source::unasked(error, &whose, "--passphrase-file"))
            }
        }
    }

    /// What is to open a store that isn't there yet.
    pub(crate) fn new_secret(&self) -> Outcome<UnlockSecret> {
        match self.unlock.place()? {
            Some(place) => read(&place),
            None => {
                let whose = self.whose();
                let asked = prompt::new_passphrase(&format!("New passphrase of {whose}: "));
                let asked = asked.map(UnlockSecret::Passphrase);
                asked.map_err(|error| source::unasked(error, &whose, "--passphrase-file"))
            }
        }
    }

    /// Whether there is anything of the store's name.
    pub(crate) fn is_there(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    fn whose(&self) -> String {
        format!("store {}", self.path.display())
    }
}

/// What a key file holds.
pub(crate) fn key_file(path: &Path) -> Outcome<UnlockSecret> {
    source::check_place(path)?;
    read(&UnlockSource::KeyFile(path.into()))
}

fn read(place: &UnlockSource) -> Outcome<UnlockSecret> {
    match place {
        UnlockSource::Passphrase(place) => passphrase(place),
        UnlockSource::KeyFile(_) => Ok(place.read(Path::new(""))?),
    }
}

fn passphrase(place: &PassphraseSource) -> Outcome<UnlockSecret> {
    Ok(UnlockSecret::Passphrase(place.read()?))
}

/// The store's refusals in the words of this command.
pub(crate) fn refused(error: StoreError) -> Failure {
    match &error {
        StoreError::Missing { path } => Failure::unavailable(format_args!(
            "store {} does not exist; is the right disk mounted? kms init makes a new one",
            path.display()
        )),
        StoreError::InUse { path, holder } => {
            let process = holder.map_or("another process".into(), |pid| format!("process {pid}"));
            Failure::unavailable(format_args!(
                "store {} is in use: a node, or another kms ({process}), has it open: reading works; \
                 changes need it stopped",
                path.display()
            ))
        }
        _ => error.into(),
    }
}
