//! The commands, a file for each or for a few that belong together.

mod backup;
mod completions;
mod doctor;
mod export;
mod generate;
mod import;
mod init;
mod lifecycle;
mod mnemonic;
mod restore;
mod show;
mod unlocker;
mod verify;

use clap::Subcommand;

use crate::failure::Outcome;
use crate::open::Context;

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new, empty store
    Init(init::Init),
    /// Generate keys
    Generate(generate::Generate),
    /// Take in keys, mnemonics and seeds that were made elsewhere
    Import(import::Import),
    /// List keys or masters
    List(show::List),
    /// Show all that may be known of a key
    Show(show::Show),
    /// Print a key's public key, in hex
    PublicKey(show::PublicKey),
    /// Prove that every secret is there and is the one of its public key
    Verify(verify::Verify),
    /// Make a new version of a key the current one
    Rotate(generate::Rotate),
    /// Stop a key from signing, or retire an older version of it
    Disable(lifecycle::Disable),
    /// Let a key, or an older version of it, sign again
    Enable(lifecycle::Enable),
    /// Protect a key from deletion
    Protect(lifecycle::Protect),
    /// Take the protection from deletion off a key
    Unprotect(lifecycle::Unprotect),
    /// Schedule a key's deletion
    Delete(lifecycle::Delete),
    /// Take a scheduled deletion back
    CancelDelete(lifecycle::CancelDelete),
    /// Destroy the secrets of a key whose waiting time is over
    Destroy(lifecycle::Destroy),
    /// Export a key or master that was made exportable
    Export(export::Export),
    /// Write everything in the store to a backup with a passphrase of its own
    Backup(backup::Backup),
    /// Take in what is in a backup and not in the store
    Restore(restore::Restore),
    /// Change the store's passphrase
    #[command(subcommand)]
    Passphrase(unlocker::PassphraseCommand),
    /// Add, remove and list the ways to open the store
    #[command(subcommand)]
    Unlocker(unlocker::UnlockerCommand),
    /// Seal everything anew under a new store key, which revokes all other unlockers
    Rekey(unlocker::Rekey),
    /// Make mnemonics that keys are derived from
    #[command(subcommand)]
    Mnemonic(mnemonic::MnemonicCommand),
    /// Derive a key from a master of the store
    Derive(generate::Derive),
    /// Check the store and what is around it
    Doctor(doctor::Doctor),
    /// Print a script that completes this command in a shell
    Completions(completions::Completions),
}

impl Command {
    /// The environment variables that the command's own options name.
    pub(crate) fn env_names(&self) -> Vec<String> {
        let names: Vec<&str> = match self {
            Self::Doctor(doctor) => return doctor.env_names(),
            Self::Import(import) => import.env_names(),
            Self::Export(export) => export.new.env_name().into_iter().collect(),
            Self::Backup(backup) => backup.new.env_name().into_iter().collect(),
            Self::Restore(restore) => restore.from.env_name().into_iter().collect(),
            Self::Passphrase(command) => command.env_name().into_iter().collect(),
            Self::Unlocker(command) => return command.env_names(),
            _ => Vec::new(),
        };
        names.into_iter().map(str::to_owned).collect()
    }

    /// Does it.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Init(command) => command.run(context),
            Self::Generate(command) => command.run(context),
            Self::Import(command) => command.run(context),
            Self::List(command) => command.run(context),
            Self::Show(command) => command.run(context),
            Self::PublicKey(command) => command.run(context),
            Self::Verify(command) => command.run(context),
            Self::Rotate(command) => command.run(context),
            Self::Disable(command) => command.run(context),
            Self::Enable(command) => command.run(context),
            Self::Protect(command) => command.run(context),
            Self::Unprotect(command) => command.run(context),
            Self::Delete(command) => command.run(context),
            Self::CancelDelete(command) => command.run(context),
            Self::Destroy(command) => command.run(context),
            Self::Export(command) => command.run(context),
            Self::Backup(command) => command.run(context),
            Self::Restore(command) => command.run(context),
            Self::Passphrase(command) => command.run(context),
            Self::Unlocker(command) => command.run(context),
            Self::Rekey(command) => command.run(context),
            Self::Mnemonic(command) => command.run(context),
            Self::Derive(command) => command.run(context),
            Self::Doctor(command) => command.run(context),
            Self::Completions(command) => command.run(context),
        }
    }
}
