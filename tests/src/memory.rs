//! Looking for secrets in the memory of another process, and in text.

mod needles;
mod process;
mod search;

pub use needles::{Needle, needles, needles_of_key};
pub use process::{Area, Found, Reading};
pub use search::Search;

/// The store of `key-holder` that a key file opens, and that it imports keys into.
pub const KEY_FILE_STORE: &str = "by-key-file";
