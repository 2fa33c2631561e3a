//! OpenBao servers. The binary is named by the environment variable `KMS_PEER_BAO`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::free_port;

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server of the test's own on a loopback port. Killed when it is dropped.
pub struct Bao {
    server: Child,
    folder: TempDir,
    port: u16,
    tls: bool,
    root_token: String,
    unseal_key: Option<String>,
}

impl Bao {
    /// A server in development mode: in memory, unsealed, without TLS, root token `root`.
    ///
    /// # Panics
    /// Without the binary, or if the server doesn't start.
    pub async fn dev() -> Self {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let server = spawn(
            folder.path(),
            &[
                "server",
                "-dev",
                "-dev-root-token-id=root",
                "-dev-no-store-token",
                &format!("-dev-listen-address=127.0.0.1:{port}"),
            ],
        );
        let root_token = "root".to_owned();
        let mut bao = Self { server, folder, port, tls: false, root_token, unseal_key: None };
        bao.wait_until_it_answers().await;
        let begun = Instant::now();
        while bao.unseal_key.is_none() {
            assert!(begun.elapsed() < PATIENCE, "no unseal key: {}", bao.said());
            let said = bao.said();
            let key = said.lines().find_map(|line| line.trim().strip_prefix("Unseal Key: "));
            bao.unseal_key = key.map(str::to_owned);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bao
    }

    /// A server as it is in earnest: raft storage, TLS with a certificate of its own, a seal that opens
    /// by itself. It can be killed and started again.
    ///
    /// # Panics
    /// Without the binary, or if the server doesn't start.
    pub async fn raft() -> Self {
        let folder = TempDir::new().unwrap();
        let (port, cluster_port) = (free_port(), free_port());
        let path = folder.path();
        let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(path.join("cert.pem"), certificate.cert.pem()).unwrap();
        fs::write(path.join("key.pem"), certificate.signing_key.serialize_pem()).unwrap();
        fs::write(path.join("seal.key"), [0x5a; 32]).unwrap();
        fs::create_dir(path.join("data")).unwrap();
        let (dir, seal) = (path.display(), path.join("seal.key"));
        let config = format!(
            r#"
storage "raft" {{
  path = "{dir}/data"
  node_id = "n1"
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  tls_cert_file = "{dir}/cert.pem"
  tls_key_file = "{dir}/key.pem"
}}
seal "static" {{
  current_key_id = "k1"
  current_key = "file://{}"
}}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
"#,
            seal.display()
        );
        fs::write(path.join("config.hcl"), config).unwrap();
        let server = spawn(path, &["server", "-config=config.hcl"]);
        let root_token = String::new();
        let mut bao = Self { server, folder, port, tls: true, root_token, unseal_key: None };
        bao.wait_until_it_answers().await;
        let begun = Instant::now();
        let init = loop {
            // The static seal takes a moment.
            let init = bao.run(&[
                "operator",
                "init",
                "-recovery-shares=1",
                "-recovery-threshold=1",
                "-format=json",
            ]);
            if let Ok(init) = init {
                break init;
            }
            assert!(begun.elapsed() < PATIENCE, "not initialised: {init:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let init: Value = serde_json::from_str(&init).unwrap();
        bao.root_token = init["root_token"].as_str().unwrap().to_owned();
        bao.wait_until_active().await;
        bao
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The same with its scheme.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address())
    }

    /// The certificate that a client must trust, for a server with TLS.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// A token that may do everything.
    #[must_use]
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// What the server has said.
    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Runs `bao` as root against this server, for example `["secrets", "enable", "transit"]`.
    ///
    /// # Errors
    /// What it printed, if it failed.
    pub fn run(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new(binary())
            .args(args)
            .env("BAO_ADDR", self.url())
            .env("BAO_CACERT", if self.tls { self.certificate() } else { PathBuf::new() })
            .env("BAO_TOKEN", &self.root_token)
            .env("HOME", self.folder.path())
            .output()
            .expect("bao runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(text + &String::from_utf8_lossy(&output.stderr))
        }
    }

    /// The same, which must succeed.
    ///
    /// # Panics
    /// If it fails.
    pub fn must(&self, args: &[&str]) -> String {
        self.run(args).unwrap_or_else(|error| panic!("bao {args:?}: {error}"))
    }

    /// Makes a policy called `name` with these rules.
    ///
    /// # Panics
    /// If the server refuses it.
    pub fn policy(&self, name: &str, rules: &str) {
        let path = self.folder.path().join(format!("{name}.hcl"));
        fs::write(&path, rules).unwrap();
        self.must(&["policy", "write", name, path.to_str().unwrap()]);
    }

    /// A new token with these policies and this time to live.
    ///
    /// # Panics
    /// If the server refuses it.
    #[must_use]
    pub fn token(&self, policies: &[&str], ttl: &str) -> String {
        let mut args = vec!["token", "create", "-field=token", "-orphan"];
        let ttl = format!("-ttl={ttl}");
        args.push(&ttl);
        let policies: Vec<_> = policies.iter().map(|policy| format!("-policy={policy}")).collect();
        args.extend(policies.iter().map(String::as_str));
        self.must(&args).trim().to_owned()
    }

    /// Seals the server: it answers nothing but that it is sealed.
    ///
    /// # Panics
    /// If it fails.
    pub fn seal(&self) {
        self.must(&["operator", "seal"]);
    }

    /// Unseals a development server again.
    ///
    /// # Panics
    /// If it fails.
    pub fn unseal(&self) {
        let key = self.unseal_key.as_deref().expect("a development server");
        self.must(&["operator", "unseal", key]);
    }

    /// Kills a raft server, as a power cut does.
    ///
    /// # Panics
    /// If it can't be killed.
    pub fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Starts a raft server again and waits until it answers requests.
    ///
    /// # Panics
    /// If it doesn't start.
    pub async fn start_again(&mut self) {
        self.server = spawn(self.folder.path(), &["server", "-config=config.hcl"]);
        self.wait_until_it_answers().await;
        self.wait_until_active().await;
    }

    async fn wait_until_it_answers(&self) {
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(self.address()).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "no server: {}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while !self.tls && self.run(&["status"]).is_err() {
            assert!(begun.elapsed() < PATIENCE, "not unsealed: {}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn wait_until_active(&self) {
        let begun = Instant::now();
        while self.run(&["token", "lookup"]).is_err() {
            assert!(begun.elapsed() < PATIENCE, "not active: {}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

fn binary() -> PathBuf {
    std::env::var_os("KMS_PEER_BAO").expect("KMS_PEER_BAO names OpenBao's binary").into()
}

fn spawn(folder: &Path, args: &[&str]) -> Child {
    let log = File::create(folder.join("log")).unwrap();
    Command::new(binary())
        .args(args)
        .current_dir(folder)
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stderr(log.try_clone().unwrap())
        .stdout(log)
        .spawn()
        .expect("bao starts")
}
