//! `kms restore`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use kms_backend_keystore::{RestorePlan, Store, StoreError, UnlockSecret};
use kms_keys::KeyId;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::progress::Progress;
use crate::source::FromPassphrase;
use crate::view::count;

#[derive(Debug, Args)]
#[command(after_help = "\
Every secret of the backup is opened and proved first. Keys that the store has already stay as they
are there. Without a store, a new one is made, which the store's own options are to open. All of it is
restored or nothing.

Examples:
  kms restore /mnt/safe/kms-2026-07.backup
  kms --store new.keystore --passphrase-file new.pass restore kms.backup \\
      --from-passphrase-file /mnt/safe/backup.pass
  kms restore kms.backup --revive")]
pub(crate) struct Restore {
    /// The backup
    file: PathBuf,
    /// Bring back keys that were destroyed in the store, too
    #[arg(long)]
    revive: bool,
    #[command(flatten)]
    pub(super) from: FromPassphrase,
}

impl Restore {
    pub(super) fn run(self, context: &Context) -> Outcome {
        context.confirm.check()?;
        let backup = self.open_backup()?;
        let is_new = !context.is_there();
        let store =
            if is_new { context.create(&context.new_secret()?)? } else { context.writer()?.0 };
        let planned = self.plan(context, &store, &backup, is_new);
        if planned.is_err() && is_new {
            // Made a moment ago, locked since, and empty.
            drop(fs::remove_file(&context.path));
        }
        let (plan, refused) = planned?;
        store.restore(&backup, &plan)?;
        context.output.answer(&object(&plan, &refused), text(&plan, &refused))
    }

    fn open_backup(&self) -> Outcome<Store> {
        let file = self.file.display();
        if self.file.symlink_metadata().is_err() {
            return Err(Failure::unavailable(format_args!("backup {file} does not exist")));
        }
        let passphrase = self.from.read(&format!("backup {file}"))?;
        let opened = Store::open_read_only(&self.file, &UnlockSecret::Passphrase(passphrase));
        opened.map_err(|error| Failure::from(error).of(format!("backup {file} can't be opened")))
    }

    /// What is to be done, after a yes to it, and which destroyed keys stay so.
    fn plan(
        &self,
        context: &Context,
        store: &Store,
        backup: &Store,
        is_new: bool,
    ) -> Outcome<(RestorePlan, BTreeSet<KeyId>)> {
        let progress = Progress::new("proving", backup.count()?);
        let plan = store.plan_restore(backup, || progress.step());
        drop(progress);
        let mut plan =
            plan.map_err(|error: StoreError| Failure::from(error).of("nothing was restored"))?;
        let refused = if self.revive { BTreeSet::new() } else { std::mem::take(&mut plan.revive) };
        let output = context.output;
        if !refused.is_empty() {
            output.warn(format_args!(
                "destroyed in the store, so not restored without --revive: {}",
                names(&refused)
            ));
        }
        if !plan.revive.is_empty() {
            let revived = names(&plan.revive);
            output.warn(format_args!("destroyed in the store, and come back: {revived}"));
        }
        if is_new {
            output.warn(
                "a new store doesn't know which keys were destroyed since the backup was made: they \
                 come back",
            );
        }
        let into = if is_new { "new store" } else { "store" };
        context.confirm.ask(&format!(
            "Into {into} {}: {}",
            context.path.display(),
            text(&plan, &refused)
        ))?;
        Ok((plan, refused))
    }
}

fn object(plan: &RestorePlan, refused: &BTreeSet<KeyId>) -> Value {
    let ids = |ids: &BTreeSet<KeyId>| ids.iter().map(KeyId::as_str).collect::<Value>();
    json!({
        "added": ids(&plan.add),
        "present": ids(&plan.present),
        "revived": ids(&plan.revive),
        "refused": ids(refused),
        "masters": ids(&plan.masters),
    })
}

fn text(plan: &RestorePlan, refused: &BTreeSet<KeyId>) -> String {
    format!(
        "{} and {} added, {} revived, {} there already, {} refused",
        count(plan.add.len(), "key"),
        count(plan.masters.len(), "master"),
        plan.revive.len(),
        plan.present.len(),
        refused.len(),
    )
}

fn names(ids: &BTreeSet<KeyId>) -> String {
    let ids: Vec<_> = ids.iter().map(KeyId::as_str).collect();
    ids.join(", ")
}
