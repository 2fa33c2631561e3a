//! The `derive_services` macro of the node framework.
//!
//! Use it through the crate `overwatch`, which the code it generates names.

mod expand;
mod generics;
mod node;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a node of a struct whose fields are services.
///
/// ```text
/// #[derive_services]
/// struct App {
///     kms: Kms,
///     wallet: Wallet<RuntimeServiceId>,
/// }
/// ```
///
/// Every field becomes the handle that runs the service. Beside the struct it generates
///
/// - `RuntimeServiceId`, an enum with a variant per field (`Kms`, `Wallet`) that prints as, and
///   parses from, the variant's name;
/// - `AppServiceSettings`, a struct with the settings of every service, which must be `Clone` and
///   `Debug`;
/// - the implementation of `overwatch::overwatch::Services` for the struct.
///
/// Generics of the struct and attributes of its fields are kept; a field under `#[cfg]` exists in
/// none of these unless the `cfg` holds. No two fields may have the same service type.
#[proc_macro_attribute]
pub fn derive_services(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let input = parse_macro_input!(item as DeriveInput);
    node::with_runner_handles(arguments.into(), input)
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}

/// The second half of [`macro@derive_services`], which puts it on the struct it makes.
///
/// The fields' types are `OpaqueServiceRunnerHandle<Service, RuntimeServiceId>`. It is a derive so
/// that it sees the fields that are left when every `#[cfg]` has been looked at.
#[proc_macro_derive(Services)]
pub fn services(item: TokenStream) -> TokenStream {
    let input = parse_macro_input!(item as DeriveInput);
    node::Node::parse(input)
        .map(|node| expand::expand(&node))
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
