//! A node that holds keys, on `settings.yaml` in the folder of the first argument. First it imports what
//! is there to be imported into one of its stores, as `kms import` does. Then it does what comes through
//! the socket `control` there, one word a line, and answers each with a line that says how often what was
//! done, while `tests/memory` looks at its memory and at what it logs (`log`, at the level of `RUST_LOG`).
//!
//! With `refused` as the second argument it tries to start on each of the settings `*.refused.yaml` there
//! and to import each of `refused-documents` instead, and prints why it can't.
//!
//! Not hardened: others may read its memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test that started it"
)]
#![allow(
    unreachable_pub,
    reason = "nothing of a program is reachable; `pub` says what is for other files"
)]

mod bare;
mod imports;
mod refused;
mod work;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;

use kms_secrets::environment;
use node_example::running::RunningNode;
use node_example::settings::NodeSettings;
use rustix::process::{ioctl_tiocsctty, setsid};
use tracing_subscriber::EnvFilter;

/// How often what was done.
type Done = BTreeMap<String, u64>;

fn main() {
    let folder = std::env::args().nth(1).unwrap();
    let folder = Path::new(&folder);
    let settings = NodeSettings::from_file(&folder.join("settings.yaml")).unwrap();
    environment::take(settings.kms.env_names()).unwrap();
    let log = Mutex::new(File::create(folder.join("log")).unwrap());
    let filter = EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log).init();
    if std::env::args().nth(2).as_deref() == Some("refused") {
        return refused::try_all(folder);
    }
    let _terminal = take_terminal();
    imports::import_all(folder);

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut settings = Some(settings);
    let mut node = None;
    let mut control = UnixStream::connect(folder.join("control")).unwrap();
    let mut words = BufReader::new(control.try_clone().unwrap()).lines();
    let mut bare = Vec::new();
    let mut done = Done::from([("imported".into(), 1)]);
    loop {
        writeln!(control, "{}", serde_json::to_string(&done).unwrap()).unwrap();
        let Some(word) = words.next() else { break };
        let running = node.as_ref();
        done = match &*word.unwrap() {
            "start" => {
                let starting = RunningNode::start(settings.take().unwrap());
                let mut started = runtime.block_on(starting).unwrap();
                // The one slot of this hour. Then nobody signs unless told to.
                assert!(runtime.block_on(started.next_slot()).unwrap().verified);
                node = Some(started);
                Done::from([("started".into(), 1)])
            }
            "sign" => runtime.block_on(work::sign(running.unwrap())),
            "make" => runtime.block_on(work::make(running.unwrap())),
            "delete" => runtime.block_on(work::delete(running.unwrap())),
            "stop" => runtime.block_on(work::stop(node.take().unwrap())),
            "destroy" => work::destroy(folder),
            "hold" => bare::hold_all(folder, &mut bare),
            other => panic!("what is {other}?"),
        };
    }
}

/// Makes the terminal that the environment names this process's own, so that it can be asked there.
fn take_terminal() -> File {
    let path = std::env::var("KEY_HOLDER_TERMINAL").unwrap();
    setsid().unwrap();
    let terminal = OpenOptions::new().read(true).write(true).open(path).unwrap();
    ioctl_tiocsctty(&terminal).unwrap();
    terminal
}
