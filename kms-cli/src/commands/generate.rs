//! `kms generate`, `kms rotate` and `kms derive`: keys that are made in the store.

use clap::Args;
use kms_backend::Derivation;
use kms_backend_keystore::{NewKey, StoredKey};
use kms_keys::{DerivationPath, KeyId, KeyType};
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::view;

/// The most keys that one command makes: a million.
const MOST_KEYS: u32 = 1_000_000;

/// What is decided when a key comes into the store.
#[derive(Debug, Args)]
pub(super) struct KeyOptions {
    /// Let the secret be exported later; this can't be changed afterwards
    #[arg(long)]
    pub(super) exportable: bool,
    /// What to note about it; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub(super) labels: Vec<(String, String)>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
All keys are made in one transaction: all of them or none.

Examples:
  kms generate node/identity --type ed25519
  kms generate proposer/main proposer/spare --type secp256k1 --label team=infra
  kms generate attester --type bls12-381 --count 64      (attester/0 … attester/63)")]
pub(crate) struct Generate {
    /// The names of the keys
    #[arg(required = true, value_name = "ID")]
    ids: Vec<KeyId>,
    /// ed25519, secp256k1 or bls12-381
    #[arg(long = "type", value_name = "TYPE")]
    key_type: KeyType,
    /// Make so many keys for each name, called NAME/0, NAME/1 and so on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_KEYS)))]
    count: Option<u32>,
    #[command(flatten)]
    options: KeyOptions,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The versions before stay and can still sign by their number, until they are retired with
kms disable ID --version N. A derived key can't be rotated.

Examples:
  kms rotate node/identity")]
pub(crate) struct Rotate {
    /// The key
    id: KeyId,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The same master and path give the same key again. Paths are those of BIP-32 for secp256k1, SLIP-0010
for ed25519 (every step hardened) and EIP-2333 for bls12-381 (none hardened).

Examples:
  kms derive attester/0 --type bls12-381 --master main --path m/12381/3600/0/0/0
  kms derive proposer --type secp256k1 --master main --path \"m/44'/60'/0'/0/0\"")]
pub(crate) struct Derive {
    /// The key's name
    id: KeyId,
    /// ed25519, secp256k1 or bls12-381
    #[arg(long = "type", value_name = "TYPE")]
    key_type: KeyType,
    /// The master to derive from
    #[arg(long, value_name = "NAME")]
    master: KeyId,
    /// The path from the master to the key
    #[arg(long)]
    path: DerivationPath,
    #[command(flatten)]
    options: KeyOptions,
}

impl Generate {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let new = self.new_keys()?;
        let (store, _) = context.writer()?;
        answer(context, &store.generate(&new)?)
    }

    fn new_keys(&self) -> Outcome<Vec<NewKey>> {
        let per_id = self.count.unwrap_or(1) as usize;
        if self.ids.len().saturating_mul(per_id) > MOST_KEYS as usize {
            return Err(Failure::usage(format_args!("at most {MOST_KEYS} keys are made at once")));
        }
        let mut new = Vec::with_capacity(self.ids.len() * per_id);
        for id in &self.ids {
            match self.count {
                None => new.push(self.options.new_key(id.clone(), self.key_type)),
                Some(count) => {
                    for number in 0..count {
                        let id = KeyId::new(format!("{id}/{number}")).map_err(|error| {
                            Failure::usage(format_args!("{id}/{number}: {error}"))
                        })?;
                        new.push(self.options.new_key(id, self.key_type));
                    }
                }
            }
        }
        Ok(new)
    }
}

impl Rotate {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let (store, _) = context.writer()?;
        answer(context, &[store.rotate(&self.id)?])
    }
}

impl Derive {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let (store, _) = context.writer()?;
        let new = self.options.new_key(self.id, self.key_type);
        let from = Derivation { master: self.master, path: self.path };
        answer(context, &[store.derive(&new, &from)?])
    }
}

impl KeyOptions {
    pub(super) fn new_key(&self, id: KeyId, key_type: KeyType) -> NewKey {
        let labels = self.labels.iter().cloned().collect();
        NewKey::new(id, key_type).exportable(self.exportable).labels(labels)
    }
}

/// The keys that came into the store.
pub(super) fn answer(context: &Context, keys: &[StoredKey]) -> Outcome {
    let objects: Vec<_> = keys.iter().map(view::key_json).collect();
    context.output.answer(&json!({ "keys": objects }), view::key_table(keys))
}

fn label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains(char::is_control) => {
            Ok((name.into(), value.into()))
        }
        _ => Err("expected NAME=VALUE, without control characters"),
    }
}
