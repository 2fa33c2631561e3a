//! The program `key-holder`, from outside.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kms_tests::memory::{Needle, Search};

use crate::scene::Scene;
use crate::terminal::Terminal;

/// How long the program may take to import.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often what was done.
pub type Done = BTreeMap<String, u64>;

/// A running `key-holder`, killed when dropped.
pub struct Holder {
    child: Child,
    control: BufReader<UnixStream>,
    terminal: Terminal,
}

impl Holder {
    /// Starts the program, which then has imported what there is to import.
    pub fn start(scene: &Scene) -> Self {
        let listener = UnixListener::bind(scene.folder().join("control")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let [output, errors] =
            ["output", "errors"].map(|name| File::create(scene.folder().join(name)).unwrap());
        let terminal = Terminal::new(&scene.typed);
        let mut child = Command::new(env!("CARGO_BIN_EXE_key-holder"))
            .arg(scene.folder())
            .current_dir(scene.folder())
            .env("RUST_LOG", "trace")
            .env("KEY_HOLDER_TERMINAL", &terminal.path)
            .envs(scene.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(scene.input.as_bytes()).unwrap();
        drop(input);
        let until = Instant::now() + PATIENCE;
        let control = loop {
            match listener.accept() {
                Ok((control, _)) => break control,
                Err(_) if child.try_wait().unwrap().is_none() && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => {
                    let errors = std::fs::read_to_string(scene.folder().join("errors")).unwrap();
                    panic!("{error}: {errors}");
                }
            }
        };
        control.set_nonblocking(false).unwrap();
        control.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut holder = Self { child, control: BufReader::new(control), terminal };
        assert_eq!(holder.answer(), Done::from([("imported".into(), 1)]));
        holder
    }

    /// Has it do something, and hears how often it did what.
    pub fn tell(&mut self, word: &str) -> Done {
        writeln!(self.control.get_mut(), "{word}").unwrap();
        self.answer()
    }

    /// What was shown at the terminal, where the passphrase is typed as soon as it is asked for.
    pub fn shown(&self) -> &[u8] {
        &self.terminal.shown
    }

    fn answer(&mut self) -> Done {
        let mut line = Vec::new();
        while let Err(error) = self.control.read_until(b'\n', &mut line) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            self.terminal.look();
        }
        serde_json::from_slice(&line).expect("the program has died")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub fn holds_nothing(&self, needles: &[Needle], when: &str) {
        let reading = Search::new(needles).of_process(self.id());
        println!("{when}: {reading}");
        assert!(reading.found.is_empty(), "{when}: {reading}");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
