//! The ways to open the store: `kms passphrase`, `kms unlocker` and `kms rekey`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kms_backend_keystore::{UnlockSecret, Unlocker, UnlockerKind};
use kms_keys::KeyId;
use serde_json::{Value, json};

use crate::commands::init::generate_key_file;
use crate::failure::{Failure, Outcome};
use crate::open::{Context, key_file};
use crate::source::NewPassphrase;
use crate::view;

/// What can be done with the store's passphrase.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  kms passphrase change")]
pub(crate) enum PassphraseCommand {
    /// Replace the passphrase that the store is opened with
    Change(Change),
}

/// What can be done with unlockers.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  kms unlocker list
  kms unlocker add escrow
  kms unlocker remove escrow")]
pub(crate) enum UnlockerCommand {
    /// Add a passphrase or key file that opens the store
    Add(Add),
    /// Remove a way to open the store
    Remove(Remove),
    /// List the ways to open the store
    List(List),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The other unlockers stay. Copies of the store that were made before still open with the old
passphrase; kms rekey makes them useless for what comes into the store later.

Examples:
  kms passphrase change
  kms --passphrase-file old.pass passphrase change --new-passphrase-file new.pass")]
pub(crate) struct Change {
    #[command(flatten)]
    new: NewPassphrase,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kms unlocker add escrow
  kms unlocker add escrow --new-passphrase-file escrow.pass
  kms unlocker add machine --generate-key-file /etc/node/store.key")]
pub(crate) struct Add {
    /// What to call it
    name: KeyId,
    #[command(flatten)]
    new: NewPassphrase,
    /// A key file (0600) that is there already, of at least 32 bytes
    #[arg(long, value_name = "PATH", conflicts_with_all = ["NewPassphrase", "generate_key_file"])]
    new_key_file: Option<PathBuf>,
    /// Make a random key file of 32 bytes (0600)
    #[arg(long, value_name = "PATH", conflicts_with = "NewPassphrase")]
    generate_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Whoever could open the store with it may have kept the store's key: kms rekey revokes that.

Examples:
  kms unlocker remove escrow
  kms --yes unlocker remove escrow")]
pub(crate) struct Remove {
    /// Which one
    name: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kms unlocker list
  kms unlocker list --json")]
pub(crate) struct List {}

#[derive(Debug, Args)]
#[command(after_help = "\
Only the unlocker that this command is given stays; the others go and can be added again. The store's
file is written anew, without what was sealed under the old key.

Examples:
  kms rekey
  kms --yes --key-file store.key rekey")]
pub(crate) struct Rekey {}

impl PassphraseCommand {
    pub(super) fn env_name(&self) -> Option<&str> {
        match self {
            Self::Change(change) => change.new.env_name(),
        }
    }

    pub(super) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Change(change) => change.run(context),
        }
    }
}

impl UnlockerCommand {
    pub(super) fn env_name(&self) -> Option<&str> {
        match self {
            Self::Add(add) => add.new.env_name(),
            Self::Remove(_) | Self::List(_) => None,
        }
    }

    pub(super) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Add(add) => add.run(context),
            Self::Remove(remove) => remove.run(context),
            Self::List(_) => list(context),
        }
    }
}

impl Change {
    fn run(self, context: &Context) -> Outcome {
        let (mut store, current) = context.writer()?;
        if !matches!(current, UnlockSecret::Passphrase(_)) {
            return Err(Failure::usage(
                "a key file opened the store, and stays as it is: kms unlocker add adds a \
                 passphrase",
            ));
        }
        let new = self.new.read(&format!("store {}", context.path.display()))?;
        let name = store.change_unlocker(&current, &UnlockSecret::Passphrase(new))?;
        let text = format!("changed the passphrase of unlocker {name}");
        context.output.answer(&json!({ "changed": name }), text)
    }
}

