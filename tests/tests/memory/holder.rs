//! The program `key-holder`, from outside.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kms_tests::memory::{Needle, Search};

use crate::scene::Scene;

/// How long the node may take to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running `key-holder`, killed when dropped.
pub struct Holder {
    child: Child,
    control: BufReader<UnixStream>,
}

impl Holder {
    pub fn start(scene: &Scene) -> Self {
        let listener = UnixListener::bind(scene.folder().join("control")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let [output, errors] =
            ["output", "errors"].map(|name| File::create(scene.folder().join(name)).unwrap());
        let mut child = Command::new(env!("CARGO_BIN_EXE_key-holder"))
            .arg(scene.folder())
            .current_dir(scene.folder())
            .env("RUST_LOG", "trace")
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
        let mut holder = Self { child, control: BufReader::new(control) };
        holder.wait();
        holder
    }

    pub fn tell(&mut self, word: &str) {
        writeln!(self.control.get_mut(), "{word}").unwrap();
        self.wait();
    }

    fn wait(&mut self) {
        let mut line = String::new();
        self.control.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub fn holds_nothing(&self, needles: &[Needle], when: &str) {
        let (found, read) = Search::new(needles).of_process(self.id());
        assert!(read > 1 << 20, "{read} bytes are no process");
        let found: Vec<_> = found.into_iter().collect();
        assert!(found.is_empty(), "{when}: {} hits\n{}", found.len(), found.join("\n"));
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
