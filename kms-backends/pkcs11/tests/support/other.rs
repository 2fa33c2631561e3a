//! Another process, which is this test program, started again.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use kms_peers::SoftHsm;

/// The label of the token, for the other process.
const TOKEN: &str = "OTHER_TOKEN";
const FOLDER: &str = "OTHER_FOLDER";

/// What does as it is told.
pub(crate) struct Other {
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Other {
    /// Starts the test called `name` once more, and waits until it is ready.
    pub(crate) fn start(name: &str, token: &SoftHsm, folder: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", name, "--ignored", "--nocapture"]);
        process.env(TOKEN, token.label()).env(FOLDER, folder);
        // For a module that hangs as long as the file is there.
        process.env("FAULTY_MODULE", SoftHsm::module()).env("HANG_WHILE", folder.join("hang"));
        let mut process = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut other = Self { process, orders, answers };
        assert_eq!(other.answer(), "ready");
        other
    }

    /// The token's label and the folder, in the other process.
    pub(crate) fn here() -> Option<(String, String)> {
        Some((std::env::var(TOKEN).ok()?, std::env::var(FOLDER).ok()?))
    }

    pub(crate) fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// What it says, past what the test's harness does.
    pub(crate) fn answer(&mut self) -> String {
        loop {
            let line = self.answers.next();
            let line =
                line.unwrap_or_else(|| panic!("it ended: {:?}", self.process.wait())).unwrap();
            if let Some(answer) = line.strip_prefix("answer ") {
                return answer.to_owned();
            }
        }
    }

    /// Ends it at once.
    #[allow(dead_code, reason = "not all test programs do")]
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Has it end, since there are no more orders.
    pub(crate) fn end(mut self) {
        drop(self.orders);
        assert!(self.process.wait().unwrap().success());
    }
}

/// Answers, in the other process.
pub(crate) fn answer(answer: &str) {
    println!("\nanswer {answer}");
}

/// The orders, in the other process, which is ready for them.
pub(crate) fn orders() -> impl Iterator<Item = String> {
    answer("ready");
    std::io::stdin().lines().map(Result::unwrap)
}
