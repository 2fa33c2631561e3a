//! The service as a node has it: started by the framework, asked through its client, over a backend
//! that does what a test tells it – also what no backend should do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]
#![allow(
    unreachable_pub,
    reason = "nothing of a test is reachable; `pub` says what is for other files"
)]

/// Asserts that a result is an error of this shape.
macro_rules! assert_refused {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {
        match $result {
            Err($pattern) $(if $guard)? => {}
            other => panic!("{other:?}"),
        }
    };
}

mod drop;
mod errors;
mod failures;
mod isolation;
mod limits;
mod machine;
mod messages;
mod nodes;
mod operations;
mod redaction;
mod sections;
mod settings;
mod signing;
mod startup;
mod states;
mod stop;
mod support;
