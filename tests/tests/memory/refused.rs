//! What is said of secrets that can't be loaded: nothing of the secrets.

use std::process::{Command, Output};

use base64ct::{Base64, Encoding as _};
use kms_keys::{KeyType, SecretKey};
use kms_tests::memory::{Needle, needles, needles_of_key};

use crate::scene::{Scene, document, hex, pem};
use crate::written;

/// Settings that are wrong or point at something wrong, each with its secrets.
struct Refused {
    scene: Scene,
    needles: Vec<Needle>,
    environment: Vec<(String, String)>,
    /// How many settings there are.
    count: usize,
    /// How many documents there are.
    documents: usize,
}

impl Refused {
    fn new() -> Self {
        let scene = Scene::new();
        Self { scene, needles: Vec::new(), environment: Vec::new(), count: 0, documents: 4 }
    }

    fn key(&mut self, key_type: KeyType) -> SecretKey {
        let key = SecretKey::generate(key_type).unwrap();
        self.needles.extend(needles_of_key(&format!("refused {}", self.count), &key));
        key
    }

    /// Settings in which this one takes the place of what is good. Stores that take a passphrase, and with
    /// it some time, are left out.
    fn settings(&mut self, good: &str, bad: &str) {
        self.settings_with(None, good, bad);
    }

    /// The same, with one of those stores.
    fn settings_with(&mut self, store: Option<&str>, good: &str, bad: &str) {
        let settings = std::fs::read_to_string(self.scene.folder().join("settings.yaml")).unwrap();
        assert!(settings.contains(good), "{good} is not in the settings");
        let place = format!("{}.refused.yaml", self.count);
        let left_out = |line: &str| {
            let stores = ["by-file", "by-command", "by-env", "by-prompt"].into_iter();
            line.contains("id: imported")
                || line.contains("master: words")
                || stores.filter(|name| Some(*name) != store).any(|name| line.contains(name))
        };
        let lines: Vec<_> = settings.lines().filter(|line| !left_out(line)).collect();
        let settings = lines.join("\n").replacen(good, bad, 1);
        self.scene.write(&place, settings.as_bytes());
        self.count += 1;
    }

    /// The file of the key `good` with this text.
    fn file(&mut self, good: &str, text: &[u8]) {
        let name = format!("refused-{}", self.count);
        self.scene.write(&name, text);
        self.settings(good, &format!("file: {name}"));
    }

    fn bad_keys(&mut self) {
        let hex_of = |refused: &mut Self| hex(&refused.key(KeyType::Ed25519));
        let good = "file: ed25519.hex";
        for change in [
            |text: String| text[..62].to_owned(),
            |text: String| text + "00",
            |text: String| text + "0",
            |text: String| format!("{} {}", &text[..32], &text[32..]),
            |text: String| format!("{}g{}", &text[..40], &text[41..]),
            |text: String| format!("{text}\n\n{text}"),
            |text: String| format!("{{\"key\": \"{text}\"}}"),
        ] {
            let text = change(hex_of(self));
            self.file(good, text.as_bytes());
        }
        let key = self.key(KeyType::Ed25519);
        let bytes = key.expose_secret().expose();
        self.file(good, bytes);
        self.file(good, Base64::encode_string(bytes).as_bytes());
        self.file("file: ed25519.base64", hex(&key).as_bytes());
        self.file(
            "file: ed25519.base64",
            Base64::encode_string(bytes).trim_matches('=').as_bytes(),
        );
        self.file("file: ed25519.raw", hex(&key).as_bytes());
        let text = pem(&key);
        for text in [
            text.replace("END PRIVATE", "END SECRET"),
            text.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
            text.replacen("MC", "MD", 1),
            text.replacen("\n-----END", "A\n-----END", 1),
            text[..text.len() - 40].to_owned(),
        ] {
            self.file("file: ed25519.pem", text.as_bytes());
        }
        self.file("file: secp256k1.pem", text.as_bytes());
        let secp = self.key(KeyType::Secp256k1);
        self.file("file: ed25519.pem", pem(&secp).as_bytes());
        let pin = "public_key: 3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c,";
        self.settings(
            "source: { file: ed25519.hex }",
            &format!("{pin} source: {{ file: ed25519.hex }}"),
        );
    }

