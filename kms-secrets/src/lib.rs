//! What a secret is: bytes that are wiped, and the places they are read from.
//!
//! - [`SecretBytes`] and [`SecretArray`] hold secret bytes in one allocation and wipe it.
//! - [`Shielded`] holds one as ciphertext, under a key in a page that others find hard to read, and
//!   [`on_wiped_stack`] overwrites the stack, and the wide registers, that a computation with it used.
//! - [`WipingAllocator`] wipes all memory that a program gives back, also that of libraries.
//! - [`SecretSource`] says where a secret is – a file, an environment variable – and reads it,
//!   wiping every buffer on the way. [`PassphraseSource`] does so for a passphrase, which can also
//!   be asked for or come from a program.
//! - [`stdin`] reads one from standard input, past the standard library's buffer.
//! - [`prompt`] asks for a passphrase, or a yes, at the terminal.
//! - [`secret_file`] makes a secret file, whole or not at all.
//! - [`harden_process`] closes the process to others, first thing in `main`.
//! - [`environment`] moves secrets out of the process environment before any thread starts.
//!
//! All `unsafe` code of the workspace is in this crate; each block says why it is sound.
//!
//! What it does not do: keep secrets from whoever may run code in this process, or read its memory
//! while it signs. [`SecretBytes`] and [`SecretArray`] lie in ordinary memory, meant for secrets that
//! are on their way; what stays is [`Shielded`].

#![allow(
    unsafe_code,
    reason = "pages, stacks and the environment are reached through pointers alone"
)]

mod allocator;
mod arena;
mod array;
mod bytes;
mod command;
mod decode;
pub mod environment;
mod file;
mod fill;
mod harden;
mod passphrase;
mod passphrase_settings;
mod pasted;
pub mod prompt;
mod registers;
pub mod secret_file;
mod shield;
mod source;
mod stack;
pub mod stdin;
mod terminal;

pub use allocator::WipingAllocator;
pub use arena::Protection;
pub use array::SecretArray;
pub use bytes::SecretBytes;
pub use command::CommandError;
pub use decode::{DecodeError, DecodedSecret, Encoding};
pub use harden::{Hardened, harden_process};
pub use passphrase::{MAX_PASSPHRASE_BYTES, PassphraseError, PassphraseSource};
pub use pasted::looks_like_secret;
pub use shield::{SMALL_SECRET_BYTES, ShieldError, Shielded, opening_time, protection};
pub use source::{MAX_SOURCE_BYTES, SecretSource, SourceError};
pub use stack::{WIPED_STACK_BYTES, on_wiped_stack, on_wiped_stack_of, wipe_stack};
