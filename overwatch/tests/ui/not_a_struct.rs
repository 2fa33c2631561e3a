use overwatch::derive_services;

#[derive_services]
enum App {
    Kms(Kms),
}

struct Kms;

fn main() {}
