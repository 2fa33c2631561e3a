mod service;

use overwatch::derive_services;
use service::Kms;

#[derive_services]
struct App {
    kms: Kms,
    other_kms: Kms,
}

fn main() {}
