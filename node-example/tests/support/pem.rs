//! Keys in PEM. Those of the good settings are made of their secrets, so that they are known to the
//! search for leaks.

use base64ct::{Base64, Encoding};

/// An Ed25519 key in PKCS#8 (RFC 8410, section 7).
pub(crate) fn ed25519(secret: &str) -> String {
    pem("PRIVATE KEY", &format!("302e020100300506032b657004220420{secret}"))
}

/// A secp256k1 key in PKCS#8, without its public key.
pub(crate) fn secp256k1(secret: &str) -> String {
    let start = "303e020100301006072a8648ce3d020106052b8104000a042730250201010420";
    pem("PRIVATE KEY", &format!("{start}{secret}"))
}

/// An Ed25519 public key (SPKI).
pub(crate) fn ed25519_public(public: &str) -> String {
    pem("PUBLIC KEY", &format!("302a300506032b6570032100{public}"))
}

/// A secp256k1 key in the form of SEC 1.
pub(crate) fn sec1(secret: &str) -> String {
    pem("EC PRIVATE KEY", &format!("302e0201010420{secret}a00706052b8104000a"))
}

/// A throw-away key: `openssl genpkey -algorithm ed25519 | openssl pkcs8 -topk8 -v2 aes256`.
pub(crate) const ENCRYPTED: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgjOaNwBOtpfQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEENGGI0WDmk/Mafzb+Q1z7dcEQKOu
ce3wdjnFFdJ8KVyD23V4rBiNUpvjUmM2sqWwBJ0A++XjymcIkvMXjWzijAVJuUWe
vlnSWdStohLLik8nAVI=
-----END ENCRYPTED PRIVATE KEY-----
";

fn pem(label: &str, der: &str) -> String {
    let der = base16ct::lower::decode_vec(der).unwrap();
    let body = Base64::encode_string(&der);
    let lines = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap());
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}
