//! Ports to listen on.

use std::net::TcpListener;

/// A loopback port that nobody listens on. Somebody else may take it before its user does.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    listener.local_addr().expect("its address").port()
}
