mod service;

use service::Kms;

#[derive(overwatch::Services)]
struct App {
    kms: Kms,
}

fn main() {}
