//! What is shown: one answer on standard output, for people or as one JSON object, and whatever else
//! is to be said on standard error.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;

use anstyle::{AnsiColor, Style};
use kms_secrets::SecretBytes;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();

/// Where a command's answer goes. Colours are for terminals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// The command's one answer: `object` for programs, `text` for people.
    pub(crate) fn answer(self, object: &Value, text: impl Display) -> Outcome {
        let mut out = anstream::stdout().lock();
        let text = text.to_string();
        let written = match (self.json, text.trim_end()) {
            (true, _) => writeln!(out, "{object}"),
            (false, "") => Ok(()),
            (false, text) => writeln!(out, "{text}"),
        };
        heard(written.and_then(|()| out.flush()))
    }

    /// A secret as it is, past the standard library's buffer, which is never wiped.
    pub(crate) fn secret(self, secret: &SecretBytes) -> Outcome {
        let out = io::stdout().as_fd().try_clone_to_owned();
        out.and_then(|out| File::from(out).write_all(secret.expose())).map_err(unwritten)
    }

    /// Something to be aware of, though all goes well.
    pub(crate) fn warn(self, text: impl Display) {
        let line = if self.json {
            json!({ "warning": text.to_string() }).to_string()
        } else {
            format!("{YELLOW}kms: warning:{YELLOW:#} {text}")
        };
        // Nobody is left to be told that nobody can be told.
        drop(writeln!(anstream::stderr(), "{line}"));
    }

    /// Why there is no success.
    pub(crate) fn failed(self, failure: &Failure) {
        let line = if self.json {
            json!({ "error": failure.to_string(), "code": failure.code as u8 }).to_string()
        } else {
            format!("{RED}kms:{RED:#} {failure}")
        };
        drop(writeln!(anstream::stderr(), "{line}"));
    }
}

/// Whoever closed the pipe has read what they wanted.
fn heard(written: io::Result<()>) -> Outcome {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(unwritten(error)),
        _ => Ok(()),
    }
}

fn unwritten(error: io::Error) -> Failure {
    Failure::from(error).of("standard output can't be written")
}
