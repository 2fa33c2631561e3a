//! Whole-node tests, and what they share: nodes with secrets of their own, made from settings as an
//! operator writes them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

mod audited;
mod folder;
pub mod memory;
mod node;
mod small_disk;
pub mod store_secrets;
mod stores;

pub use audited::AuditedNode;
pub use folder::{Folder, SETTINGS};
pub use kms_peers::{paired, paired_but, write_secret};
pub use node::{id, kms_of, message, slots, start, start_kms, stop_kms, verify};
pub use small_disk::SmallDisk;
pub use stores::{key_file, open_store, proved};
