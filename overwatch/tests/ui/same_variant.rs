mod service;

use overwatch::derive_services;
use service::{Kms, Wallet};

#[derive_services]
struct App {
    key_store: Kms,
    key__store: Wallet,
}

fn main() {}
