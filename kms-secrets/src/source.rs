//! Where a secret is, as settings say it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::decode::{DecodeError, DecodedSecret, Encoding};
use crate::{SecretBytes, ShieldError, environment, file, looks_like_secret};

/// The most bytes that a secret file or environment variable may have: 64 KiB.
pub const MAX_SOURCE_BYTES: usize = 64 * 1024;

/// A place to read a secret from. It says where the secret is and never holds it, so it may be
/// cloned, printed and kept.
///
/// In settings: `{ file: PATH }` or `{ env: NAME }`, each with an optional `encoding` (`hex`,
/// `base64`, `pem`, `raw`; left out, PEM if the text looks like PEM, else hex), a file also with
/// `group_readable: true`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file: regular, at most [`MAX_SOURCE_BYTES`] long, owned by this user or root, closed to
    /// others.
    File {
        /// The file's path. Symbolic links are followed; the checks are made on what was opened.
        path: PathBuf,
        /// How the secret is written in it; `None` for PEM or hex, whichever it looks like.
        encoding: Option<Encoding>,
        /// Whether the file's group may read it, as Kubernetes mounts with an `fsGroup` need.
        group_readable: bool,
    },
    /// An environment variable that [`environment::take`] keeps shielded.
    Env {
        /// The variable's name.
        name: String,
        /// How the secret is written in it; `None` for PEM or hex, whichever it looks like.
        encoding: Option<Encoding>,
    },
}

/// Why a secret could not be read from its source. No variant holds any part of the secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There is no such file.
    #[error("file {} does not exist", path.display())]
    Missing {
        /// The file's path.
        path: PathBuf,
    },
    /// The file is there and can't be opened or read.
    #[error("file {} can't be read", path.display())]
    Unreadable {
        /// The file's path.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Not a regular file.
    #[error("{} is {found}, expected a regular file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The file belongs to somebody else.
    #[error(
        "file {} belongs to user {owner}, expected this process's user ({user}) or root",
        path.display()
    )]
    Owner {
        /// The file's path.
        path: PathBuf,
        /// The numeric id of the file's owner.
        owner: u32,
        /// The numeric id of this process's effective user.
        user: u32,
    },
    /// Others than owner and group have access to the file.
    #[error(
        "file {} is open to others (mode {mode:04o}), expected 0600 or stricter: chmod 600",
        path.display()
    )]
    OpenToOthers {
        /// The file's path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file's group may write it, or may read it and the source doesn't say
    /// `group_readable: true`.
    #[error(
        "file {} is open to its group (mode {mode:04o}), expected 0600 or stricter: chmod 600 – or \
         0640 with `group_readable: true`, if that is meant",
        path.display()
    )]
    OpenToGroup {
        /// The file's path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody wrote to the file while it was read.
    #[error("file {} grew while it was read", path.display())]
    Changed {
        /// The file's path.
        path: PathBuf,
    },
    /// More than [`MAX_SOURCE_BYTES`].
    #[error("{place} is larger than {MAX_SOURCE_BYTES} bytes")]
    TooLarge {
        /// Which file or variable.
        place: String,
    },
    /// What was taken from the environment was damaged in memory.
    #[error("{place} can't be opened again")]
    Shield {
        /// Which variable.
        place: String,
        /// What happened.
        #[source]
        cause: ShieldError,
    },
    /// Nothing in it.
    #[error("{place} is empty")]
    Empty {
        /// Which file or variable.
        place: String,
    },
    /// The environment variable was not set when the process started.
    #[error("environment variable {name} is not set")]
    Unset {
        /// The variable's name.
        name: String,
    },
    /// The environment variable is set, but the program didn't move it into wiped memory.
    #[error(
        "environment variable {name} is set, but was not taken out of the environment at the \
         start of the program"
    )]
    NotTaken {
        /// The variable's name.
        name: String,
    },
    /// What was read isn't what the encoding says.
    #[error("{place} is not well encoded")]
    Decode {
        /// Which file or variable.
        place: String,
        /// What is wrong with the text.
        #[source]
        cause: DecodeError,
    },
}

impl SecretSource {
    /// The same source with a relative file path taken from `base` on.
    #[must_use]
    pub fn relative_to(self, base: &Path) -> Self {
        match self {
            Self::File { path, encoding, group_readable } => {
                Self::File { path: base.join(path), encoding, group_readable }
            }
            Self::Env { .. } => self,
        }
    }

    /// The environment variable that this source reads, if it reads one.
    #[must_use]
    pub fn env_name(&self) -> Option<&str> {
        match self {
            Self::File { .. } => None,
            Self::Env { name, .. } => Some(name),
        }
    }

    /// Reads and decodes the secret. Every buffer on the way is wiped. Blocks on file I/O.
    ///
    /// # Errors
    /// [`SourceError`], which names the source and never shows its content.
    pub fn read(&self) -> Result<DecodedSecret, SourceError> {
        let (text, encoding) = match self {
            Self::File { path, encoding, group_readable } => {
                (file::read(path, *group_readable)?, encoding)
            }
            Self::Env { name, encoding } => (environment::read(name)?, encoding),
        };
        encoding
            .unwrap_or_else(|| Encoding::guess(text.expose()))
            .decode(text.expose())
            .map_err(|cause| SourceError::Decode { place: self.to_string(), cause })
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "file {}", path.display()),
            Self::Env { name, .. } => write!(f, "environment variable {name}"),
        }
    }
}

/// By hand, because a derived error message would show the text of a secret that somebody wrote
/// where its place belongs.
impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the place of a secret, { file: PATH } or { env: NAME }")
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::custom(
            "found text (not shown), expected the place of a secret, { file: PATH } or \
             { env: NAME }; secrets don't belong in settings",
        ))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let fields = SourceFields::deserialize(MapAccessDeserializer::new(map))?;
        let place = fields.file.as_deref().and_then(Path::to_str).or(fields.env.as_deref());
        if place.is_some_and(looks_like_secret) {
            return Err(A::Error::custom(
                "found what looks like a secret (not shown), expected where it is; secrets don't \
                 belong in settings",
            ));
        }
        match (fields.file, fields.env) {
            (Some(path), None) => Ok(SecretSource::File {
                path,
                encoding: fields.encoding,
                group_readable: fields.group_readable.unwrap_or(false),
            }),
            (None, Some(_)) if fields.group_readable.is_some() => {
                Err(A::Error::custom("`group_readable` goes with `file`, not with `env`"))
            }
            (None, Some(name)) if !is_variable_name(&name) => Err(A::Error::custom(
                "`env` is no name of an environment variable: letters, digits and underscores, and \
                 no digit first",
            )),
            (None, Some(name)) => Ok(SecretSource::Env { name, encoding: fields.encoding }),
            (Some(_), Some(_)) => Err(A::Error::custom("both `file` and `env`, expected one")),
            (None, None) => Err(A::Error::custom("neither `file` nor `env`, expected one")),
        }
    }
}

/// The names that shells can set (POSIX, section 3.216).
pub(crate) fn is_variable_name(name: &str) -> bool {
    let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
    !name.is_empty()
        && name.bytes().all(is_letter)
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceFields {
    file: Option<PathBuf>,
    env: Option<String>,
    encoding: Option<Encoding>,
    group_readable: Option<bool>,
}

pub(crate) fn refuse_empty(
    secret: SecretBytes,
    place: impl FnOnce() -> String,
) -> Result<SecretBytes, SourceError> {
    if secret.is_empty() { Err(SourceError::Empty { place: place() }) } else { Ok(secret) }
}
