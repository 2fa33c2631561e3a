//! `kms import`: keys, mnemonics and seeds that were made elsewhere.

mod budget;
mod document;
mod folder;
mod master;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kms_keys::{KeyId, KeyType};

use crate::commands::generate::{KeyOptions, answer};
use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::source::{FromPassphrase, MnemonicPassphrase};

#[derive(Debug, Args)]
#[command(after_help = "\
Secret files must be closed to others (chmod 600). What is not said is guessed: the format from the
text, the type from the PEM. A folder's *.json files are EIP-2335 keystores; keys that are in the
store already are skipped, and bad files don't keep the others from being imported.

Examples:
  kms import node/identity identity.pem
  kms import proposer/main --type secp256k1 key.hex
  pass show node/key | kms import node/identity --type ed25519 -
  kms import attester/0 keystore-0.json --from-passphrase-file keystore-0.pass
  kms import --folder validator_keys --prefix validators --passwords-dir secrets
  kms import --format mnemonic main words.txt --mnemonic-passphrase-file words.pass
  kms import --format seed main seed.hex")]
pub(crate) struct Import {
    /// The name of the key or master
    #[arg(
        value_name = "ID",
        required_unless_present = "folder",
        conflicts_with = "folder",
        requires = "from"
    )]
    id: Option<KeyId>,
    /// The file to read, or - for standard input
    #[arg(value_name = "FROM")]
    from: Option<PathBuf>,
    /// ed25519, secp256k1 or bls12-381
    #[arg(long = "type", value_name = "TYPE")]
    key_type: Option<KeyType>,
    /// How the secret is written; guessed, if it is PEM, EIP-2335 or hex
    #[arg(long, value_enum, conflicts_with = "folder")]
    format: Option<Format>,
    /// Import every EIP-2335 keystore (*.json) in this folder
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Keys of a folder are called PREFIX/ and their public key in hex
    #[arg(long, value_name = "PREFIX", default_value = "validators", requires = "folder")]
    prefix: KeyId,
    /// The password of DIR/NAME.json is in NAME.txt of this folder
    #[arg(long, value_name = "DIR", requires = "folder", conflicts_with = "FromPassphrase")]
    passwords_dir: Option<PathBuf>,
    #[command(flatten)]
    options: KeyOptions,
    #[command(flatten)]
    passphrase: FromPassphrase,
    #[command(flatten)]
    mnemonic_passphrase: MnemonicPassphrase,
}

/// How a secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// 64 hexadecimal digits
    Hex,
    /// PKCS#8 in PEM, plain or encrypted
    Pem,
    /// The keystore of Ethereum validators
    Eip2335,
    /// BIP-39 words: a master that keys are derived from
    Mnemonic,
    /// 16 to 64 bytes in hex: a master that keys are derived from
    Seed,
}

impl Import {
    pub(super) fn env_names(&self) -> Vec<&str> {
        let names = [self.passphrase.env_name(), self.mnemonic_passphrase.env_name()];
        names.into_iter().flatten().collect()
    }

    pub(super) fn run(self, context: &Context) -> Outcome {
        let is_mnemonic = self.format == Some(Format::Mnemonic);
        if !is_mnemonic && self.mnemonic_passphrase.place()?.is_some() {
            return Err(Failure::usage("a mnemonic's passphrase goes with --format mnemonic"));
        }
        if let Some(folder) = &self.folder {
            return self.folder(context, folder);
        }
        let (Some(id), Some(from)) = (&self.id, &self.from) else {
            return Err(Failure::bug("neither a key nor a folder to import is named"));
        };
        if let Some(Format::Mnemonic | Format::Seed) = self.format {
            return self.master(context, id, from);
        }
        let secret = self.document(context, id, from)?;
        let (store, _) = context.writer()?;
        let new = self.options.new_key(id.clone(), secret.key_type());
        answer(context, &[store.import(&new, &secret)?])
    }
}

/// What is said of every keystore of a validator.
fn warn_of_slashing(context: &Context) {
    context.output.warn(
        "a validator's signing history doesn't come along: stop the validator elsewhere first, and \
         move its slashing protection, or it may be slashed",
    );
}
