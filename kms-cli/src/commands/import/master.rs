//! A mnemonic or a seed.

use std::path::Path;

use kms_backend_keystore::MasterSecret;
use kms_keys::{KeyId, Mnemonic, Seed};
use kms_secrets::{DecodedSecret, Encoding, SecretBytes};
use serde_json::json;

use super::document::place;
use super::{Format, Import};
use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::{source, view};

impl Import {
    pub(super) fn master(&self, context: &Context, id: &KeyId, from: &Path) -> Outcome {
        if self.key_type.is_some() || !self.options.labels.is_empty() {
            return Err(Failure::usage("a master has neither --type nor --label"));
        }
        if self.passphrase.place()?.is_some() {
            return Err(Failure::usage(
                "words and seeds are not encrypted; a mnemonic's passphrase is named by \
                 --mnemonic-passphrase-file, -env or -command",
            ));
        }
        let document = source::document(from)?;
        let what = |error: Failure| error.of(format!("{} holds no master", place(from)));
        let secret = if self.format == Some(Format::Mnemonic) {
            self.mnemonic(&document).map_err(what)?
        } else {
            seed(&document).map_err(what)?
        };
        let (store, _) = context.writer()?;
        let master = store.add_master(id, &secret, self.options.exportable)?;
        let text = format!("imported master {}: a {}", master.id, view::kind(master.kind));
        context.output.answer(&json!({ "master": view::master_json(&master) }), text)
    }

    fn mnemonic(&self, words: &SecretBytes) -> Outcome<MasterSecret> {
        let mnemonic = Mnemonic::parse(words.expose())?;
        let passphrase = self.mnemonic_passphrase.read()?;
        // A passphrase that gives no seed is better found now than when a key is derived.
        mnemonic.to_seed(passphrase.expose())?;
        Ok(MasterSecret::Mnemonic { mnemonic, passphrase })
    }
}

fn seed(text: &SecretBytes) -> Outcome<MasterSecret> {
    match Encoding::Hex.decode(text.expose())? {
        DecodedSecret::Bytes(seed) | DecodedSecret::Pem { der: seed, .. } => {
            Ok(MasterSecret::Seed(Seed::from_bytes(seed.expose())?))
        }
    }
}
