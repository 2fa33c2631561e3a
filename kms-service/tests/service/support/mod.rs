//! What the tests have in common: a backend that follows a script, and a small node around it.

mod asking;
mod backend;
mod node;
mod operators;
mod script;
mod signer;

pub use asking::{give_up, occupy, sent, works};
pub use backend::FakeSettings;
pub use node::{Kms, RuntimeServiceId, TestNode, id, ids, settings, settings_of, within};
pub use operators::{HANGS, OVERFLOWS, PANICS, REFUSES, TestOperators, let_go};
pub use script::{Act, Does, Lie, Script, key_of, secret_of};
