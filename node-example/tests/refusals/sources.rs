//! Files and environment variables that no secret can be read from.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{CWD, Mode};

use crate::support::{Folder, KEYS};

const PEER: &str = "node/peer";

/// The good settings with the peer's secret from somewhere else.
fn peer_from(source: &str) -> Folder {
    let folder = Folder::good();
    folder.settings_with("{ file: peer.key }", source);
    folder
}

fn peer_secret() -> &'static str {
    KEYS.iter().find(|key| key.id == PEER).unwrap().secret
}

/// The good settings with the peer's secret file spoilt.
#[track_caller]
fn refused(spoil: impl FnOnce(&Folder), cause: &str) {
    let folder = Folder::good();
    spoil(&folder);
    folder.refused().expect(69, &[(PEER, cause)]);
}

#[test]
fn variable_unset() {
    let refused = peer_from("{ env: PEER_KEY }").refused();
    refused.expect(69, &[(PEER, "environment variable PEER_KEY is not set")]);
}

#[test]
fn variable_empty() {
    let refused = peer_from("{ env: PEER_KEY }").refused_with(&[("PEER_KEY", "")]);
    refused.expect(69, &[(PEER, "environment variable PEER_KEY is empty")]);
}

#[test]
fn variable_badly_encoded() {
    let secret = format!("{}xy", &peer_secret()[..62]);
    let refused = peer_from("{ env: PEER_KEY }").refused_with(&[("PEER_KEY", &secret)]);
    refused.expect(69, &[(PEER, "environment variable PEER_KEY is not well encoded")]);
}

#[test]
fn variable_too_large() {
    let secret = "0".repeat(64 * 1024 + 1);
    let refused = peer_from("{ env: PEER_KEY }").refused_with(&[("PEER_KEY", &secret)]);
    refused.expect(69, &[(PEER, "is larger than 65536 bytes")]);
}

#[test]
fn file_missing() {
    refused(|folder| folder.remove("peer.key"), "peer.key does not exist");
}

#[test]
fn symbolic_link_to_nothing() {
    let spoil = |folder: &Folder| {
        folder.remove("peer.key");
        symlink("nowhere", folder.path("peer.key")).unwrap();
    };
    refused(spoil, "peer.key does not exist");
}

/// Root may read everything, so root tries it as somebody else, with a copy of the program that
/// everybody may run.
#[test]
fn file_that_this_user_may_not_read() {
    let folder = Folder::good();
    folder.mode("peer.key", 0o000);
    let mut command = folder.command();
    if rustix::process::geteuid().is_root() {
        fs::copy(command.get_program(), folder.path("node")).unwrap();
        folder.mode("node", 0o755);
        folder.mode(".", 0o755);
        let nobody = 65_534;
        let mut copy = Command::new(folder.path("node"));
        copy.args(command.get_args()).env_clear().uid(nobody).gid(nobody);
        for key in KEYS.iter().filter(|key| key.id != PEER) {
            chown(folder.path(key.file), Some(nobody), None).unwrap();
        }
        command = copy;
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{errors}");
    assert_eq!(errors.lines().count(), 2, "{errors}");
    assert!(errors.contains("key node/peer: "), "{errors}");
    assert!(errors.contains("peer.key can't be read: Permission denied"), "{errors}");
}

/// This one and the next fail for every user, root too.
#[test]
fn file_below_a_file() {
    let refused = peer_from("{ file: identity.key/peer.key }").refused();
    refused.expect(69, &[(PEER, "identity.key/peer.key can't be read: Not a directory")]);
}

#[test]
fn symbolic_links_in_a_circle() {
    let spoil = |folder: &Folder| {
        folder.remove("peer.key");
        symlink("peer.key", folder.path("peer.key")).unwrap();
    };
    refused(spoil, "peer.key can't be read: ");
}

#[test]
fn file_empty() {
    refused(|folder| folder.secret("peer.key", b""), "peer.key is empty");
}

#[test]
fn file_too_large() {
    let spoil = |folder: &Folder| folder.secret("peer.key", &[b'0'; 64 * 1024 + 1]);
    refused(spoil, "peer.key is larger than 65536 bytes");
}

#[test]
fn largest_file_is_read() {
    let spoil = |folder: &Folder| folder.secret("peer.key", &[b'0'; 64 * 1024]);
    refused(spoil, "expected 32 bytes, got 32768");
}

#[test]
fn open_to_others() {
    for mode in [0o604, 0o602, 0o644, 0o666] {
        let text = format!("peer.key is open to others (mode {mode:04o})");
        refused(|folder| folder.mode("peer.key", mode), &text);
    }
}

#[test]
fn open_to_the_group() {
    for mode in [0o640, 0o620] {
        let text = format!("peer.key is open to its group (mode {mode:04o})");
        refused(|folder| folder.mode("peer.key", mode), &text);
    }
}

#[test]
fn open_to_the_group_if_that_is_meant() {
    let folder = peer_from("{ file: peer.key, group_readable: true }");
    folder.mode("peer.key", 0o640);
    folder.runs_with(&[]);

    folder.mode("peer.key", 0o644);
    folder.refused().expect(69, &[(PEER, "open to others")]);
}

/// What is checked is the file that is opened, not the link to it.
#[test]
fn symbolic_link_to_a_file_that_is_open_to_others() {
    let spoil = |folder: &Folder| {
        fs::rename(folder.path("peer.key"), folder.path("there")).unwrap();
        folder.mode("there", 0o644);
        symlink("there", folder.path("peer.key")).unwrap();
    };
    refused(spoil, "peer.key is open to others");
}

#[test]
fn symbolic_link_to_a_good_file_is_followed() {
    let folder = Folder::good();
    fs::rename(folder.path("peer.key"), folder.path("there")).unwrap();
    symlink("there", folder.path("peer.key")).unwrap();
    folder.runs_with(&[]);
}

#[test]
fn directory() {
    let spoil = |folder: &Folder| {
        folder.remove("peer.key");
        fs::create_dir(folder.path("peer.key")).unwrap();
    };
    refused(spoil, "peer.key is a directory, expected a regular file");
}

/// Refused, and not waited for: nobody writes to it.
#[test]
fn named_pipe() {
    let spoil = |folder: &Folder| {
        folder.remove("peer.key");
        rustix::fs::mkfifoat(CWD, folder.path("peer.key"), Mode::RUSR | Mode::WUSR).unwrap();
    };
    refused(spoil, "peer.key is a named pipe, expected a regular file");
}

#[test]
fn device() {
    let refused = peer_from("{ file: /dev/zero }").refused();
    refused.expect(69, &[(PEER, "/dev/zero is a device, expected a regular file")]);
}

#[test]
fn bad_hexadecimal() {
    let secret = format!("{}g{}", &peer_secret()[..10], &peer_secret()[11..]);
    let spoil = |folder: &Folder| folder.secret("peer.key", secret.as_bytes());
    refused(spoil, "not hexadecimal: character 11 is not one of");
}

#[test]
fn odd_hexadecimal() {
    let spoil = |folder: &Folder| folder.secret("peer.key", &peer_secret().as_bytes()[1..]);
    refused(spoil, "not hexadecimal: an odd number of digits (63)");
}

#[test]
fn bad_base64() {
    let folder = peer_from("{ file: peer.key, encoding: base64 }");
    folder.secret("peer.key", b"TM0Imyj_");
    folder.refused().expect(69, &[(PEER, "not base64")]);
}

#[test]
fn bad_pem() {
    let spoil = |folder: &Folder| folder.secret("peer.key", b"-----BEGIN PRIVATE KEY-----\n");
    refused(spoil, "not PEM");
}
