//! Questions on a terminal: the program starts itself again on a pseudo-terminal and types.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed check ends the test program"
)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kms_secrets::prompt::{self, PromptError};
use kms_secrets::{PassphraseError, PassphraseSource, SecretBytes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, ioctl_tiocsctty, kill_process, setsid};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

const QUESTION: &str = "Passphrase of the store: ";
const AGAIN: &str = "The same again: ";

fn main() {
    if let Ok(ask) = std::env::var("KMS_TEST_ASK") {
        child(&ask);
        return;
    }
    let tests: [(&str, fn()); 14] = [
        ("a passphrase is read and not shown", a_passphrase_is_read_and_not_shown),
        ("every byte but the newline counts", every_byte_but_the_newline_counts),
        ("the line can be edited", the_line_can_be_edited),
        ("Ctrl-C and Ctrl-\\ interrupt at once", interrupting_keys_interrupt_at_once),
        ("Ctrl-D on an empty line ends the input", end_of_input_on_an_empty_line),
        ("Ctrl-D in a line doesn't end it", end_of_input_in_a_line),
        ("an empty line is no passphrase", an_empty_line_is_no_passphrase),
        ("a line that the terminal cuts is refused", a_line_that_is_cut_is_refused),
        ("a new passphrase is asked for twice", a_new_passphrase_is_asked_for_twice),
        ("a yes is a yes, all else is none", a_yes_is_a_yes),
        ("what is typed before and after is dropped", what_is_typed_around_is_dropped),
        ("a raw terminal is set to lines and back", a_raw_terminal_is_set_to_lines_and_back),
        ("a source that is a prompt asks", a_source_that_is_a_prompt_asks),
        ("without a terminal there is no question", without_a_terminal),
    ];
    for (name, test) in tests {
        test();
        println!("{name}: ok");
    }
}

fn a_passphrase_is_read_and_not_shown() {
    let mut session = Session::start("passphrase");
    session.expect(QUESTION);
    let during = session.modes();
    assert!(!during.local_modes.intersects(LocalModes::ECHO | LocalModes::ISIG));
    assert!(during.local_modes.contains(LocalModes::ICANON));
    session.type_in(b"correct horse\r");
    let (answer, shown) = session.end();
    assert_eq!(answer, "entered correct horse");
    assert_eq!(shown, "\r\n");
}

fn every_byte_but_the_newline_counts() {
    for (typed, entered) in [
        (&b"  \tgr\xc3\xbc\xc3\x9fe \n"[..], "entered   \tgr\u{fc}\u{df}e "),
        (b"\x16\x03x\n", "entered \x03x"),
    ] {
        let mut session = Session::start("passphrase");
        session.expect(QUESTION);
        session.type_in(typed);
        assert_eq!(session.end().0, entered);
    }
    let longest = "a".repeat(4094);
    let mut session = Session::start("passphrase");
    session.expect(QUESTION);
    session.type_in(format!("{longest}\n").as_bytes());
    assert_eq!(session.end().0, format!("entered {longest}"));
}

fn the_line_can_be_edited() {
    let mut session = Session::start("passphrase");
    session.expect(QUESTION);
    session.type_in(b"wrong\x15correct housr\x7f\x7fse\n");
    assert_eq!(session.end().0, "entered correct house");
}

fn interrupting_keys_interrupt_at_once() {
    for keys in [&b"\x03"[..], b"half a pass\x03", b"half a pass\x1c"] {
        for ask in ["passphrase", "new", "confirm"] {
            let mut session = Session::start(ask);
            session.expect(QUESTION);
            session.type_in(keys);
            assert_eq!(session.end().0, "refused Interrupted: interrupted at the terminal");
        }
    }
}

fn end_of_input_on_an_empty_line() {
    for ask in ["passphrase", "new", "confirm"] {
        let mut session = Session::start(ask);
        session.expect(QUESTION);
        session.type_in(b"\x04");
        assert!(session.end().0.starts_with("refused Closed: "));
    }
}

fn end_of_input_in_a_line() {
    let mut session = Session::start("passphrase");
    session.expect(QUESTION);
    session.type_in(b"correct \x04horse\x04");
    session.type_in(b"\x04");
    assert_eq!(session.end().0, "entered correct horse");
}

