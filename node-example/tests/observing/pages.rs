//! The pages of a node that runs.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Folder, GOOD, KEYS, leaks, node};
use crate::{PATIENCE, ask, free_address, get, section, with_a_store};

/// A node that shows itself, ended with the test.
struct Shown {
    address: SocketAddr,
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Shown {
    fn start(address: SocketAddr, command: &mut Command) -> Self {
        let command = command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { address, child, lines }
    }

    fn of(folder: &Folder) -> Self {
        let address = free_address();
        folder.settings(&format!("{GOOD}{}", section(address)));
        let mut this = Self::start(address, &mut folder.command_for(0));
        this.line();
        this
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The node derives the key of a new store first, which takes its time.
#[test]
fn ready_once_the_services_are() {
    let folder = tempfile::TempDir::new().unwrap();
    let address = free_address();
    let settings = with_a_store(folder.path(), address);
    let path = folder.path().join("settings.yaml");
    std::fs::write(&path, settings).unwrap();
    let mut shown =
        Shown::start(address, node(folder.path()).arg("--settings").arg(path).arg("--slots=0"));

    let (mut before, until) = (0, Instant::now() + PATIENCE);
    loop {
        assert!(Instant::now() < until, "it is never ready");
        match ask(address, "GET", "/ready") {
            Some(answer) if answer.status == 503 => {
                assert_eq!(answer.page, "not ready\n");
                before += 1;
            }
            Some(answer) => {
                assert_eq!((answer.status, answer.page.as_str()), (200, "ready\n"));
                break;
            }
            None => {}
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(before > 0, "it was ready from the beginning");
    assert!(shown.line().contains(r#""event":"ready""#));
    assert_eq!(get(address, "/ready").status, 200);
    assert_eq!(get(address, "/health").status, 200);

    kill_process(Pid::from_child(&shown.child), Signal::TERM).unwrap();
    let mut rest = String::new();
    shown.lines.read_to_string(&mut rest).unwrap();
    assert_eq!(shown.child.wait().unwrap().code(), Some(0), "{rest}");
    assert!(ask(address, "GET", "/ready").is_none(), "it still listens");
}

#[test]
fn health_of_each_backend() {
    let folder = Folder::good();
    let shown = Shown::of(&folder);
    let answer = get(shown.address, "/health");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    let page: Value = serde_json::from_str(&answer.page).unwrap();
    let local = json!({ "level": "ok", "reasons": [] });
    // The node's own process has what this one has: memory of the same kernel, under the same limits.
    let protection = kms_secrets::protection().unwrap();
    let (level, reasons) = match protection {
        kms_secrets::Protection::Unlocked => ("degraded", page["reasons"].clone()),
        _ => ("ok", json!([])),
    };
    let expected = json!({
        "level": level,
        "reasons": reasons,
        "shielding_key": protection.to_string(),
        "backends": { "local": local },
    });
    assert_eq!(page, expected);
}

/// What the node did is counted, without a word about which keys it did it with.
#[test]
fn metrics_of_a_run() {
    let folder = Folder::good();
    let mut shown = Shown::of(&folder);
    for _ in 0..3 {
        shown.line();
    }
    let answer = get(shown.address, "/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let value = |series: &str| {
        let line = answer.page.lines().find_map(|line| line.strip_prefix(series));
        let line = line.unwrap_or_else(|| panic!("{series} is missing: {}", answer.page));
        line.trim().parse::<f64>().unwrap()
    };
    let requests = |operation, key_type, caller| {
        value(&format!(
            "kms_requests_total{{operation=\"{operation}\",key_type=\"{key_type}\",\
             caller=\"{caller}\",outcome=\"ok\"}}"
        ))
    };
    assert!(requests("sign", "secp256k1", "Proposer") >= 3.0);
    assert!(requests("sign_aggregate", "bls12-381", "Attesters") >= 3.0);
    assert!(requests("execute", "ed25519", "Identity") >= 1.0);
    let signed = "kms_sign_seconds_count{operation=\"sign\",key_type=\"secp256k1\"}";
    assert!(value(signed) >= 3.0);
    assert_eq!(value("kms_keys{state=\"active\"}"), 7.0);
    assert_eq!(value("kms_breaker_state{backend=\"local\"}"), 0.0);
    assert_eq!(value("kms_panics_total"), 0.0);
    value("kms_queue_depth{lane=\"cheap\"}");
    value("kms_dropped_total{reason=\"expired\"}");
    for line in answer.page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split_once(' ').unwrap().0;
        assert!(answer.page.contains(&format!("# HELP {name} ")), "{name} is not described");
    }
    assert_eq!(leaks::find(answer.page.as_bytes()), None);
    for key in &KEYS {
        assert!(!answer.page.contains(key.id) && !answer.page.contains(key.public), "{}", key.id);
    }
}

#[test]
fn what_is_no_page_or_no_question() {
    let folder = Folder::good();
    let shown = Shown::of(&folder);
    for path in ["/", "/metrics/", "/keys", "//ready"] {
        assert_eq!(get(shown.address, path).status, 404, "{path}");
    }
    assert_eq!(get(shown.address, "/ready?x=1").status, 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "NONSENSE"] {
        let answer = ask(shown.address, method, "/metrics").unwrap();
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
    let head = ask(shown.address, "HEAD", "/metrics").unwrap();
    assert_eq!((head.status, head.page.as_str()), (200, ""));
}

/// A client still sending what is refused has its answer all the same, however it is timed.
#[test]
fn questions_that_are_too_long() {
    let folder = Folder::good();
    let shown = Shown::of(&folder);
    for length in [10_000, 30_000, 60_000] {
        for _ in 0..20 {
            let long = format!("/{}", "x".repeat(length));
            assert!((400..500).contains(&get(shown.address, &long).status), "{length}");
        }
    }
}

/// Clients that say nothing are sent away, and meanwhile others have their answer.
#[test]
fn clients_that_say_nothing() {
    let folder = Folder::good();
    let shown = Shown::of(&folder);
    let began = Instant::now();
    let silent: Vec<_> = (0..50).map(|_| TcpStream::connect(shown.address).unwrap()).collect();
    // More than there may be at once: this one has to wait until the first of them are gone.
    assert_eq!(get(shown.address, "/ready").status, 200);
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = Vec::new();
        // Some are told (408), some are cut off.
        drop(stream.read_to_end(&mut text));
    }
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(get(shown.address, "/health").status, 200);
}
