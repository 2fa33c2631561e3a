//! Where a passphrase is, and reading it there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::command::CommandError;
use crate::prompt::PromptError;
use crate::source::SourceError;
use crate::{SecretBytes, command, environment, file, prompt};

/// The most bytes that a passphrase may have: 4 KiB.
pub const MAX_PASSPHRASE_BYTES: usize = 4096;

/// A place to get a passphrase from. It says where the passphrase is and never holds it, so it may be
/// cloned, printed and kept.
///
/// In settings: `{ file: PATH }`, with an optional `group_readable: true`; `{ env: NAME }`;
/// `{ prompt: true }`; or `{ command: [PROGRAM, ARGUMENT…] }`, with an optional `timeout` such as
/// `30s` (10 s if left out, an hour at most).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassphraseSource {
    /// A file, with the checks of [`SecretSource::File`](crate::SecretSource::File).
    File {
        /// The file's path. Symbolic links are followed; the checks are made on what was opened.
        path: PathBuf,
        /// Whether the file's group may read it, as Kubernetes mounts with an `fsGroup` need.
        group_readable: bool,
    },
    /// An environment variable that [`environment::take`] keeps shielded.
    Env {
        /// The variable's name.
        name: String,
    },
    /// Whoever sits at the process's terminal; see [`prompt`].
    Prompt,
    /// What a program prints. It runs without a shell and without input; its standard error is this
    /// process's. It can't ask on the terminal, because it is no foreground process there.
    Command {
        /// The program: a path if there is a slash in it, else a name to be found in `PATH`.
        program: PathBuf,
        /// Its arguments. Other users can see them while it runs: no place for secrets.
        args: Vec<String>,
        /// How long it may take. After that it is killed, with all that it started (but for what
        /// has moved to another process group).
        timeout: Duration,
    },
}

/// Why a passphrase could not be read. No variant holds any part of it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// The file or environment variable can't be read.
    #[error("the passphrase can't be read")]
    Source(#[source] SourceError),
    /// Nobody could be asked, or nobody answered well.
    #[error("the passphrase could not be asked for")]
    Prompt(#[source] PromptError),
    /// The program failed.
    #[error("the passphrase's program gave none")]
    Command(#[source] CommandError),
    /// Nothing there but, at most, a newline.
    #[error("{place} has no passphrase: it is empty")]
    Empty {
        /// Which file, variable or program.
        place: String,
    },
    /// More than [`MAX_PASSPHRASE_BYTES`], not counting a newline at the end.
    #[error("{place} has no passphrase: more than {MAX_PASSPHRASE_BYTES} bytes")]
    TooLong {
        /// Which file, variable or program.
        place: String,
    },
}

impl PassphraseSource {
    /// The same source with a relative path, of a file or of a program, taken from `base` on. A
    /// program without a slash stays a name to be found in `PATH`.
    #[must_use]
    pub fn relative_to(self, base: &Path) -> Self {
        match self {
            Self::File { path, group_readable } => {
                Self::File { path: base.join(path), group_readable }
            }
            Self::Command { program, args, timeout } if is_path(&program) => {
                Self::Command { program: base.join(program), args, timeout }
            }
            Self::Env { .. } | Self::Prompt | Self::Command { .. } => self,
        }
    }

    /// The environment variable that this source reads, if it reads one.
    #[must_use]
    pub fn env_name(&self) -> Option<&str> {
        match self {
            Self::Env { name } => Some(name),
            Self::File { .. } | Self::Prompt | Self::Command { .. } => None,
        }
    }

    /// Gets the passphrase: 1 to [`MAX_PASSPHRASE_BYTES`] bytes of any value. One newline at the end
    /// (LF or CRLF) is dropped. Every buffer on the way is wiped. Blocks: on file I/O, until there is
    /// an answer at the terminal, or until the program has ended.
    ///
    /// # Errors
    /// [`PassphraseError`], which names the source and never shows its content.
    pub fn read(&self) -> Result<SecretBytes, PassphraseError> {
        let text = match self {
            Self::File { path, group_readable } => {
                file::read(path, *group_readable).map_err(|error| self.unread(error))?
            }
            Self::Env { name } => environment::read(name).map_err(|error| self.unread(error))?,
            // What was typed had its end where the newline was.
            Self::Prompt => {
                return prompt::passphrase("Passphrase: ").map_err(PassphraseError::Prompt);
            }
            Self::Command { program, args, timeout } => {
                let limit = MAX_PASSPHRASE_BYTES + "\r\n".len();
                match command::read(program, args, limit, *timeout) {
                    Err(CommandError::TooLarge { .. }) => return Err(self.too_long()),
                    text => text.map_err(PassphraseError::Command)?,
                }
            }
        };
        let passphrase = without_newline(text);
        match passphrase.len() {
            0 => Err(PassphraseError::Empty { place: self.to_string() }),
            1..=MAX_PASSPHRASE_BYTES => Ok(passphrase),
            _ => Err(self.too_long()),
        }
    }

    /// Too little and too much are said of every source in the same words.
    fn unread(&self, error: SourceError) -> PassphraseError {
        match error {
            SourceError::Empty { place } => PassphraseError::Empty { place },
            SourceError::TooLarge { .. } => self.too_long(),
            other => PassphraseError::Source(other),
        }
    }

    fn too_long(&self) -> PassphraseError {
        PassphraseError::TooLong { place: self.to_string() }
    }
}

/// A command is shown by its program alone.
impl fmt::Display for PassphraseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "file {}", path.display()),
            Self::Env { name } => write!(f, "environment variable {name}"),
            Self::Prompt => f.write_str("the terminal"),
            Self::Command { program, .. } => write!(f, "program {}", program.display()),
        }
    }
}

fn is_path(program: &Path) -> bool {
    program.as_os_str().as_encoded_bytes().contains(&b'/')
}

fn without_newline(mut text: SecretBytes) -> SecretBytes {
    let line = text.expose().strip_suffix(b"\n");
    if let Some(len) = line.map(|line| line.strip_suffix(b"\r").unwrap_or(line).len()) {
        text.set_len(len);
    }
    text
}
