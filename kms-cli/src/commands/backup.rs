//! `kms backup`.

use std::path::PathBuf;

use clap::Args;
use kms_backend_keystore::{StoreError, UnlockSecret};
use serde_json::json;

use crate::failure::Outcome;
use crate::open::Context;
use crate::source::NewPassphrase;
use crate::view::{self, count};

#[derive(Debug, Args)]
#[command(after_help = "\
A backup has every key, master, version, state and flag of the store, sealed under a passphrase of its
own. It can be made while a node has the store open.

Examples:
  kms backup /mnt/safe/kms-2026-07.backup
  kms backup kms.backup --new-passphrase-file /mnt/safe/backup.pass")]
pub(crate) struct Backup {
    /// The new file to write
    file: PathBuf,
    #[command(flatten)]
    pub(super) new: NewPassphrase,
}

impl Backup {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let file = &self.file;
        if file.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: file.clone() }.into());
        }
        let store = context.reader()?;
        let passphrase = self.new.read(&format!("backup {}", file.display()))?;
        let records = store.backup(file, &UnlockSecret::Passphrase(passphrase))?;
        let records_text = count(usize::try_from(records).unwrap_or(usize::MAX), "record");
        context.output.warn(
            "whoever has this file and its passphrase has all keys in it, those that can't be \
             exported too",
        );
        context.output.answer(
            &json!({ "backup": view::path(file), "records": records }),
            format!("wrote {records_text} to {}", file.display()),
        )
    }
}
