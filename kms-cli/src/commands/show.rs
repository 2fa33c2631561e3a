//! `kms list`, `kms show` and `kms public-key`: what may be known of keys.

use clap::{Args, ValueEnum};
use kms_backend_keystore::{Store, StoreError, StoredKey};
use kms_keys::{KeyId, KeyType};
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::view;

/// How many keys are looked at before others are, where not all that are looked at are shown.
const PAGE: usize = 1000;

#[derive(Debug, Args)]
#[command(after_help = "\
Keys are shown in the order of their names, a page at a time; the end says how to get the next.

Examples:
  kms list
  kms list --prefix attester/ --state disabled
  kms list --after attester/63 --limit 1000
  kms list --masters --json")]
pub(crate) struct List {
    /// Only keys whose names begin like this
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only keys in this state
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only keys of this type: ed25519, secp256k1 or bls12-381
    #[arg(long = "type", value_name = "TYPE")]
    key_type: Option<KeyType>,
    /// Only keys whose names come after this one
    #[arg(long, value_name = "ID")]
    after: Option<KeyId>,
    /// The most keys to show
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// List the masters, which keys are derived from
    #[arg(long, conflicts_with_all = ["prefix", "state", "key_type", "after", "limit"])]
    masters: bool,
}

/// The states of keys.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Active,
    Disabled,
    PendingDeletion,
    Destroyed,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kms show node/identity
  kms show node/identity --json")]
pub(crate) struct Show {
    /// The key
    id: KeyId,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kms public-key node/identity
  kms public-key node/identity --version 1")]
pub(crate) struct PublicKey {
    /// The key
    id: KeyId,
    /// The version; the newest if none is named
    #[arg(long, value_name = "N")]
    version: Option<u32>,
}

impl List {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let store = context.reader()?;
        if self.masters { list_masters(context, &store) } else { self.list_keys(context, &store) }
    }

    fn list_keys(&self, context: &Context, store: &Store) -> Outcome {
        let limit = self.limit as usize;
        let mut keys = self.find(store, limit.saturating_add(1))?;
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = keys.last().filter(|_| more).map(|key| key.id.as_str());
        let objects: Vec<_> = keys.iter().map(view::key_json).collect();
        let text = match (keys.is_empty(), next) {
            (true, _) => "no such keys".into(),
            (false, None) => view::key_table(&keys),
            (false, Some(next)) => {
                let table = view::key_table(&keys);
                format!("{table}\n\nThere are more: add --after {next}")
            }
        };
        context.output.answer(&json!({ "keys": objects, "next": next }), text)
    }

    fn find(&self, store: &Store, most: usize) -> Outcome<Vec<StoredKey>> {
        let mut found = Vec::new();
        let mut after = self.after.clone();
        loop {
            let page = store.page(after.as_ref(), PAGE)?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|key| key.id.clone());
            for key in page {
                if self.shows(&key) {
                    found.push(key);
                }
                if found.len() == most {
                    return Ok(found);
                }
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    fn shows(&self, key: &StoredKey) -> bool {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        key.id.as_str().starts_with(prefix)
            && self.key_type.is_none_or(|key_type| key_type == key.key_type)
            && self.state.is_none_or(|state| state.as_str() == view::state(key.state))
    }
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::PendingDeletion => "pending-deletion",
            Self::Destroyed => "destroyed",
        }
    }
}

impl Show {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let store = context.reader()?;
        let versions = store.versions(&self.id)?;
        let newest = versions.last().ok_or_else(|| StoreError::NotFound(self.id.clone()))?;
        let objects: Vec<_> = versions.iter().map(view::key_json).collect();
        let object = json!({ "key": view::key_json(newest), "versions": objects });
        context.output.answer(&object, text(newest, &versions))
    }
}

impl PublicKey {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let store = context.reader()?;
        let mut versions = store.versions(&self.id)?;
        let key = match self.version {
            None => versions.pop(),
            Some(version) => versions.into_iter().find(|key| key.version == version),
        };
        let key = key.ok_or_else(|| {
            let version = self.version.unwrap_or_default();
            Failure::from(StoreError::NoVersion { id: self.id.clone(), version })
        })?;
        let object = json!({
            "id": key.id.as_str(),
            "type": key.key_type.as_str(),
            "version": key.version,
            "public_key": key.public_key,
        });
        context.output.answer(&object, &key.public_key)
    }
}

/// A key's newest version line by line, then all versions in a table.
fn text(newest: &StoredKey, versions: &[StoredKey]) -> String {
    let derivation = newest.derivation.as_ref().map(ToString::to_string);
    let yes = |yes| if yes { "yes" } else { "no" }.to_owned();
    let lines = [
        ("key", newest.id.to_string()),
        ("type", newest.key_type.to_string()),
        ("state", view::state_and_time(newest.state)),
        ("exportable", yes(newest.flags.exportable)),
        ("protected", yes(newest.flags.protected)),
        ("labels", view::labels(&newest.labels)),
        ("derived by", derivation.unwrap_or_default()),
    ];
    let mut text = String::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!("{name:<12}{value}\n"));
    }
    let mut table = view::table(["VERSION", "CREATED", "RETIRED", "PUBLIC KEY"]);
    table.add_rows(versions.iter().map(|key| {
        let number = key.version.to_string();
        [number, view::time(key.created), yes(key.flags.retired), key.public_key.clone()]
    }));
    format!("{text}\n{}", table.trim_fmt())
}

fn list_masters(context: &Context, store: &Store) -> Outcome {
    let masters = store.masters()?;
    let objects: Vec<_> = masters.iter().map(view::master_json).collect();
    let mut table = view::table(["NAME", "KIND", "CREATED", "EXPORTABLE"]);
    table.add_rows(masters.iter().map(|master| {
        let exportable = if master.exportable { "yes" } else { "no" };
        let (kind, created) = (view::kind(master.kind), view::time(master.created));
        [master.id.to_string(), kind, created, exportable.into()]
    }));
    let text = if masters.is_empty() { "no masters".into() } else { table.trim_fmt() };
    context.output.answer(&json!({ "masters": objects }), text)
}
