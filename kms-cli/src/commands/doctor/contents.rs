//! What is in the store.

use kms_backend::ErrorChain;
use kms_backend_keystore::{Store, StoreError, StoredState, UnlockerKind};
use kms_backends::AnyUnlock;

use super::Finding;
use crate::commands::unlocker::takes;
use crate::open::Context;
use crate::progress::Progress;
use crate::view::{self, count};

/// How many names are shown at most.
const MOST_NAMES: usize = 5;

pub(super) fn check(context: &Context, findings: &mut Vec<Finding>) {
    const CHECK: &str = "opening";
    let store = match context.reader() {
        Ok(store) => store,
        Err(failure) => {
            let advice = "nothing in it was checked; restore a backup if it is damaged";
            findings.push(Finding::problem(CHECK, failure.to_string(), advice));
            return;
        }
    };
    findings.push(Finding::ok(CHECK, "the header is whole, and no record is missing or replaced"));
    findings.extend(store.unlockers().iter().map(|unlocker| {
        let found = format!("{}: {}", unlocker.name, takes(&unlocker.kind));
        match &unlocker.kind {
            // What is weaker than it should be is refused when the store is opened.
            UnlockerKind::Passphrase(_) | UnlockerKind::KeyFile {} => {
                Finding::ok("unlocker", found)
            }
            UnlockerKind::External { provider, .. }
                if AnyUnlock::PROVIDERS.contains(&&**provider) =>
            {
                Finding::ok("unlocker", found)
            }
            _ => Finding::warning("unlocker", found, "this kms can't use it"),
        }
    }));
    if !store.unlockers().iter().any(|unlocker| unlocker.kind.is_local()) {
        let found = "no passphrase or key file opens the store";
        let advice = "it is lost with what others have of it: kms unlocker add adds another way";
        findings.push(Finding::warning("unlockers", found, advice));
    }
    if let Err(error) = secrets(&store, findings) {
        let found = ErrorChain(&error).to_string();
        findings.push(Finding::problem("secrets", found, "restore a backup"));
    }
    match pending(&store) {
        Ok(finding) => findings.extend(finding),
        Err(error) => {
            let found = ErrorChain(&error).to_string();
            findings.push(Finding::problem("deletions", found, "restore a backup"));
        }
    }
}

fn secrets(store: &Store, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    const CHECK: &str = "secrets";
    let progress = Progress::new("verifying", store.count()?);
    let verified = store.verify(|| progress.step())?;
    findings.extend(verified.problems.iter().map(|problem| {
        Finding::problem(CHECK, ErrorChain(problem).to_string(), "restore a backup")
    }));
    if verified.problems.is_empty() {
        let (versions, keys) = (count(verified.versions, "version"), count(verified.keys, "key"));
        let masters = count(verified.masters, "master");
        findings.push(Finding::ok(CHECK, format!("{versions} of {keys} proved, {masters} opened")));
    }
    Ok(())
}

/// The keys whose deletion is scheduled, the first of them by name.
fn pending(store: &Store) -> Result<Option<Finding>, StoreError> {
    const PAGE: usize = 1000;
    let (mut names, mut number, mut after) = (Vec::new(), 0, None);
    loop {
        let page = store.page(after.as_ref(), PAGE)?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|key| key.id.clone());
        for key in page {
            if let StoredState::PendingDeletion { not_before } = key.state {
                number += 1;
                if names.len() < MOST_NAMES {
                    names.push(format!("{} (not before {})", key.id, view::time(not_before)));
                }
            }
        }
        if is_last {
            break;
        }
    }
    if number == 0 {
        return Ok(None);
    }
    let more = if number > names.len() { ", …" } else { "" };
    let found = format!("{} scheduled: {}{more}", count(number, "deletion"), names.join(", "));
    let advice = "kms destroy ends them, kms cancel-delete takes them back";
    Ok(Some(Finding::warning("deletions", found, advice)))
}
