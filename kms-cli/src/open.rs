//! Opening the store.

use std::path::{Path, PathBuf};

use clap::Args;
use kms_backend_keystore::{Store, StoreError, UnlockSecret, UnlockSource};
use kms_secrets::prompt;

use crate::confirm::Confirm;
use crate::failure::{Failure, Outcome};
use crate::opener::{self, Opener};
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
    /// A YAML file with what opens the store, written as the `unlock` section of a node's settings: for
    /// stores that somebody else opens
    #[arg(long, global = true, value_name = "FILE", help_heading = "Store")]
    unlock_settings: Option<PathBuf>,
}

/// Where what opens the store is.
#[derive(Debug)]
pub(crate) enum Place {
    Here(UnlockSource),
    /// The settings in this file say it.
    Settings(PathBuf),
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

    fn given(&self) -> [bool; 5] {
        [
            self.passphrase_file.is_some(),
            self.passphrase_env.is_some(),
            self.passphrase_command.is_some(),
            self.key_file.is_some(),
            self.unlock_settings.is_some(),
        ]
    }

    pub(crate) fn env_names(&self) -> Vec<String> {
        let named = opener::env_names(self.unlock_settings.as_deref());
        named.into_iter().chain(self.passphrase_env.clone()).collect()
    }

    /// The place that is named, if one is. Global options conflict wherever they stand on the command
    /// line, which clap doesn't see.
    pub(crate) fn place(&self) -> Outcome<Option<Place>> {
        let given = self.given();
        if given.into_iter().filter(|given| *given).count() > 1 {
            return Err(Failure::usage(
                "--passphrase-file, --passphrase-env, --passphrase-command, --key-file and \
                 --unlock-settings exclude each other",
            ));
        }
        if let Some(file) = &self.unlock_settings {
            source::check_place(file)?;
            return Ok(Some(Place::Settings(file.clone())));
        }
        if let Some(path) = &self.key_file {
            source::check_place(path)?;
            return Ok(Some(Place::Here(UnlockSource::KeyFile(path.clone()))));
        }
        let by_default = std::env::var_os("KMS_PASSPHRASE_FILE").map(PathBuf::from);
        let by_default =
            by_default.filter(|path| !given.contains(&true) && !path.as_os_str().is_empty());
        let file = self.passphrase_file.as_deref().or(by_default.as_deref());
        let env = self.passphrase_env.as_deref();
        let place = source::place(file, env, self.passphrase_command.as_deref())?;
        Ok(place.map(|place| Place::Here(UnlockSource::Passphrase(place))))
    }
}

impl Context {
    /// The store, to be read; somebody else may have it open. Blocks.
    pub(crate) fn reader(&self) -> Outcome<Store> {
        let opener = self.opener()?;
        Store::open_read_only(&self.path, &opener).map_err(refused)
    }

    /// The store, to be changed, with what opened it. Blocks.
    pub(crate) fn writer(&self) -> Outcome<(Store, Opener)> {
        let opener = self.opener()?;
        let store = Store::open(&self.path, &opener).map_err(refused)?;
        Ok((store, opener))
    }

    /// A new store. Blocks.
    pub(crate) fn create(&self, secret: &UnlockSecret) -> Outcome<Store> {
        Store::create(&self.path, secret).map_err(refused)
    }

    /// What opens the store that is there.
    fn opener(&self) -> Outcome<Opener> {
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
                let asked = asked.map(|asked| UnlockSecret::Passphrase(asked).into());
                asked.map_err(|error| source::unasked(error, &whose, "--passphrase-file"))
            }
        }
    }

    /// What is to open a store that isn't there yet.
    pub(crate) fn new_opener(&self) -> Outcome<Opener> {
        match self.unlock.place()? {
            Some(place) => read(&place),
            None => {
                let whose = self.whose();
                let asked = prompt::new_passphrase(&format!("New passphrase of {whose}: "));
                let asked = asked.map(|asked| UnlockSecret::Passphrase(asked).into());
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
pub(crate) fn key_file(path: &Path) -> Outcome<Opener> {
    source::check_place(path)?;
    Opener::here(&UnlockSource::KeyFile(path.into()), Path::new(""))
}

fn read(place: &Place) -> Outcome<Opener> {
    match place {
        Place::Here(place) => Opener::here(place, Path::new("")),
        Place::Settings(file) => Opener::of_settings(file),
    }
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
        StoreError::LastLocalUnlocker(_) => Failure::unavailable(format_args!(
            "{error}: add another one first, or say that what others open suffices: \
             --external-suffices"
        )),
        _ => error.into(),
    }
}
