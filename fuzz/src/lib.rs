//! What must hold of each decoder, whatever bytes it is given.
//!
//! A function per decoder. It panics if the decoder breaks a promise – more than by panicking: what
//! is read must be what is written again – and says whether the bytes were accepted. Who fuzzes calls
//! them (`cargo-fuzz/`), and so do the tests, with every file under `corpus/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a promise that is broken fails the test"
)]

mod documents;
mod eip2335;
mod settings;
mod store;
mod text;

pub use documents::{encrypted_pkcs8, pkcs8, public_key};
pub use eip2335::eip2335;
pub use settings::settings;
pub use store::{header, master, record};
pub use text::{key_id, mnemonic, path, secret_text};

/// One decoder under test: says whether it accepted the bytes.
pub type Target = fn(&[u8]) -> bool;

/// Every target by its name, which is also the name of its folder under `corpus/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("eip2335", eip2335),
    ("encrypted_pkcs8", encrypted_pkcs8),
    ("header", header),
    ("key_id", key_id),
    ("master", master),
    ("mnemonic", mnemonic),
    ("path", path),
    ("pkcs8", pkcs8),
    ("public_key", public_key),
    ("record", record),
    ("secret_text", secret_text),
    ("settings", settings),
];
