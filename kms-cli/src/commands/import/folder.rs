//! Every EIP-2335 keystore in a folder, decrypted on all cores.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use kms_backend_keystore::{Store, StoreError, StoredKey, StoredState};
use kms_keys::{Eip2335Keystore, KeyId, KeyType, SecretKey};
use kms_secrets::{PassphraseSource, SecretBytes};
use serde_json::json;

use super::budget::Budget;
use super::{Import, warn_of_slashing};
use crate::failure::{Failure, Outcome};
use crate::open::Context;
use crate::progress::Progress;
use crate::source;
use crate::view::count;

/// The most memory that all decryptions at one time take: 1 GiB.
const MOST_BYTES: u64 = 1 << 30;

/// What the staking tools put beside the keystores: not encrypted, and no keys.
const DEPOSIT_DATA: &str = "deposit_data-";

/// Where the passwords are.
enum Passwords {
    /// One for all.
    One(SecretBytes),
    /// A file for each.
    Folder(PathBuf),
}

/// What a file holds.
enum Opened {
    Key(Box<SecretKey>),
    /// A key that is in the store already.
    Present,
}

/// What became of the files.
#[derive(Default)]
struct Report {
    imported: Vec<KeyId>,
    skipped: usize,
    failed: Vec<(String, String)>,
}

impl Import {
    pub(super) fn folder(&self, context: &Context, folder: &Path) -> Outcome {
        if self.key_type.is_some_and(|key_type| key_type != KeyType::Bls12381) {
            return Err(Failure::usage("EIP-2335 keystores hold bls12-381 keys"));
        }
        let files = keystores(folder)?;
        let passwords = match &self.passwords_dir {
            Some(folder) => Passwords::Folder(folder.clone()),
            None => Passwords::One(self.passphrase.read(&place(folder))?),
        };
        let (store, _) = context.writer()?;
        warn_of_slashing(context);
        let report = self.import_all(&store, &files, &passwords)?;
        report.answer(context, files.len())
    }

    fn import_all(
        &self,
        store: &Store,
        files: &[PathBuf],
        passwords: &Passwords,
    ) -> Outcome<Report> {
        let mut present = public_keys(store)?;
        let at_first = present.clone();
        let (next, budget) = (AtomicUsize::new(0), Budget::new(MOST_BYTES));
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        let progress = Progress::new("importing", files.len() as u64);
        let mut report = Report::default();
        thread::scope(|scope| {
            let (sender, opened) = sync_channel(cores);
            for _ in 0..cores.min(files.len()) {
                let (sender, next, budget, present) = (sender.clone(), &next, &budget, &at_first);
                scope.spawn(move || open_files(files, passwords, next, budget, present, &sender));
            }
            drop(sender);
            for (file, opened) in opened {
                let kept = opened.and_then(|opened| self.keep(store, opened, &mut present));
                match kept {
                    Ok(Some(id)) => report.imported.push(id),
                    Ok(None) => report.skipped += 1,
                    Err(failure) => {
                        let name = file.file_name().unwrap_or(file.as_os_str());
                        let name = name.to_string_lossy().into_owned();
                        report.failed.push((name, failure.to_string()));
                    }
                }
                progress.step();
            }
        });
        report.imported.sort();
        report.failed.sort();
        Ok(report)
    }