impl Add {
    fn run(self, context: &Context) -> Outcome {
        let (mut store, current) = context.writer()?;
        let name = self.name.as_str();
        if store.unlockers().iter().any(|unlocker| unlocker.name == name) {
            // Before a key file is made in vain.
            return Err(kms_backend_keystore::StoreError::UnlockerExists(name.into()).into());
        }
        let secret = match (&self.new_key_file, &self.generate_key_file) {
            (Some(path), _) => key_file(path)?,
            (None, Some(path)) => generate_key_file(path)?,
            (None, None) => UnlockSecret::Passphrase(self.new.read(&format!("unlocker {name}"))?),
        };
        store.add_unlocker(&current, name, &secret)?;
        context.output.answer(&json!({ "added": name }), format!("added unlocker {name}"))
    }
}

impl Remove {
    fn run(self, context: &Context) -> Outcome {
        context.confirm.check()?;
        let (mut store, _) = context.writer()?;
        let name = &self.name;
        context.confirm.ask(&format!("Unlocker {name} opens the store no longer afterwards."))?;
        store.remove_unlocker(name, false)?;
        let text = format!(
            "removed unlocker {name}; whoever could use it may have kept the store's key, which kms \
             rekey revokes"
        );
        context.output.answer(&json!({ "removed": name }), text)
    }
}

fn list(context: &Context) -> Outcome {
    let store = context.reader()?;
    let unlockers = store.unlockers();
    let mut table = view::table(["NAME", "TAKES", "ADDED"]);
    table.add_rows(unlockers.iter().map(|u| [u.name.clone(), takes(&u.kind), view::time(u.added)]));
    let objects: Vec<_> = unlockers.iter().map(object).collect();
    context.output.answer(&json!({ "unlockers": objects }), table.trim_fmt())
}

/// What an unlocker takes, in words.
pub(super) fn takes(kind: &UnlockerKind) -> String {
    match kind {
        UnlockerKind::Passphrase(kdf) => {
            format!("passphrase (Argon2id, {} MiB, {} passes)", kdf.memory_kib / 1024, kdf.passes)
        }
        UnlockerKind::KeyFile {} => "key file".into(),
        UnlockerKind::External { provider, .. } => format!("what {provider:?} opens"),
        _ => "unknown".into(),
    }
}

fn object(unlocker: &Unlocker) -> Value {
    let mut object = json!({ "name": unlocker.name, "added": view::time(unlocker.added) });
    match &unlocker.kind {
        UnlockerKind::Passphrase(kdf) => {
            object["kind"] = "passphrase".into();
            object["memory_kib"] = kdf.memory_kib.into();
            object["passes"] = kdf.passes.into();
            object["lanes"] = kdf.lanes.into();
        }
        UnlockerKind::KeyFile {} => object["kind"] = "key-file".into(),
        UnlockerKind::External { provider, .. } => {
            object["kind"] = "external".into();
            object["provider"] = provider.as_str().into();
        }
        _ => object["kind"] = "unknown".into(),
    }
    object
}

impl Rekey {
    pub(super) fn run(self, context: &Context) -> Outcome {
        context.confirm.check()?;
        let (mut store, current) = context.writer()?;
        let stays = store.unlocker(&current)?.name.clone();
        let others = store.unlockers().iter().map(|unlocker| unlocker.name.as_str());
        let others: Vec<_> = others.filter(|name| *name != stays).collect();
        context.confirm.ask(&format!(
            "Everything is sealed anew, and only unlocker {stays} stays. These go: {}.",
            if others.is_empty() { "none".into() } else { others.join(", ") }
        ))?;
        let gone = store.rekey(&current)?;
        store.rewrite().map_err(|error| {
            Failure::from(error).of("everything is sealed anew, but old copies may be left")
        })?;
        let removed = if gone.is_empty() { "none".into() } else { gone.join(", ") };
        let text = format!("sealed everything anew; unlocker {stays} stays; removed: {removed}");
        context.output.answer(&json!({ "stays": stays, "removed": gone }), text)
    }
}