fn an_empty_line_is_no_passphrase() {
    for ask in ["passphrase", "new"] {
        let mut session = Session::start(ask);
        session.expect(QUESTION);
        session.type_in(b"\n");
        assert!(session.end().0.starts_with("refused Empty: "));
    }
}

fn a_line_that_is_cut_is_refused() {
    for length in [4095, 4096, 6000] {
        let mut session = Session::start("passphrase");
        session.expect(QUESTION);
        session.type_in("a".repeat(length).as_bytes());
        session.type_in(b"\n");
        let (answer, _) = session.end();
        assert_eq!(
            answer, "refused TooLong: the line is longer than the 4094 bytes that can be typed",
            "{length}"
        );
    }
}

fn a_new_passphrase_is_asked_for_twice() {
    for (second, expected) in [
        (&b"correct horse\n"[..], "entered correct horse"),
        (b"correct house\n", "refused Mismatch: the two passphrases are not the same"),
        (b"correct hors\n", "refused Mismatch: the two passphrases are not the same"),
        (b"\n", "refused Mismatch: the two passphrases are not the same"),
        (b"\x03", "refused Interrupted: interrupted at the terminal"),
    ] {
        let mut session = Session::start("new");
        session.expect(QUESTION);
        session.type_in(b"correct horse\n");
        session.expect(AGAIN);
        session.type_in(second);
        let (answer, shown) = session.end();
        assert_eq!(answer, expected);
        assert_eq!(shown, "\r\n");
    }
}

fn a_yes_is_a_yes() {
    for (typed, expected) in [
        ("yes\n", "confirmed true"),
        (" yes \n", "confirmed true"),
        ("y\n", "confirmed false"),
        ("YES\n", "confirmed false"),
        ("yes, please\n", "confirmed false"),
        ("\n", "confirmed false"),
    ] {
        let mut session = Session::start("confirm");
        session.expect(QUESTION);
        session.type_in(typed.as_bytes());
        let (answer, shown) = session.end();
        assert_eq!(answer, expected, "{typed:?}");
        assert_eq!(shown, typed.replace('\n', "\r\n"), "what was typed is shown");
    }
}

fn what_is_typed_around_is_dropped() {
    let mut session = Session::start_typed("passphrase", b"early\n");
    session.expect(QUESTION);
    session.type_in(b"correct horse\nrm -rf everything\n");
    assert_eq!(session.waiting_input(), "entered correct horse");
}

fn a_raw_terminal_is_set_to_lines_and_back() {
    let mut session = Session::start_with("passphrase", b"", Termios::make_raw);
    session.expect(QUESTION);
    assert!(session.modes().local_modes.contains(LocalModes::ICANON));
    assert!(session.modes().input_modes.contains(InputModes::ICRNL));
    session.type_in(b"correct horse\r");
    assert_eq!(session.end().0, "entered correct horse");
}

fn a_source_that_is_a_prompt_asks() {
    let mut session = Session::start("source");
    session.expect("Passphrase: ");
    session.type_in(b"correct horse\n");
    assert_eq!(session.end().0, "entered correct horse");
}

fn without_a_terminal() {
    for ask in ["passphrase", "new", "confirm", "source"] {
        let output = test_program(ask).env("KMS_TEST_NO_TERMINAL", "1").output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        assert!(answer.starts_with("refused NoTerminal(Os"), "{answer}");
        assert!(answer.contains("name a `file`, an `env` variable or a `command`"), "{answer}");
    }
}

/// A child that asks, and the keyboard and screen of its terminal.
struct Session {
    child: Child,
    keyboard: File,
    /// The child's side, kept open to look at its modes.
    terminal: File,
    before: Termios,
    shown: String,
}

impl Session {
    fn start(ask: &str) -> Self {
        Self::start_typed(ask, b"")
    }

    fn start_typed(ask: &str, early: &[u8]) -> Self {
        Self::start_with(ask, early, |_| ())
    }

