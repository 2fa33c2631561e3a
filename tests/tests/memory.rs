//! What lies in the memory of a process that holds keys: no secret, in no spelling.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64ct::{Base64, Encoding as _};
use kms_backend_keystore::{NewKey, Store, UnlockSecret};
use kms_keys::{KeyType, SecretKey};
use kms_secrets::SecretBytes;
use kms_tests::id;
use kms_tests::memory::{Needle, PASSPHRASE, needles, needles_of_key, search, variable};
use tempfile::TempDir;

/// The program `key-holder`, killed when dropped.
struct Holder {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Holder {
    fn start(scene: &Scene) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_key-holder"))
            .arg(scene.folder.path())
            .envs(scene.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut holder = Self { child, input, output: BufReader::new(output) };
        holder.wait();
        holder
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.input, "{word}").unwrap();
        self.wait();
    }

    fn wait(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }

    #[track_caller]
    fn holds_nothing(&self, needles: &[Needle], when: &str) {
        let (found, read) = search(self.child.id(), needles);
        assert!(read > 1 << 20, "{read} bytes are no process");
        let found: Vec<_> = found.into_iter().collect();
        assert!(found.is_empty(), "{when}: {} hits\n{}", found.len(), found.join("\n"));
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// Keys of each type in every kind of source, and every spelling of what is secret.
struct Scene {
    folder: TempDir,
    environment: Vec<(String, String)>,
    needles: Vec<Needle>,
}

impl Scene {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut scene = Self { folder, environment: Vec::new(), needles: Vec::new() };
        let base = scene.folder.path().to_owned();
        let path = |name: &str| base.join(name);

        let [key_file, passphrase] = [(); 2].map(|()| {
            let random = SecretKey::generate(KeyType::Ed25519).unwrap();
            random.expose_secret().expose().to_vec()
        });
        write(&path("key"), &key_file);
        scene.needles.extend(needles("key file", &key_file));
        let passphrase = base16ct::lower::encode_string(&passphrase);
        scene.environment.push((PASSPHRASE.into(), passphrase.clone()));
        scene.needles.extend(needles("passphrase", passphrase.as_bytes()));
        let passphrase = UnlockSecret::Passphrase(SecretBytes::from_slice(passphrase.as_bytes()));
        let key_file = UnlockSecret::KeyFile(SecretBytes::from_slice(&key_file));
        let stores = [("store", key_file), ("passphrase-store", passphrase)]
            .map(|(name, unlock)| (name, Store::create(&path(name), &unlock).unwrap()));

        for key_type in KeyType::ALL {
            write(&path(&format!("{key_type}.hex")), hex(&scene.key("file", *key_type)).as_bytes());
            let value = hex(&scene.key("environment", *key_type));
            scene.environment.push((variable(*key_type), value));
            for (name, store) in &stores {
                let key = scene.key(name, *key_type);
                store.import(&NewKey::new(id(key_type.as_str()), *key_type), &key).unwrap();
            }
        }
        let pem = pem(&scene.key("pem", KeyType::Ed25519));
        write(&path("ed25519.pem"), pem.as_bytes());
        scene
    }

    /// A new key, which is looked for.
    fn key(&mut self, place: &str, key_type: KeyType) -> SecretKey {
        let key = SecretKey::generate(key_type).unwrap();
        self.needles.extend(needles_of_key(&format!("{place} {key_type}"), &key));
        key
    }
}

fn hex(key: &SecretKey) -> String {
    base16ct::lower::encode_string(key.expose_secret().expose())
}

/// As RFC 8410 has it.
fn pem(key: &SecretKey) -> String {
    let mut der = base16ct::lower::decode_vec("302e020100300506032b657004220420").unwrap();
    der.extend(key.expose_secret().expose());
    let text = Base64::encode_string(&der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

#[test]
fn no_secret_lies_in_memory_while_keys_are_held_and_used() {
    let scene = Scene::new();
    let mut holder = Holder::start(&scene);
    holder.holds_nothing(&scene.needles, "loaded");
    for _ in 0..3 {
        holder.tell("sign");
        holder.holds_nothing(&scene.needles, "after signing");
    }
    holder.tell("drop");
    holder.holds_nothing(&scene.needles, "dropped");
}

#[test]
fn a_key_that_is_not_shielded_is_found() {
    let scene = Scene::new();
    let mut holder = Holder::start(&scene);
    holder.tell("expose");
    let (found, _) = search(holder.child.id(), &scene.needles);
    for key_type in KeyType::ALL {
        let name = format!("file {key_type} ");
        assert!(found.iter().any(|found| found.starts_with(&name)), "{name}: {found:?}");
    }
    assert!(found.iter().any(|found| found.starts_with("file ed25519 scalar")), "{found:?}");
    assert!(found.iter().any(|found| found.starts_with("file ed25519 hash")), "{found:?}");
}
