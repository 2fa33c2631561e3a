//! `kms restore`.

use std::collections::BTreeSet;
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
        let (plan, refused) = if context.is_there() {
            let (store, _) = context.writer()?;
            let (plan, refused) = self.plan(context, Some(&store), &backup)?;
            store.restore(&backup, &plan)?;
            (plan, refused)
        } else {
            // Never an empty store under the name of one that is to be full.
            let secret = context.new_opener()?;
            let planned = self.plan(context, None, &backup)?;
            backup.backup(&context.path, &secret)?;
            planned
        };
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

    /// What is to be done, after a yes to it, and which destroyed keys stay so. Without a store, a new
    /// one is to be made.
    fn plan(
        &self,
        context: &Context,
        store: Option<&Store>,
        backup: &Store,
    ) -> Outcome<(RestorePlan, BTreeSet<KeyId>)> {
        let progress = Progress::new("proving", backup.count()?);
        let plan = match store {
            Some(store) => store.plan_restore(backup, || progress.step()),
            None => backup.plan_whole(|| progress.step()),
        };
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
        if store.is_none() {
            output.warn(
                "a new store doesn't know which keys were destroyed since the backup was made: they \
                 come back",
            );
        }
        let into = if store.is_none() { "new store" } else { "store" };
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
        "newer": ids(&plan.newer),
        "present": ids(&plan.present),
        "revived": ids(&plan.revive),
        "refused": ids(refused),
        "masters": ids(&plan.masters),
    })
}

fn text(plan: &RestorePlan, refused: &BTreeSet<KeyId>) -> String {
    format!(
        "{} and {} added, {} brought up to date, {} revived, {} there already, {} refused",
        count(plan.add.len(), "key"),
        count(plan.masters.len(), "master"),
        plan.newer.len(),
        plan.revive.len(),
        plan.present.len(),
        refused.len(),
    )
}

fn names(ids: &BTreeSet<KeyId>) -> String {
    let ids: Vec<_> = ids.iter().map(KeyId::as_str).collect();
    ids.join(", ")
}
