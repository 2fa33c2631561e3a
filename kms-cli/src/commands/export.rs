//! `kms export`: secrets leave the store, where that was allowed when they came in.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use kms_backend_keystore::{MasterSecret, Store, StoreError};
use kms_keys::{Eip2335Kdf, Eip2335Keystore, KeyId, SecretKey};
use kms_secrets::{SecretBytes, secret_file};
use serde_json::json;

use crate::commands::init::hex_line;
use crate::commands::mnemonic::phrase_line;
use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::source::NewPassphrase;
use crate::view;

#[derive(Debug, Args)]
#[command(after_help = "\
Only what was made with --exportable can be exported. PEM is encrypted if a new passphrase's place is
given, EIP-2335 always. Files are new and have mode 0600; - is standard output. Of a master, the words
or the seed in hex are exported, without the BIP-39 passphrase.

Examples:
  kms export node/identity --format pem --to identity.pem --new-passphrase-file identity.pass
  kms export attester/0 --format eip2335 --to keystore-0.json
  kms export proposer/main --format hex --to - | other-program
  kms export --master main")]
pub(crate) struct Export {
    /// The key
    #[arg(required_unless_present = "master", requires = "to", conflicts_with = "master")]
    id: Option<KeyId>,
    /// The version; the newest if none is named
    #[arg(long, value_name = "N", requires = "id")]
    version: Option<u32>,
    /// How the secret is written
    #[arg(long, value_enum, default_value_t = Format::Hex)]
    format: Format,
    /// The new file to write to, or - for standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Export this master instead of a key
    #[arg(long, value_name = "NAME", conflicts_with = "format")]
    master: Option<KeyId>,
    #[command(flatten)]
    pub(super) new: NewPassphrase,
}

/// How a secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// 64 hexadecimal digits
    Hex,
    /// PKCS#8 in PEM; ed25519 and secp256k1
    Pem,
    /// The keystore of Ethereum validators; bls12-381
    Eip2335,
}

impl Export {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let standard_output = Path::new("-");
        let to = self.to.as_deref().unwrap_or(standard_output);
        let to_file = to != standard_output;
        if !to_file && context.output.is_json() {
            return Err(Failure::usage(
                "the secret itself goes to standard output: leave out --json, or name a file",
            ));
        }
        let is_plain = self.master.is_some() || self.format == Format::Hex;
        if is_plain && self.new.place()?.is_some() {
            return Err(Failure::usage("only --format pem and eip2335 can be encrypted"));
        }
        if to_file && to.symlink_metadata().is_ok() {
            return Err(secret_file::SecretFileError::Exists { path: to.into() }.into());
        }
        context.confirm.check()?;
        let store = context.reader()?;
        let what = match (&self.id, &self.master) {
            (Some(id), _) => format!("key {id}"),
            (None, Some(master)) => format!("master {master}"),
            (None, None) => return Err(Failure::bug("nothing to export is named")),
        };
        let place = if to_file { to.display().to_string() } else { "standard output".into() };
        context.confirm.ask(&format!(
            "The secret of {what} leaves the store, to {place}. Whoever gets it can use it."
        ))?;
        let secret = match (&self.id, &self.master) {
            (Some(id), _) => self.key(&store, id)?,
            (_, Some(master)) => self.master(context, &store, master)?,
            (None, None) => return Err(Failure::bug("nothing to export is named")),
        };
        if !to_file {
            return context.output.secret(&secret);
        }
        secret_file::create(to, secret.expose())?;
        context.output.answer(
            &json!({ "exported": what, "file": view::path(to) }),
            format!("exported {what} to {place}"),
        )
    }

    fn key(&self, store: &Store, id: &KeyId) -> Outcome<SecretBytes> {
        let key = store.export(id, self.version)?;
        match (self.format, &key) {
            // Exporting is what the key was made for, and was confirmed.
            (Format::Hex, key) => hex_line(key.expose_secret().expose()),
            (Format::Pem, key) => self.pem(id, key),
            (Format::Eip2335, SecretKey::Bls12381(key)) => {
                let passphrase = self.new.read(&format!("the keystore of {id}"))?;
                let path = path_of(store, id, self.version)?;
                let (password, kdf) = (passphrase.expose(), Eip2335Kdf::Scrypt);
                let keystore = Eip2335Keystore::encrypt(key, password, &path, kdf)?;
                Ok(SecretBytes::from_slice(&keystore.to_json()))
            }
            (Format::Eip2335, key) => Err(Failure::unavailable(format_args!(
                "key {id} is of type {}; EIP-2335 is for bls12-381",
                key.key_type()
            ))),
        }
    }

    fn pem(&self, id: &KeyId, key: &SecretKey) -> Outcome<SecretBytes> {
        let written = |error| Failure::from(error).of(format!("key {id} can't be written as PEM"));
        match self.new.place()? {
            None => key.to_pkcs8_pem().map_err(written),
            Some(place) => {
                let passphrase = place.read()?;
                let pem = key.to_encrypted_pkcs8_pem(passphrase.expose()).map_err(written)?;
                Ok(SecretBytes::from_slice(pem.as_bytes()))
            }
        }
    }

    fn master(&self, context: &Context, store: &Store, id: &KeyId) -> Outcome<SecretBytes> {
        match store.export_master(id)? {
            MasterSecret::Mnemonic { mnemonic, passphrase } => {
                if !passphrase.is_empty() {
                    context.output.warn(format_args!(
                        "a BIP-39 passphrase goes with the words of {id}, and is not exported"
                    ));
                }
                Ok(phrase_line(&mnemonic))
            }
            MasterSecret::Seed(seed) => hex_line(seed.expose()),
            _ => Err(Failure::bug("a master of a kind that can't be exported")),
        }
    }
}

/// The path that a key was derived on, empty if it was not.
fn path_of(store: &Store, id: &KeyId, version: Option<u32>) -> Outcome<String> {
    let mut versions = store.versions(id)?;
    if let Some(version) = version {
        versions.retain(|key| key.version == version);
    }
    let key = versions.pop().ok_or_else(|| StoreError::NotFound(id.clone()))?;
    Ok(key.derivation.map_or(String::new(), |derivation| derivation.path.to_string()))
}
