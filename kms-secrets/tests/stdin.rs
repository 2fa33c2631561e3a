//! A secret on standard input: the program starts itself again and writes to it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check ends the test program")]

use std::io::Write;
use std::process::{Command, Stdio};

use kms_secrets::{MAX_SOURCE_BYTES, stdin};

fn main() {
    if let Ok(limit) = std::env::var("KMS_TEST_LIMIT") {
        child(limit.parse().unwrap());
        return;
    }
    let most = vec![7; MAX_SOURCE_BYTES];
    let more = vec![7; MAX_SOURCE_BYTES + 1];
    for (limit, input, expected) in [
        (6, &b"a\x00b\r\n"[..], "read 5 bytes, sum 218"),
        (5, b"a\x00b\r\n", "read 5 bytes, sum 218"),
        (4, b"a\x00b\r\n", "refused: standard input is larger than 4 bytes"),
        (5, b"", "refused: standard input is empty"),
        (0, b"a", "refused: standard input is larger than 0 bytes"),
        (usize::MAX, &most, "read 65536 bytes, sum 458752"),
        (usize::MAX, &more, "refused: standard input is larger than 65536 bytes"),
    ] {
        assert_eq!(given(limit, input), expected, "limit {limit}");
    }
    println!("standard input is read to its end or refused: ok");
}

fn given(limit: usize, input: &[u8]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env("KMS_TEST_LIMIT", limit.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Twice, so that one reading isn't enough. Who refuses may stop reading before the end.
    let (first, second) = input.split_at(input.len() / 2);
    drop(stdin.write_all(first).and_then(|()| stdin.write_all(second)));
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn child(limit: usize) {
    match stdin::read(limit) {
        Ok(secret) => {
            let sum: usize = secret.expose().iter().copied().map(usize::from).sum();
            print!("read {} bytes, sum {sum}", secret.len());
        }
        Err(error) => print!("refused: {error}"),
    }
}
