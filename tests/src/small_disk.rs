//! A small file system of a test's own.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A file system in memory, mounted on a folder of its own until it is dropped. Takes root.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// A disk of so many kibibytes.
    #[must_use]
    pub fn new(kib: u32) -> Self {
        let folder = TempDir::new().unwrap();
        run(
            &["mount", "-t", "tmpfs", "-o", &format!("size={kib}k,mode=0700"), "tmpfs"],
            folder.path(),
        );
        Self(folder)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Lets nobody write to it any more.
    pub fn make_read_only(&self) {
        run(&["mount", "-o", "remount,ro"], self.path());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(&["umount", "--lazy"], self.path());
    }
}

fn run(command: &[&str], path: &Path) {
    let status = Command::new(command[0]).args(&command[1..]).arg(path).status().unwrap();
    assert!(status.success(), "{command:?} {}: {status}", path.display());
}
