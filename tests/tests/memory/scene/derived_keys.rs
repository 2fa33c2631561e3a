//! What key derivations put out, computed from what documents say alone.

use pbkdf2::pbkdf2_hmac;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::Decode;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use serde_json::Value;
use sha2::Sha256;

/// The 32 bytes that the passphrase of an EIP-2335 keystore or of an encrypted PKCS#8 document becomes.
pub fn of(document: &[u8], passphrase: &[u8]) -> [u8; 32] {
    match serde_json::from_slice::<Value>(document) {
        Ok(json) => of_eip2335(&json["crypto"]["kdf"], passphrase),
        Err(_) => of_pkcs8(document, passphrase),
    }
}

fn of_eip2335(kdf: &Value, passphrase: &[u8]) -> [u8; 32] {
    let params = &kdf["params"];
    let number = |name: &str| u32::try_from(params[name].as_u64().unwrap()).unwrap();
    let salt = base16ct::lower::decode_vec(params["salt"].as_str().unwrap()).unwrap();
    let mut key = [0; 32];
    if kdf["function"] == "scrypt" {
        return scrypt(passphrase, &salt, number("n").into(), number("r"), number("p"));
    }
    pbkdf2_hmac::<Sha256>(passphrase, &salt, number("c"), &mut key);
    key
}

fn of_pkcs8(pem: &[u8], passphrase: &[u8]) -> [u8; 32] {
    let (_, der) = pem_rfc7468::decode_vec(pem).unwrap();
    let info = EncryptedPrivateKeyInfoRef::from_der(&der).unwrap();
    let EncryptionScheme::Pbes2(parameters) = &info.encryption_algorithm else {
        panic!("no PBES2");
    };
    let Kdf::Scrypt(params) = &parameters.kdf else {
        panic!("no scrypt");
    };
    let (r, p) = (params.block_size.into(), params.parallelization.into());
    scrypt(passphrase, params.salt.as_bytes(), params.cost_parameter, r, p)
}

fn scrypt(passphrase: &[u8], salt: &[u8], n: u64, r: u32, p: u32) -> [u8; 32] {
    let log_n = u8::try_from(n.trailing_zeros()).unwrap();
    let params = scrypt::Params::new(log_n, r, p).unwrap();
    let mut key = [0; 32];
    scrypt::scrypt(passphrase, salt, &params, &mut key).unwrap();
    key
}
