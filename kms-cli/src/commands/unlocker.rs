//! The ways to open the store: `kms passphrase`, `kms unlocker` and `kms rekey`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kms_backend_keystore::{Store, StoreError, UnlockSecret, Unlocker, UnlockerKind};
use kms_keys::KeyId;
use serde_json::{Value, json};

use crate::commands::init::generate_key_file;
use crate::failure::{Failure, Outcome};
use crate::open::{self, Context, key_file};
use crate::opener::{self, Opener};
use crate::source::NewPassphrase;
use crate::view;

/// What is said before no passphrase or key file opens a store any more.
const LOST_WITH_THEM: &str = " No passphrase or key file does: if the keys that others open it with are lost, \
                              so is everything in it.";

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
    /// Add a passphrase, a key file or somebody else that opens the store
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
With --new-unlock-settings, somebody else seals the store's key: a key of AWS KMS, in a token or of Vault,
as far as this command was built with the features aws, pkcs11 and vault. The file is written as the unlock
section of a node's settings, which a node then opens the store with.

Examples:
  kms unlocker add escrow
  kms unlocker add escrow --new-passphrase-file escrow.pass
  kms unlocker add machine --generate-key-file /etc/node/store.key
  kms unlocker add cloud --new-unlock-settings unlock.yaml")]
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
    /// A YAML file with what is to open the store, written as the `unlock` section of a node's settings
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["NewPassphrase", "new_key_file", "generate_key_file"]
    )]
    new_unlock_settings: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Whoever could open the store with it may have kept the store's key: kms rekey revokes that. The last one
stays, and so does the last with a passphrase or key file unless --external-suffices is given, and the store is
opened by somebody who stays, which proves that they can.

Examples:
  kms unlocker remove escrow
  kms --yes unlocker remove escrow
  kms --unlock-settings unlock.yaml unlocker remove first --external-suffices")]
pub(crate) struct Remove {
    /// Which one
    name: String,
    #[command(flatten)]
    suffices: Suffices,
}

/// Who says that a store may be lost with a key that somebody else has.
#[derive(Debug, Args)]
struct Suffices {
    /// No passphrase or key file need open the store any more: if the key that somebody else opens it with is
    /// lost, so is everything in it
    #[arg(long)]
    external_suffices: bool,
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
pub(crate) struct Rekey {
    #[command(flatten)]
    suffices: Suffices,
}

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
    pub(super) fn env_names(&self) -> Vec<String> {
        let Self::Add(add) = self else { return Vec::new() };
        let named = opener::env_names(add.new_unlock_settings.as_deref());
        named.into_iter().chain(add.new.env_name().map(str::to_owned)).collect()
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
        if !matches!(*current, UnlockSecret::Passphrase(_)) {
            let by = current.provider().map_or("a key file".into(), |by| format!("a key of {by}"));
            return Err(Failure::usage(format_args!(
                "{by} opened the store, and stays as it is: kms unlocker add adds a passphrase, and a \
                 passphrase is changed where it opens the store"
            )));
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
            return Err(StoreError::UnlockerExists(name.into()).into());
        }
        let new: Opener = match (&self.new_key_file, &self.generate_key_file) {
            (Some(path), _) => key_file(path)?,
            (None, Some(path)) => generate_key_file(path)?,
            (None, None) => match &self.new_unlock_settings {
                Some(file) => Opener::of_settings(file)?,
                None => {
                    UnlockSecret::Passphrase(self.new.read(&format!("unlocker {name}"))?).into()
                }
            },
        };
        store.add_unlocker(&current, name, &new)?;
        context.output.answer(&json!({ "added": name }), format!("added unlocker {name}"))
    }
}

impl Remove {
    fn run(self, context: &Context) -> Outcome {
        context.confirm.check()?;
        let (mut store, current) = context.writer()?;
        let (name, suffices) = (&self.name, self.suffices.external_suffices);
        let mut left =
            store.unlockers().iter().filter(|unlocker| unlocker.name != *name).peekable();
        let only_others = left.peek().is_some() && !left.any(|left| left.kind.is_local());
        if only_others && !suffices && has_local(&store) {
            return Err(open::refused(StoreError::LastLocalUnlocker(name.clone())));
        }
        if only_others && store.unlocker(&current)?.name == *name {
            return Err(Failure::usage(format_args!(
                "unlocker {name} has opened the store: open it with one that is to suffice \
                 (--unlock-settings), which proves that it does"
            )));
        }
        let warning = if only_others { LOST_WITH_THEM } else { "" };
        context
            .confirm
            .ask(&format!("Unlocker {name} opens the store no longer afterwards.{warning}"))?;
        store.remove_unlocker(name, suffices)?;
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
        UnlockerKind::External { provider, parameters } => {
            let parameters = parameters.iter().map(|(name, value)| format!("{name} {value}"));
            format!("external: {provider} ({})", parameters.collect::<Vec<_>>().join(", "))
        }
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
        UnlockerKind::External { provider, parameters } => {
            object["kind"] = "external".into();
            object["provider"] = provider.as_str().into();
            object["parameters"] = json!(parameters);
        }
        _ => object["kind"] = "unknown".into(),
    }
    object
}

fn has_local(store: &Store) -> bool {
    store.unlockers().iter().any(|unlocker| unlocker.kind.is_local())
}

impl Rekey {
    pub(super) fn run(self, context: &Context) -> Outcome {
        context.confirm.check()?;
        let (mut store, current) = context.writer()?;
        let stays = store.unlocker(&current)?.name.clone();
        let others = store.unlockers().iter().map(|unlocker| unlocker.name.as_str());
        let others: Vec<_> = others.filter(|name| *name != stays).collect();
        let loses = current.provider().is_some() && has_local(&store);
        if loses && !self.suffices.external_suffices {
            return Err(Failure::usage(format_args!(
                "only unlocker {stays} would stay, which somebody else opens: open the store with a \
                 passphrase or key file, or say that it suffices: --external-suffices"
            )));
        }
        context.confirm.ask(&format!(
            "Everything is sealed anew, and only unlocker {stays} stays. These go: {}.{}",
            if others.is_empty() { "none".into() } else { others.join(", ") },
            if loses { LOST_WITH_THEM } else { "" }
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
