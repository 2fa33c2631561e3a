use overwatch::derive_services;

#[derive_services]
struct Braces {}

mod unit {
    #[overwatch::derive_services]
    struct Unit;
}

mod all_configured_away {
    #[overwatch::derive_services]
    struct Away {
        #[cfg(any())]
        kms: Kms,
    }
}

fn main() {}
