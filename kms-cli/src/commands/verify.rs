//! `kms verify`.

use clap::Args;
use kms_backend::ErrorChain;
use kms_backend_keystore::Store;
use kms_keys::KeyId;
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::progress::Progress;
use crate::view::count;

#[derive(Debug, Args)]
#[command(after_help = "\
Every secret is opened, its public key is derived again, and a signature is made and verified.

Examples:
  kms verify
  kms verify node/identity")]
pub(crate) struct Verify {
    /// One key alone
    id: Option<KeyId>,
}

impl Verify {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let store = context.reader()?;
        match self.id {
            Some(id) => {
                let versions = store.verify_key(&id)?;
                let object = json!({ "id": id.as_str(), "versions": versions, "problems": [] });
                let text = format!("{id} is whole: {} proved", count(versions, "version"));
                context.output.answer(&object, text)
            }
            None => verify_all(context, &store),
        }
    }
}

fn verify_all(context: &Context, store: &Store) -> Outcome {
    let progress = Progress::new("verifying", store.count()?);
    let verified = store.verify(|| progress.step())?;
    drop(progress);
    let chains = verified.problems.iter().map(|problem| ErrorChain(problem).to_string());
    let problems: Vec<_> = chains.collect();
    let object = json!({
        "keys": verified.keys,
        "versions": verified.versions,
        "destroyed": verified.destroyed,
        "masters": verified.masters,
        "problems": problems,
    });
    let text = format!(
        "{} proved in {}; {} opened; {} destroyed{}",
        count(verified.versions, "version"),
        count(verified.keys, "key"),
        count(verified.masters, "master"),
        count(verified.destroyed, "version"),
        problems.iter().map(|problem| format!("\n{problem}")).collect::<String>(),
    );
    context.output.answer(&object, text)?;
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Failure::unavailable(format_args!("{} found", count(problems.len(), "problem"))))
    }
}
