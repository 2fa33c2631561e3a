//! Peers that a test which was killed has left running.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// Ends every process of this user that runs, or was started from, something below `folder`.
pub(crate) fn stop(folder: &Path) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let id = process.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(id) = id.and_then(Pid::from_raw) else { continue };
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0).take(2);
        let ours = words.any(|word| word.starts_with(folder.as_os_str().as_encoded_bytes()));
        if ours && kill_process(id, Signal::KILL).is_ok() {
            println!("stopped {}, which a test had left running", id.as_raw_nonzero());
        }
    }
}
