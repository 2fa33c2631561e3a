//! The soak runs, for a few seconds here.

use std::process::Command;

#[test]
fn a_few_seconds() {
    let soak = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--minutes", "0.08", "--seed", "1"])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&soak.stdout);
    assert!(soak.status.success(), "{report}{}", String::from_utf8_lossy(&soak.stderr));
    assert!(report.contains("GOOD"), "{report}");
}
