//! Asking before something is done that can't be taken back.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};

use kms_secrets::prompt::{self, PromptError};

use crate::failure::{Failure, Outcome};

/// The process's terminal, whatever its input and output are connected to.
const TERMINAL: &str = "/dev/tty";

/// Who is to say yes: `--yes` did already, or whoever sits at the terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confirm {
    yes: bool,
}

impl Confirm {
    pub(crate) fn new(yes: bool) -> Self {
        Self { yes }
    }

    /// Whether there is somebody to be asked. To be called before anything is touched.
    pub(crate) fn check(self) -> Outcome {
        if self.yes || terminal().is_ok() { Ok(()) } else { Err(nobody()) }
    }

    /// Goes on only with a yes to `question`.
    pub(crate) fn ask(self, question: &str) -> Outcome {
        if self.yes {
            return Ok(());
        }
        match prompt::confirm(&format!("{question}\nType yes to go on: ")) {
            Ok(true) => Ok(()),
            Ok(false) => Err(declined()),
            Err(PromptError::NoTerminal(_)) => Err(nobody()),
            Err(error) => Err(error.into()),
        }
    }

    /// Goes on only if `name`, which `question` asks for, is typed.
    pub(crate) fn ask_for(self, question: &str, name: &str) -> Outcome {
        if self.yes {
            return Ok(());
        }
        let mut terminal = terminal().map_err(|_| nobody())?;
        write!(terminal, "{question}\nType {name} to go on: ")?;
        let mut answer = String::new();
        BufReader::new(terminal).read_line(&mut answer)?;
        if answer.trim() == name { Ok(()) } else { Err(declined()) }
    }
}

fn terminal() -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(TERMINAL)
}

fn declined() -> Failure {
    Failure::usage("not confirmed; nothing was changed")
}

fn nobody() -> Failure {
    Failure::usage(
        "this must be confirmed, and there is no terminal to ask on; --yes goes on without asking",
    )
}
