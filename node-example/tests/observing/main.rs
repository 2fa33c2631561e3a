//! What a node shows of itself over HTTP: metrics, health, and whether it is ready.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

mod degraded;
mod pages;
mod refused;
#[path = "../support/mod.rs"]
mod support;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use node_example::settings::SHIPPED;

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The settings' section for an address.
fn section(listen: impl std::fmt::Display) -> String {
    format!("observe: {{ listen: \"{listen}\" }}\n")
}

/// The shipped settings with such a section, whose store is made in `folder`.
fn with_a_store(folder: &Path, listen: SocketAddr) -> String {
    let passphrase = folder.join("passphrase");
    fs::write(&passphrase, "correct horse battery staple\n").unwrap();
    fs::set_permissions(passphrase, Permissions::from_mode(0o600)).unwrap();
    format!("{SHIPPED}{}", section(listen)).replace("node-example-data/", "")
}

/// An address that was free just now.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An answer: its status, its head, and the page.
struct Answer {
    status: u16,
    head: String,
    page: String,
}

/// Asks for a page; `None` while nobody listens.
fn ask(address: SocketAddr, method: &str, path: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, page) = text.split_once("\r\n\r\n").unwrap();
    let status = head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
    Some(Answer { status, head: head.to_lowercase(), page: page.into() })
}

#[track_caller]
fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path).expect("nobody listens")
}