    /// Secrets in settings, where their places belong.
    fn pasted(&mut self) {
        for (good, before, after) in [
            ("file: ed25519.hex", "file: ", ""),
            ("file: ed25519.hex", "env: ", ""),
            ("file: ed25519.hex", "env: 0x", ""),
            ("file: ed25519.hex", "key: ", ""),
            ("{ file: ed25519.hex }", "", ""),
            ("{ file: ed25519.hex }", "{ file: ed25519.hex, encoding: ", " }"),
            ("id: ed25519/hex", "id: /", ""),
            ("type: ed25519", "type: ", ""),
            ("type: ed25519", "type: ed25519, public_key: xx", ""),
            ("key_file: key", "passphrase: ", ""),
            ("key_file: key", "passphrase: { env: ", " }"),
            ("key_file: key", "passphrase: { word: ", " }"),
            ("key_file: key", "", ": true"),
        ] {
            let secret = hex(&self.key(KeyType::Ed25519));
            self.settings(good, &format!("{before}{secret}{after}"));
        }
    }

    fn bad_unlocks(&mut self) {
        let good = "key_file: key";
        let secret = |refused: &mut Self| {
            let secret = hex(&refused.key(KeyType::Ed25519));
            refused.needles.extend(needles("passphrase", secret.as_bytes()));
            secret
        };
        let passphrase = secret(self);
        self.scene.write("wrong", passphrase.as_bytes());
        self.settings_with(Some("by-file"), "file: passphrase", "file: wrong");
        self.settings(good, "key_file: wrong");
        self.settings(good, "passphrase: { file: wrong }");
        let short = secret(self);
        self.scene.write("short", &short.as_bytes()[..31]);
        self.settings(good, "key_file: short");
        let printed = secret(self);
        self.scene.write("printed", printed.as_bytes());
        let command = |script: &str| format!("command: [sh, -c, \"{script}\"]");
        let good = "command: [cat, passphrase-to-print]";
        for bad in [
            command("cat printed; exit 3"),
            command("cat printed"),
            command("cat printed; sleep 60").replace(']', "], timeout: 300ms"),
        ] {
            self.settings_with(Some("by-command"), good, &bad);
        }
        let variable = secret(self);
        self.environment.push(("KEY_HOLDER_PASSPHRASE".into(), variable));
        self.settings_with(Some("by-env"), "file: ed25519.hex", "file: missing");
    }

    /// Documents that are no encrypted ones. Those whose passphrase is another are there already.
    fn bad_documents(&mut self) {
        for (form, key_type) in [
            ("eip2335-pbkdf2", KeyType::Bls12381),
            ("pkcs8", KeyType::Ed25519),
            ("pkcs8", KeyType::Secp256k1),
        ] {
            let key = self.key(key_type);
            let passphrase = hex(&self.key(KeyType::Ed25519));
            let good = document(form, &key, passphrase.as_bytes());
            let plain = if form == "pkcs8" { pem(&key) } else { hex(&key) };
            let cut = good.len() - 60;
            for (what, document) in [("cut", &good[..cut]), ("plain", plain.as_bytes())] {
                let name = format!("{form}-{what}.{key_type}");
                self.scene.write(&format!("refused-documents/{name}"), document);
                self.scene.passphrase(&name);
                self.documents += 1;
            }
        }
    }

    fn run(&self) -> Output {
        Command::new(env!("CARGO_BIN_EXE_key-holder"))
            .arg(self.scene.folder())
            .arg("refused")
            .current_dir(self.scene.folder())
            .env("RUST_LOG", "trace")
            .envs(self.scene.environment.iter().map(|(name, value)| (name, value)))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap()
    }
}

#[test]
fn no_secret_is_in_what_is_said_of_it() {
    let mut refused = Refused::new();
    refused.bad_keys();
    refused.pasted();
    refused.bad_unlocks();
    refused.bad_documents();
    let output = refused.run();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("yaml started"), "{text}");
    let said = text.lines().filter(|line| line.contains("Refusal {")).count();
    assert_eq!(said, refused.count, "{text}");
    let said = text.lines().filter(|line| line.starts_with("document ")).count();
    assert_eq!(said, refused.documents, "{text}");
    for expected in ["not hexadecimal", "not base64", "not PEM", "wrong passphrase or key"] {
        assert!(text.contains(expected), "{expected} is not said: {text}");
    }

    refused.scene.write("output", text.as_bytes());
    refused.scene.write("errors", b"");
    refused.scene.write("terminal", b"");
    let scene = &refused.scene;
    let needles = [refused.needles, scene.needles.clone(), scene.needles_of_stores()].concat();
    let (log, found) = written(scene, &needles);
    assert!(log.contains(" TRACE "));
    assert!(found.is_empty(), "{found:#?}");
}
