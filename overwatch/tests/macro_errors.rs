//! What `derive_services` says of structs that it cannot make a node of.

#![cfg(feature = "derive")]

#[test]
fn errors_say_what_is_wrong_and_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
