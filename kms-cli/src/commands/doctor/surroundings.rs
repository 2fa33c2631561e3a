//! What can be seen without opening the store: its file, folder and lock, the disk, the process's limits.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kms_backend::ErrorChain;
use kms_backend_keystore::{Holder, holder};
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{Resource, geteuid, getrlimit};

use super::Finding;

/// A change of the store may need as much as the store has, and a new database begins with a mebibyte.
const LEAST_FREE_BYTES: u64 = 16 << 20;

/// Less than this can't keep even the store's keys from being swapped out.
const LEAST_LOCKED_BYTES: u64 = 64 << 10;

/// What a file is called while it is made.
const UNFINISHED: &str = ".unfinished-";

pub(super) fn check(path: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    file(path, &mut findings);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    findings.push(self::folder(folder));
    findings.push(lock(path));
    findings.extend(unfinished(path, folder));
    findings.extend(disk(path, folder));
    findings.push(locked_memory());
    findings
}

fn file(path: &Path, findings: &mut Vec<Finding>) {
    const CHECK: &str = "file";
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let advice = "is the right disk mounted? kms init makes a new store";
            let found = format!("{} does not exist", path.display());
            findings.push(Finding::problem(CHECK, found, advice));
            return;
        }
        Err(error) => {
            let found = format!("{} can't be looked at: {error}", path.display());
            findings.push(Finding::problem(CHECK, found, "check the modes of its folders"));
            return;
        }
    };
    if !metadata.is_file() {
        let found = format!("{} is no regular file", path.display());
        findings.push(Finding::problem(CHECK, found, "name the store's file with --store"));
        return;
    }
    findings.push(Finding::ok(CHECK, format!("{}, {} bytes", path.display(), metadata.len())));
    let (owner, user) = (metadata.uid(), geteuid().as_raw());
    findings.push(if owner == user {
        Finding::ok("owner", format!("user {owner}, who runs this"))
    } else {
        let found = format!("user {owner}; this runs as user {user}");
        Finding::warning("owner", found, "run nodes and kms as the store's owner")
    });
    let mode = metadata.mode() & 0o7777;
    findings.push(if mode & 0o077 == 0 {
        Finding::ok("mode", format!("{mode:04o}"))
    } else {
        let advice = format!("chmod 600 {}", path.display());
        Finding::problem("mode", format!("{mode:04o} lets others in"), advice)
    });
}

fn folder(folder: &Path) -> Finding {
    const CHECK: &str = "folder";
    const STICKY: u32 = 0o1000;
    match fs::metadata(folder) {
        Ok(metadata) => {
            let mode = metadata.mode() & 0o7777;
            let found = format!("{}, mode {mode:04o}", folder.display());
            if mode & 0o022 == 0 || mode & STICKY != 0 {
                Finding::ok(CHECK, found)
            } else {
                let advice =
                    format!("others can replace the store: chmod go-w {}", folder.display());
                Finding::problem(CHECK, found, advice)
            }
        }
        Err(error) => {
            let found = format!("{} can't be looked at: {error}", folder.display());
            Finding::problem(CHECK, found, "is the right disk mounted?")
        }
    }
}

fn lock(path: &Path) -> Finding {
    const CHECK: &str = "lock";
    match holder(path) {
        Ok(Holder::Nobody) => Finding::ok(CHECK, "nobody has the store open for writing"),
        Ok(Holder::Process(pid)) => {
            let process = pid.map_or("a process".into(), |pid| format!("process {pid}"));
            Finding::ok(CHECK, format!("{process} has the store open; kms can read it meanwhile"))
        }
        Err(error) => {
            let found = ErrorChain(&error).to_string();
            Finding::problem(CHECK, found, "check the mode and owner of the lock file")
        }
    }
}

/// Files beside the store that somebody began to write and did not finish.
fn unfinished(path: &Path, folder: &Path) -> Option<Finding> {
    let begin = format!("{}{UNFINISHED}", path.file_name()?.to_string_lossy());
    let entries = fs::read_dir(folder).ok()?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut left: Vec<_> = names.filter(|name| name.starts_with(&begin)).collect();
    left.sort();
    if left.is_empty() {
        return None;
    }
    let found = format!("left over: {}", left.join(", "));
    let advice = "a process was killed while it wrote; delete them when no kms runs";
    Some(Finding::warning("unfinished files", found, advice))
}

fn disk(path: &Path, folder: &Path) -> Option<Finding> {
    const CHECK: &str = "disk";
    let disk = statvfs(folder).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let needed = fs::metadata(path).map_or(0, |metadata| metadata.len().saturating_mul(2));
    let found = format!("{} MiB free", free >> 20);
    Some(if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        Finding::warning(CHECK, "mounted for reading alone", "keys can be read, and not changed")
    } else if free < needed.max(LEAST_FREE_BYTES) {
        Finding::warning(CHECK, found, "make room: the store can't be changed on a full disk")
    } else {
        Finding::ok(CHECK, found)
    })
}

fn locked_memory() -> Finding {
    const CHECK: &str = "memory lock";
    match getrlimit(Resource::Memlock).current {
        None => Finding::ok(CHECK, "no limit"),
        Some(bytes) if bytes >= LEAST_LOCKED_BYTES => {
            Finding::ok(CHECK, format!("up to {} KiB", bytes >> 10))
        }
        Some(bytes) => Finding::warning(
            CHECK,
            format!("up to {bytes} bytes"),
            "raise it (LimitMEMLOCK= or ulimit -l) so that secrets need not be swapped out",
        ),
    }
}
