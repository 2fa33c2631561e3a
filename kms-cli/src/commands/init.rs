//! `kms init`.

use std::path::{Path, PathBuf};

use clap::Args;
use kms_backend_keystore::{StoreError, UnlockSource};
use kms_secrets::{PassphraseSource, SecretBytes, secret_file};
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::open::{Context, key_file};
use crate::opener::Opener;
use crate::view;

#[derive(Debug, Args)]
#[command(after_help = "\
Without any option, a new passphrase is asked for twice. A generated file is all that opens the
store: keep a copy of it elsewhere.

Examples:
  kms init
  kms --store /var/lib/node/kms.keystore init --generate-passphrase /etc/node/store.pass
  kms init --generate-key-file store.key
  kms --passphrase-command \"pass show node/store\" init
  kms --unlock-settings unlock.yaml init")]
pub(crate) struct Init {
    /// Make a random passphrase in this new file (0600)
    #[arg(long, value_name = "FILE")]
    generate_passphrase: Option<PathBuf>,
    /// Make a random key file of 32 bytes (0600)
    #[arg(long, value_name = "FILE", conflicts_with = "generate_passphrase")]
    generate_key_file: Option<PathBuf>,
}

impl Init {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let path = &context.path;
        let made = self.generate_passphrase.as_ref().or(self.generate_key_file.as_ref());
        if made.is_some() && context.unlock.is_given() {
            return Err(Failure::usage(
                "what opens the store is generated, or is there already: not both",
            ));
        }
        // Nothing is asked for or generated in vain.
        if context.is_there() {
            return Err(StoreError::Exists { path: path.clone() }.into());
        }
        let opener = match (&self.generate_passphrase, &self.generate_key_file) {
            (Some(file), _) => generate_passphrase(file)?,
            (None, Some(file)) => generate_key_file(file)?,
            (None, None) => context.new_opener()?,
        };
        if let Err(failure) = context.create(&opener) {
            // Made a moment ago, and opens nothing.
            drop(made.map(std::fs::remove_file));
            return Err(failure);
        }
        if let Some(provider) = opener.provider() {
            context.output.warn(format_args!(
                "only a key of {provider} opens this store: if that is lost, so is all that is in it; kms \
                 unlocker add adds another way"
            ));
        }
        let by = made.map_or(String::new(), |made| format!("; {} opens it", made.display()));
        context.output.answer(
            &json!({
                "store": view::path(path),
                "opened_by": made.map(|made| view::path(made)),
            }),
            format_args!("made store {}{by}", path.display()),
        )
    }
}

/// A new file with a random passphrase, and what is in it.
fn generate_passphrase(path: &Path) -> Outcome<Opener> {
    secret_file::create_passphrase(path)?;
    let file = PassphraseSource::File { path: path.into(), group_readable: false };
    Opener::here(&UnlockSource::Passphrase(file), Path::new(""))
}

/// A new file with 32 random bytes.
pub(super) fn generate_key_file(path: &Path) -> Outcome<Opener> {
    secret_file::create(path, random()?.expose())?;
    key_file(path)
}

fn random() -> Outcome<SecretBytes> {
    let mut random = SecretBytes::with_capacity(32);
    getrandom::fill(random.buffer_mut()).map_err(StoreError::Randomness)?;
    random.set_len(32);
    Ok(random)
}

/// Hexadecimal digits and a newline.
pub(super) fn hex_line(bytes: &[u8]) -> Outcome<SecretBytes> {
    let len = bytes.len() * 2;
    let mut line = SecretBytes::with_capacity(len + 1);
    let (digits, newline) = line.buffer_mut().split_at_mut(len);
    base16ct::lower::encode(bytes, digits)
        .map_err(|_| Failure::bug("a buffer for digits is too small"))?;
    newline.fill(b'\n');
    line.set_len(len + 1);
    Ok(line)
}
