//! `kms mnemonic`.

use clap::{Args, Subcommand};
use kms_backend_keystore::MasterSecret;
use kms_keys::{KeyId, Mnemonic};
use kms_secrets::SecretBytes;
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::view;

/// What can be done with mnemonics.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  kms mnemonic new main
  kms import --format mnemonic main words.txt
  kms export --master main")]
pub(crate) enum MnemonicCommand {
    /// Make a new mnemonic in the store
    New(New),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The words are shown with --show alone, and can be exported later only with --exportable. A store and
its backups are all that has them otherwise.

Examples:
  kms mnemonic new main
  kms mnemonic new main --words 12 --exportable
  kms mnemonic new main --show")]
pub(crate) struct New {
    /// The master's name
    name: KeyId,
    /// 12, 15, 18, 21 or 24
    #[arg(long, value_name = "N", default_value_t = 24)]
    words: usize,
    /// Let the words be exported later; this can't be changed afterwards
    #[arg(long)]
    exportable: bool,
    /// Print the words, once
    #[arg(long)]
    show: bool,
}

impl MnemonicCommand {
    pub(super) fn run(self, context: &Context) -> Outcome {
        match self {
            Self::New(new) => new.run(context),
        }
    }
}

impl New {
    fn run(self, context: &Context) -> Outcome {
        let output = context.output;
        if self.show && output.is_json() {
            return Err(Failure::usage("--show prints the words themselves: leave out --json"));
        }
        if ![12, 15, 18, 21, 24].contains(&self.words) {
            return Err(Failure::usage("--words: expected 12, 15, 18, 21 or 24"));
        }
        let (store, _) = context.writer()?;
        let mnemonic = Mnemonic::generate(self.words)?;
        let phrase = phrase_line(&mnemonic);
        let secret = MasterSecret::Mnemonic { mnemonic, passphrase: SecretBytes::with_capacity(0) };
        let master = store.add_master(&self.name, &secret, self.exportable)?;
        if self.show {
            output.warn("whoever has these words has every key that is derived from them");
            return output.secret(&phrase);
        }
        let text = format!("made master {}: a {}", master.id, view::kind(master.kind));
        output.answer(&json!({ "master": view::master_json(&master) }), text)
    }
}

/// The words and a newline.
pub(super) fn phrase_line(mnemonic: &Mnemonic) -> SecretBytes {
    let phrase = mnemonic.phrase();
    let mut line = SecretBytes::with_capacity(phrase.len() + 1);
    let (words, newline) = line.buffer_mut().split_at_mut(phrase.len());
    words.copy_from_slice(phrase.expose());
    newline.fill(b'\n');
    line.set_len(phrase.len() + 1);
    line
}
