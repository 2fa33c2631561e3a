//! What becomes of keys: `kms disable`, `enable`, `protect`, `unprotect`, `delete`, `cancel-delete` and
//! `destroy`.

use std::time::Duration;

use clap::Args;
use kms_backend_keystore::{StoredKey, StoredState};
use kms_keys::KeyId;
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::view;

/// The longest that a deletion may be waited for: ten years.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

#[derive(Debug, Args)]
#[command(after_help = "\
A disabled key signs nothing until it is enabled. With --version an older version is retired; the
newest can't be.

Examples:
  kms disable attester/7
  kms disable node/identity --version 1")]
pub(crate) struct Disable {
    /// The key
    id: KeyId,
    /// Retire this older version instead
    #[arg(long, value_name = "N")]
    version: Option<u32>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kms enable attester/7
  kms enable node/identity --version 1")]
pub(crate) struct Enable {
    /// The key
    id: KeyId,
    /// Let this older version sign again instead
    #[arg(long, value_name = "N")]
    version: Option<u32>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
New keys are protected: their deletion can't be scheduled until kms unprotect.

Examples:
  kms protect node/identity")]
pub(crate) struct Protect {
    /// The key
    id: KeyId,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kms unprotect attester/7
  kms --yes unprotect attester/7")]
pub(crate) struct Unprotect {
    /// The key
    id: KeyId,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The key signs nothing from now on. When the waiting time is over, kms destroy destroys it; until
then, kms cancel-delete takes the deletion back.

Examples:
  kms delete attester/7
  kms delete attester/7 --wait 30d")]
pub(crate) struct Delete {
    /// The key
    id: KeyId,
    /// How long to wait, such as 7d or 12h
    #[arg(long, default_value = "7d", value_name = "TIME")]
    wait: humantime::Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The key is disabled then; kms enable lets it sign.

Examples:
  kms cancel-delete attester/7")]
pub(crate) struct CancelDelete {
    /// The key
    id: KeyId,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Every version's secret is destroyed, and the store's file is written anew, without it. Nothing brings
it back but a backup. The name is never given to another key.

Examples:
  kms destroy attester/7
  kms --yes destroy attester/7")]
pub(crate) struct Destroy {
    /// The key
    id: KeyId,
}

impl Disable {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let (store, _) = context.writer()?;
        match self.version {
            None => answer(context, &store.disable(&self.id)?, "is disabled"),
            Some(version) => {
                let key = store.retire(&self.id, version, true)?;
                answer(context, &key, &format!("version {version} is retired"))
            }
        }
    }
}

impl Enable {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let (store, _) = context.writer()?;
        match self.version {
            None => answer(context, &store.enable(&self.id)?, "is active"),
            Some(version) => {
                let key = store.retire(&self.id, version, false)?;
                answer(context, &key, &format!("version {version} is no longer retired"))
            }
        }
    }
}

impl Protect {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let (store, _) = context.writer()?;
        answer(context, &store.protect(&self.id, true)?, "is protected from deletion")
    }
}

impl Unprotect {
    pub(super) fn run(self, context: &Context) -> Outcome {
        context.confirm.check()?;
        let (store, _) = context.writer()?;
        let question = format!("The deletion of {} can be scheduled afterwards.", self.id);
        context.confirm.ask(&question)?;
        answer(context, &store.protect(&self.id, false)?, "is no longer protected from deletion")
    }
}

impl Delete {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let wait: Duration = self.wait.into();
        if wait > LONGEST_WAIT {
            return Err(Failure::usage("--wait: at most ten years"));
        }
        context.confirm.check()?;
        let (store, _) = context.writer()?;
        let (id, wait_text) = (&self.id, self.wait);
        context.confirm.ask(&format!(
            "{id} signs nothing from now on, and can be destroyed in {wait_text}."
        ))?;
        let key = store.schedule_delete(&self.id, wait)?;
        let when = match key.state {
            StoredState::PendingDeletion { not_before } => view::time(not_before),
            _ => return Err(Failure::bug("a key whose deletion is scheduled is in no such state")),
        };
        answer(context, &key, &format!("signs no longer, and can be destroyed from {when} on"))
    }
}

impl CancelDelete {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let (store, _) = context.writer()?;
        let key = store.cancel_delete(&self.id)?;
        answer(context, &key, "is not deleted; it is disabled, and kms enable lets it sign")
    }
}

impl Destroy {
    pub(super) fn run(self, context: &Context) -> Outcome {
        context.confirm.check()?;
        let (mut store, _) = context.writer()?;
        let question = format!("{} is destroyed for good, in all its versions.", self.id);
        context.confirm.ask_for(&question, self.id.as_str())?;
        let key = store.destroy(&self.id)?;
        store.rewrite().map_err(|error| {
            let done = format!(
                "{} is destroyed, but old copies of it may be left in the file, which kms rekey \
                 writes anew",
                self.id
            );
            Failure::from(error).of(done)
        })?;
        answer(context, &key, "is destroyed")
    }
}

fn answer(context: &Context, key: &StoredKey, what: &str) -> Outcome {
    let text = format!("{} {what}", key.id);
    context.output.answer(&json!({ "key": view::key_json(key) }), text)
}