    fn start_with(ask: &str, early: &[u8], change: impl FnOnce(&mut Termios)) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let mut keyboard = File::from(keyboard.expect("this system has no pseudo-terminals"));
        unlockpt(&keyboard).unwrap();
        let path = ptsname(&keyboard, Vec::new()).unwrap();
        let terminal = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(std::ffi::OsStr::from_bytes(path.to_bytes()))
            .unwrap();
        let mut before = tcgetattr(&terminal).unwrap();
        assert!(before.local_modes.contains(LocalModes::ECHO | LocalModes::ISIG));
        change(&mut before);
        tcsetattr(&terminal, OptionalActions::Now, &before).unwrap();
        keyboard.write_all(early).unwrap();
        let child = test_program(ask).stdin(terminal.try_clone().unwrap()).spawn().unwrap();
        Self { child, keyboard, terminal, before, shown: String::new() }
    }

    /// Waits for `text` on the screen, and forgets what was shown until then.
    fn expect(&mut self, text: &str) {
        while !self.shown.contains(text) {
            assert!(self.look(Duration::from_secs(20)), "no {text:?} in {:?}", self.shown);
        }
        let end = self.shown.find(text).unwrap() + text.len();
        self.shown.drain(..end);
    }

    fn type_in(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.terminal).unwrap()
    }

    /// What the child says it got, and what was shown since the last question. The terminal must be
    /// as it was.
    fn end(&mut self) -> (String, String) {
        let answer = self.answer();
        while self.look(Duration::from_millis(20)) {}
        (answer, self.shown.clone())
    }

    /// Like [`Session::end`], and nothing typed may wait to be read.
    fn waiting_input(&mut self) -> String {
        let answer = self.answer();
        let mut ready = [PollFd::new(&self.terminal, PollFlags::IN)];
        assert_eq!(poll(&mut ready, Some(&Timespec::default())).unwrap(), 0);
        answer
    }

    fn answer(&mut self) -> String {
        let mut stdout = self.child.stdout.take().unwrap();
        let mut ready = [PollFd::new(&stdout, PollFlags::IN)];
        let limit = Timespec::try_from(Duration::from_secs(20)).unwrap();
        if poll(&mut ready, Some(&limit)).unwrap() == 0 {
            let child = Pid::from_child(&self.child);
            kill_process(child, Signal::KILL).unwrap();
            panic!("no answer; shown: {:?}", self.shown);
        }
        let mut answer = String::new();
        stdout.read_to_string(&mut answer).unwrap();
        assert!(self.child.wait().unwrap().success(), "{answer}");
        let (before, after) = (&self.before, self.modes());
        assert_eq!(after.local_modes, before.local_modes);
        assert_eq!(after.input_modes, before.input_modes);
        assert_eq!(format!("{:?}", after.special_codes), format!("{:?}", before.special_codes));
        answer
    }

    /// Reads what is on the screen; `false` if nothing new is for `limit`.
    fn look(&mut self, limit: Duration) -> bool {
        let mut ready = [PollFd::new(&self.keyboard, PollFlags::IN)];
        let limit = Timespec::try_from(limit).unwrap();
        if poll(&mut ready, Some(&limit)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        let count = self.keyboard.read(&mut buffer).unwrap();
        self.shown.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        true
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn test_program(ask: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("KMS_TEST_ASK", ask).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// In a session of its own, with the terminal on standard input as its controlling one.
fn child(ask: &str) {
    setsid().unwrap();
    if std::env::var_os("KMS_TEST_NO_TERMINAL").is_none() {
        ioctl_tiocsctty(rustix::stdio::stdin()).unwrap();
    }
    let answer = match ask {
        "passphrase" => prompt::passphrase(QUESTION).map(entered),
        "new" => prompt::new_passphrase(QUESTION).map(entered),
        "confirm" => prompt::confirm(QUESTION).map(|yes| format!("confirmed {yes}")),
        "source" => match PassphraseSource::Prompt.read() {
            Ok(secret) => Ok(entered(secret)),
            Err(PassphraseError::Prompt(cause)) => Err(cause),
            Err(other) => panic!("{other:?}"),
        },
        other => panic!("no question {other}"),
    };
    print!("{}", answer.unwrap_or_else(|error: PromptError| format!("refused {error:?}: {error}")));
}

fn entered(secret: SecretBytes) -> String {
    format!("entered {}", std::str::from_utf8(secret.expose()).unwrap())
}
