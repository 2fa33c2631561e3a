use overwatch::derive_services;

#[derive_services(Kms)]
struct App {
    kms: Kms,
}

struct Kms;

fn main() {}
