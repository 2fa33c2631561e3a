//! Keys in files and variables, for the backend that reads them there.

use base64ct::{Base64, Encoding as _};
use kms_keys::{KeyType, SecretKey};

use super::Scene;

/// The forms of a key's text.
const FORMS: [&str; 7] = ["hex", "raw", "base64", "pem", "env-hex", "env-base64", "env-pem"];

impl Scene {
    /// A key of this type in a file of each form, and in a variable of each form that variables have.
    pub(super) fn add_sources(&mut self, key_type: KeyType) {
        for form in FORMS {
            if form.ends_with("pem") && key_type == KeyType::Bls12381 {
                continue;
            }
            let key = self.key(form, key_type);
            let bytes = key.expose_secret().expose();
            let text = match form {
                "raw" => bytes.to_vec(),
                "base64" | "env-base64" => Base64::encode_string(bytes).into(),
                "pem" | "env-pem" => pem(&key).into(),
                _ => hex(&key).into(),
            };
            let encoding = match form.trim_start_matches("env-") {
                // Known by their looks.
                "hex" | "pem" => String::new(),
                named => format!(", encoding: {named}"),
            };
            let place = if form.starts_with("env") {
                let variable = format!("KEY_HOLDER_{key_type}_{form}").replace('-', "_");
                self.environment.push((variable.clone(), String::from_utf8(text).unwrap()));
                format!("env: {variable}")
            } else {
                let file = format!("{key_type}.{form}");
                self.write(&file, &text);
                format!("file: {file}")
            };
            let rest = format!("backend: files, source: {{ {place}{encoding} }}");
            self.declare(&format!("{key_type}/{form}"), key_type, &rest);
            if form == "raw" {
                self.bare.push(key);
            }
        }
    }
}

pub fn hex(key: &SecretKey) -> String {
    base16ct::lower::encode_string(key.expose_secret().expose())
}

/// PKCS#8: Ed25519 as in RFC 8410, secp256k1 as in RFC 5915.
pub fn pem(key: &SecretKey) -> String {
    let before = match key.key_type() {
        KeyType::Ed25519 => "302e020100300506032b657004220420",
        _ => "303e020100301006072a8648ce3d020106052b8104000a042730250201010420",
    };
    let mut der = base16ct::lower::decode_vec(before).unwrap();
    der.extend(key.expose_secret().expose());
    let text = Base64::encode_string(&der);
    let lines: Vec<_> =
        text.as_bytes().chunks(64).map(|line| line.escape_ascii().to_string()).collect();
    let text = lines.join("\n");
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}
