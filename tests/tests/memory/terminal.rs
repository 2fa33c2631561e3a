//! A terminal at which a passphrase is typed.

use std::fs::File;
use std::io::{Read, Write};

use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

/// The side of a pseudo-terminal where people sit.
pub struct Terminal {
    keyboard: File,
    /// The other side, as a path.
    pub path: String,
    /// What is typed when it is asked for.
    answer: Option<String>,
    /// What is on the screen.
    pub shown: Vec<u8>,
}

impl Terminal {
    pub fn new(answer: &str) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let keyboard = keyboard.expect("this system has no pseudo-terminals");
        unlockpt(&keyboard).unwrap();
        rustix::io::ioctl_fionbio(&keyboard, true).unwrap();
        let path = ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap();
        Self { keyboard: keyboard.into(), path, answer: Some(answer.into()), shown: Vec::new() }
    }

    /// Looks at what is shown by now, and answers the question once it is there.
    pub fn look(&mut self) {
        let mut buffer = [0; 256];
        while let Ok(count @ 1..) = self.keyboard.read(&mut buffer) {
            self.shown.extend(&buffer[..count]);
        }
        if self.shown.ends_with(b"Passphrase: ")
            && let Some(answer) = self.answer.take()
        {
            writeln!(self.keyboard, "{answer}").unwrap();
        }
    }
}
