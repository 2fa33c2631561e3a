//! The soak runs, for a few seconds here.

use std::path::Path;
use std::process::Command;

#[test]
fn a_few_seconds() {
    let mut soak = Command::new(env!("CARGO_BIN_EXE_soak"));
    soak.args(["--minutes", "0.08", "--seed", "1"]);
    // A disk that others keep busy for seconds is for the long run.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        soak.env("TMPDIR", memory);
    }
    let soak = soak.output().unwrap();
    let report = String::from_utf8_lossy(&soak.stdout);
    assert!(soak.status.success(), "{report}{}", String::from_utf8_lossy(&soak.stderr));
    assert!(report.contains("GOOD"), "{report}");
}
