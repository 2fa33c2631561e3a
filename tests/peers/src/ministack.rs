//! A key management service of AWS that runs here. The program is named by the environment variable
//! `KMS_PEER_MINISTACK`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::free_port;

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of the test's own on a loopback port, which takes any credentials. What it has at
/// [`Ministack::save`] it still has when it is killed and started again; everything since is forgotten.
/// Killed when it is dropped.
pub struct Ministack {
    server: Child,
    folder: TempDir,
    port: u16,
}

impl Ministack {
    /// A server that answers.
    ///
    /// # Panics
    /// Without the program, or if the server doesn't start.
    pub async fn start() -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let ministack = Self { server: spawn(folder.path(), port), folder, port };
        ministack.wait_until_it_answers().await;
        ministack
    }

    /// Stops it, which has it write down what it has, and starts it again.
    ///
    /// # Panics
    /// If it doesn't stop or start.
    pub async fn save(&mut self) {
        kill_process(Pid::from_child(&self.server), Signal::TERM).unwrap();
        let begun = Instant::now();
        while self.server.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "it doesn't stop: {}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.start_again().await;
    }

    /// Kills it.
    ///
    /// # Panics
    /// If it can't be killed.
    pub fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Starts it again at the same address and waits until it answers.
    ///
    /// # Panics
    /// If it doesn't start.
    pub async fn start_again(&mut self) {
        self.server = spawn(self.folder.path(), self.port);
        self.wait_until_it_answers().await;
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The same as `http://…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Has it do `operation` of AWS' key management service, for example `DescribeKey` with
    /// `{"KeyId": "alias/mine"}`, as somebody else would.
    ///
    /// # Panics
    /// If it refuses.
    pub fn must(&self, operation: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(
            "POST /",
            &[
                ("X-Amz-Target", &format!("TrentService.{operation}")),
                ("Content-Type", "application/x-amz-json-1.1"),
                (
                    "Authorization",
                    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kms/aws4_request, \
                     SignedHeaders=host, Signature=0",
                ),
            ],
            body.to_string().as_bytes(),
        );
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    /// Every key with its metadata and, as `Tags`, its tags.
    ///
    /// # Panics
    /// If the server doesn't say.
    #[must_use]
    pub fn keys(&self) -> Vec<Value> {
        let keys = self.must("ListKeys", &json!({}));
        let keys = keys["Keys"].as_array().unwrap().iter();
        let described = keys.map(|key| {
            let wanted = json!({ "KeyId": key["KeyId"] });
            let mut key = self.must("DescribeKey", &wanted)["KeyMetadata"].take();
            key["Tags"] = self.must("ListResourceTags", &wanted)["Tags"].take();
            key
        });
        described.collect()
    }

    async fn wait_until_it_answers(&self) {
        let begun = Instant::now();
        while !self.is_there() {
            assert!(begun.elapsed() < PATIENCE, "no server: {}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn is_there(&self) -> bool {
        TcpStream::connect(self.address()).is_ok()
            && self.ask("GET /_ministack/health", &[], &[]).0 == 200
    }

    fn ask(&self, line: &str, fields: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut head =
            format!("{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address());
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        let mut server = TcpStream::connect(self.address()).unwrap();
        server.write_all(head.as_bytes()).unwrap();
        server.write_all(body).unwrap();
        let mut answer = String::new();
        server.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, body.to_owned())
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

fn spawn(folder: &Path, port: u16) -> Child {
    let program =
        std::env::var_os("KMS_PEER_MINISTACK").expect("KMS_PEER_MINISTACK names ministack");
    let log = File::create(folder.join("log")).unwrap();
    Command::new(program)
        .current_dir(folder)
        .env("HOME", folder)
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("SERVICES", "kms")
        .env("PERSIST_STATE", "1")
        .env("STATE_DIR", folder.join("state"))
        // These listen on every address.
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .env("LOG_LEVEL", "WARNING")
        .stdin(Stdio::null())
        .stderr(log.try_clone().unwrap())
        .stdout(log)
        .spawn()
        .expect("ministack starts")
}
