//! Asking whoever sits at the terminal.
//!
//! All questions go to the process's controlling terminal (`/dev/tty`), whatever standard input and
//! output are connected to, and one at a time. The terminal is as it was before when an answer, or
//! an error, is handed back – also after Ctrl-C, which is an answer here and not a signal. Only
//! somebody who kills the process from elsewhere meanwhile leaves the echo off (`stty sane`).
//!
//! Everything here blocks until there is an answer.

use std::io;

use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::SecretBytes;
use crate::terminal::{Echo, Terminal};

/// The most bytes that can be typed: of a longer line, terminals drop the rest without a word.
pub(crate) const MAX_TYPED_BYTES: usize = 4094;

/// Why there is no answer. No variant holds any part of what was typed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PromptError {
    /// The process has no terminal: it is a service, or runs in a pipeline of a machine.
    #[error(
        "there is no terminal to ask on: name a `file`, an `env` variable or a `command` to take a \
         passphrase from"
    )]
    NoTerminal(#[source] io::Error),
    /// Ctrl-C, or what else the terminal has for that.
    #[error("interrupted at the terminal")]
    Interrupted,
    /// Ctrl-D on an empty line.
    #[error("nothing was entered at the terminal: the input ended")]
    Closed,
    /// An empty line in place of a passphrase.
    #[error("nothing was entered at the terminal: the line is empty")]
    Empty,
    /// More than a terminal can hold in one line.
    #[error("the line is longer than the {MAX_TYPED_BYTES} bytes that can be typed")]
    TooLong,
    /// A new passphrase was not the same twice.
    #[error("the two passphrases are not the same")]
    Mismatch,
    /// The terminal is there and failed.
    #[error("the terminal can't be {doing}")]
    Terminal {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// Shows `text` and reads a passphrase that is not shown: 1 to 4094 bytes, without the newline. The
/// line can be edited with the keys that the terminal has for it.
///
/// # Errors
/// [`PromptError`]; an empty line is one.
pub fn passphrase(text: &str) -> Result<SecretBytes, PromptError> {
    refuse_empty(Terminal::open()?.set(Echo::Off)?.ask(text)?)
}

/// Like [`passphrase`], and asks a second time, since nobody sees what they type.
///
/// # Errors
/// [`PromptError`]; [`PromptError::Mismatch`] if the second is another one.
pub fn new_passphrase(text: &str) -> Result<SecretBytes, PromptError> {
    let terminal = Terminal::open()?;
    let silent = terminal.set(Echo::Off)?;
    let first = refuse_empty(silent.ask(text)?)?;
    let second = silent.ask("The same again: ")?;
    if bool::from(first.ct_eq(&second)) { Ok(first) } else { Err(PromptError::Mismatch) }
}

/// Shows `text`, which asks for a typed `yes`, and says whether that was the answer. Spaces around it
/// don't count; anything else, an empty line too, is a no.
///
/// # Errors
/// [`PromptError`].
pub fn confirm(text: &str) -> Result<bool, PromptError> {
    let answer = Terminal::open()?.set(Echo::AsItIs)?.ask(text)?;
    Ok(answer.expose().trim_ascii() == b"yes")
}

fn refuse_empty(line: SecretBytes) -> Result<SecretBytes, PromptError> {
    if line.is_empty() { Err(PromptError::Empty) } else { Ok(line) }
}
