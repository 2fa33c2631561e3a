//! Where a node can't show itself, it does not start.

use std::net::TcpListener;

use crate::section;
use crate::support::{Folder, GOOD};

fn folder(listen: &str) -> Folder {
    let folder = Folder::good();
    folder.settings(&format!("{GOOD}{}", section(listen)));
    folder
}

#[test]
fn addresses_that_others_reach() {
    for listen in ["0.0.0.0:9464", "192.0.2.1:9464", "[::]:9464", "[::ffff:127.0.0.1]:9464"] {
        folder(listen).refused().expect(78, &[("observe.listen", "is no loopback address")]);
    }
}

#[test]
fn what_is_no_address() {
    for listen in ["9464", "localhost", "127.0.0.1", "127.0.0.1:99999", ""] {
        let refused = folder(listen).refused();
        assert_eq!(refused.code, 78);
        assert!(refused.text.contains("expected an address with its port"), "{}", refused.text);
    }
    let folder = Folder::good();
    for observe in ["observe: {}\n", "observe: { listen: \"127.0.0.1:1\", path: /x }\n"] {
        folder.settings(&format!("{GOOD}{observe}"));
        assert_eq!(folder.refused().code, 78);
    }
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = folder(&address).refused();
    let cause = format!("can't listen on {address} (`observe.listen`): Address already in use");
    refused.expect(69, &[("", &cause)]);
}
