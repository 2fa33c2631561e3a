use overwatch::derive_services;

#[derive_services]
struct App(Kms);

struct Kms;

fn main() {}
