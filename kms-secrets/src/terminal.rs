//! The controlling terminal, while something is asked on it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use crate::SecretBytes;
use crate::prompt::{MAX_TYPED_BYTES, PromptError};

/// The longest line that Linux hands out, its newline included (termios(3), canonical mode).
const LINE_BYTES: usize = 4096;

/// One question at a time: a second one would save, and restore, what the first one has set.
static ASKING: Mutex<()> = Mutex::new(());

/// What becomes visible of what is typed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    Off,
    AsItIs,
}

pub(crate) struct Terminal {
    tty: File,
    _turn: MutexGuard<'static, ()>,
}

impl Terminal {
    pub(crate) fn open() -> Result<Self, PromptError> {
        let turn = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
        let tty = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open("/dev/tty")
            .map_err(PromptError::NoTerminal)?;
        Ok(Self { tty, _turn: turn })
    }

    /// Sets the terminal to reading lines until the value is dropped. What has been typed before is
    /// thrown away: it was typed, visibly, for something else.
    pub(crate) fn set(&self, echo: Echo) -> Result<Asking<'_>, PromptError> {
        let failed = |cause: rustix::io::Errno| terminal("set", cause.into());
        let before = tcgetattr(&self.tty).map_err(failed)?;
        let mut during = before.clone();
        during.input_modes.insert(InputModes::ICRNL);
        during.local_modes.insert(LocalModes::ICANON | LocalModes::IEXTEN);
        if echo == Echo::Off {
            during.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        }
        // The signals of Ctrl-C and Ctrl-\ would end the process with the echo off. Both keys end the
        // line in place of that, so that they are seen at once.
        during.local_modes.remove(LocalModes::ISIG);
        let codes = &mut during.special_codes;
        let interrupts = [codes[SpecialCodeIndex::VINTR], codes[SpecialCodeIndex::VQUIT]];
        codes[SpecialCodeIndex::VEOL] = interrupts[0];
        codes[SpecialCodeIndex::VEOL2] = interrupts[1];

        // The guard first: a setting that fails half-way is undone.
        let asking = Asking { tty: &self.tty, before, interrupts, echo };
        tcsetattr(&self.tty, OptionalActions::Flush, &during).map_err(failed)?;
        Ok(asking)
    }
}

/// The terminal, set to reading lines. Dropping it sets it back, and throws away what was typed after
/// the last line: the second line of a pasted secret is no command for the shell.
pub(crate) struct Asking<'a> {
    tty: &'a File,
    before: Termios,
    interrupts: [u8; 2],
    echo: Echo,
}

impl Asking<'_> {
    /// Shows `text` and reads one line, without its newline, into memory that is wiped.
    pub(crate) fn ask(&self, text: &str) -> Result<SecretBytes, PromptError> {
        self.show(text)?;
        let line = self.read_line();
        // The newline that was typed is seen only where it is echoed.
        if self.echo == Echo::Off || line.is_err() {
            self.show("\n")?;
        }
        line
    }

    fn show(&self, text: &str) -> Result<(), PromptError> {
        let mut tty = self.tty;
        tty.write_all(text.as_bytes()).map_err(|cause| terminal("written to", cause))
    }

    fn read_line(&self) -> Result<SecretBytes, PromptError> {
        let mut line = SecretBytes::with_capacity(LINE_BYTES);
        let mut len = 0;
        let mut tty = self.tty;
        while len < LINE_BYTES {
            match tty.read(&mut line.buffer_mut()[len..]) {
                Ok(0) if len == 0 => return Err(PromptError::Closed),
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(cause) => return Err(terminal("read", cause)),
            }
            // Ctrl-D in the middle of a line hands out what there is; the line goes on.
            match line.buffer_mut()[len - 1] {
                b'\n' => {
                    len -= 1;
                    break;
                }
                // Zero is what a terminal says that has no such key.
                last if last != 0 && self.interrupts.contains(&last) => {
                    return Err(PromptError::Interrupted);
                }
                _ => {}
            }
        }
        if len > MAX_TYPED_BYTES {
            return Err(PromptError::TooLong);
        }
        line.set_len(len);
        Ok(line)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing, and there is nobody else to tell.
        let _gone = tcsetattr(self.tty, OptionalActions::Flush, &self.before);
    }
}

fn terminal(doing: &'static str, cause: io::Error) -> PromptError {
    PromptError::Terminal { doing, cause }
}