    /// Puts a key into the store, if it is not there.
    fn keep(
        &self,
        store: &Store,
        opened: Opened,
        present: &mut BTreeSet<String>,
    ) -> Outcome<Option<KeyId>> {
        let Opened::Key(secret) = opened else { return Ok(None) };
        let public_key = secret.public_key().to_hex();
        if !present.insert(public_key.clone()) {
            return Ok(None);
        }
        let id = KeyId::new(format!("{}/{public_key}", self.prefix))?;
        match store.versions(&id) {
            Ok(versions) if !versions.iter().any(is_alive) => {
                return Err(StoreError::Destroyed(id).into());
            }
            // A version that is not the newest, which alone were looked at.
            Ok(versions)
                if versions.iter().any(|key| is_alive(key) && key.public_key == public_key) =>
            {
                return Ok(None);
            }
            Ok(_) | Err(StoreError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        store.import(&self.options.new_key(id.clone(), KeyType::Bls12381), &secret)?;
        Ok(Some(id))
    }
}

impl Report {
    fn answer(&self, context: &Context, files: usize) -> Outcome {
        let failed = self.failed.iter();
        let object = json!({
            "imported": self.imported.iter().map(KeyId::as_str).collect::<Vec<_>>(),
            "skipped": self.skipped,
            "failed": failed.map(|(file, error)| json!({ "file": file, "error": error })).collect::<Vec<_>>(),
        });
        let failures: String =
            self.failed.iter().map(|(file, error)| format!("\n{file}: {error}")).collect();
        let text = format!(
            "imported {}; {} there already; {} failed{failures}",
            count(self.imported.len(), "key"),
            self.skipped,
            self.failed.len(),
        );
        context.output.answer(&object, text)?;
        if self.failed.is_empty() {
            return Ok(());
        }
        let (failed, files) = (self.failed.len(), count(files, "keystore"));
        Err(Failure::unavailable(format_args!("{failed} of {files} could not be imported")))
    }
}

/// The files that may be keystores, in the order of their names.
fn keystores(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let unread = |error| Failure::from(error).of(format!("{} can't be read", place(folder)));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        if is_json && !name.starts_with(DEPOSIT_DATA) {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure::unavailable(format_args!("{} has no *.json files", place(folder))));
    }
    Ok(files)
}

fn place(folder: &Path) -> String {
    format!("folder {}", folder.display())
}

/// The public keys of the store's BLS12-381 keys that are not destroyed.
fn public_keys(store: &Store) -> Outcome<BTreeSet<String>> {
    const PAGE: usize = 1000;
    let (mut found, mut after) = (BTreeSet::new(), None);
    loop {
        let page = store.page(after.as_ref(), PAGE)?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|key| key.id.clone());
        let keys = page.into_iter().filter(is_alive);
        found.extend(keys.map(|key| key.public_key));
        if is_last {
            return Ok(found);
        }
    }
}

fn is_alive(key: &StoredKey) -> bool {
    !matches!(key.state, StoredState::Destroyed { .. })
}

/// Opens files until there are no more.
fn open_files<'a>(
    files: &'a [PathBuf],
    passwords: &Passwords,
    next: &AtomicUsize,
    budget: &Budget,
    present: &BTreeSet<String>,
    sender: &SyncSender<(&'a PathBuf, Outcome<Opened>)>,
) {
    while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
        if sender.send((file, open(file, passwords, budget, present))).is_err() {
            return;
        }
    }
}

fn open(
    file: &Path,
    passwords: &Passwords,
    budget: &Budget,
    present: &BTreeSet<String>,
) -> Outcome<Opened> {
    let keystore = Eip2335Keystore::from_json(source::document(file)?.expose())?;
    let claimed = keystore.public_key().map(|key| kms_keys::PublicKey::from(*key).to_hex());
    if claimed.is_some_and(|claimed| present.contains(&claimed)) {
        return Ok(Opened::Present);
    }
    let decrypt = |password: &SecretBytes| {
        let _memory = budget.take(keystore.memory_bytes());
        keystore.decrypt(password.expose())
    };
    let key = match passwords {
        Passwords::One(password) => decrypt(password)?,
        Passwords::Folder(folder) => {
            let mut name = file.file_stem().unwrap_or_default().to_owned();
            name.push(".txt");
            let path = folder.join(name);
            decrypt(&PassphraseSource::File { path, group_readable: false }.read()?)?
        }
    };
    Ok(Opened::Key(Box::new(key.into())))
}
