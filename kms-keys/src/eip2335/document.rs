//! Keystores, read from JSON and written as JSON.

use serde_json::{Value, json};

use super::json::{Document, KdfParams, Module, need};
use super::keystore::refusal;
use super::{Eip2335Error, Eip2335Keystore, uuid};
use crate::password_kdf::PasswordKdf;
use crate::{Bls12381PublicKey, hex};

const CHECKSUM: &str = "sha256";
const CIPHER: &str = "aes-128-ctr";
const SCRYPT: &str = "scrypt";
const PBKDF2: &str = "pbkdf2";
const PRF: &str = "hmac-sha256";

const BYTES_16: &str = "16 bytes in hexadecimal";
const BYTES_32: &str = "32 bytes in hexadecimal";

impl Eip2335Keystore {
    /// Reads a keystore of at most 64 KiB. Its cost is bounded here: scrypt may ask for 512 MiB and a few
    /// seconds, PBKDF2 for half a minute. Fields that EIP-2335 does not know are ignored.
    ///
    /// # Errors
    /// [`Eip2335Error::TooLarge`], [`Eip2335Error::Malformed`], [`Eip2335Error::Missing`],
    /// [`Eip2335Error::BadValue`], [`Eip2335Error::CostRefused`], [`Eip2335Error::BadPublicKey`].
    pub fn from_json(json: &[u8]) -> Result<Self, Eip2335Error> {
        let document = Document::from_json(json)?;
        expect(need(document.version, "version")? == 4, "version", "4")?;
        let crypto = need(document.crypto, "crypto")?;
        let kdf_module = need(crypto.kdf, "crypto.kdf")?;
        let checksum = need(crypto.checksum, "crypto.checksum")?;
        let cipher = need(crypto.cipher, "crypto.cipher")?;
        expect(checksum.function == CHECKSUM, "crypto.checksum.function", CHECKSUM)?;
        expect(cipher.function == CIPHER, "crypto.cipher.function", CIPHER)?;
        let (kdf, salt) = read_kdf(kdf_module)?;
        let public_key = document.pubkey.map(|text| {
            let bytes = hex::decode(text.as_bytes()).map_err(Eip2335Error::BadPublicKey)?;
            Bls12381PublicKey::from_bytes(&bytes).map_err(Eip2335Error::BadPublicKey)
        });
        let uuid = need(document.uuid, "uuid")?;
        expect(uuid::is_uuid(&uuid), "uuid", "a UUID")?;
        Ok(Self {
            kdf,
            salt,
            iv: array(&cipher.params.iv, "crypto.cipher.params.iv", BYTES_16)?,
            ciphertext: array(&cipher.message, "crypto.cipher.message", BYTES_32)?,
            checksum: array(&checksum.message, "crypto.checksum.message", BYTES_32)?,
            description: document.description,
            public_key: public_key.transpose()?,
            path: need(document.path, "path")?,
            uuid,
        })
    }

    /// The document, in JSON with a newline at its end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let (kdf, mut params) = match self.kdf {
            PasswordKdf::Scrypt(cost) => (SCRYPT, json!({ "n": cost.n, "r": cost.r, "p": cost.p })),
            PasswordKdf::Pbkdf2 { rounds } => (PBKDF2, json!({ "c": rounds, "prf": PRF })),
        };
        params["dklen"] = Value::from(32);
        params["salt"] = Value::from(hex::encode(&self.salt));
        let checksum = hex::encode(&self.checksum);
        let (iv, ciphertext) = (hex::encode(&self.iv), hex::encode(&self.ciphertext));
        let mut document = json!({
            "crypto": {
                "kdf": { "function": kdf, "params": params, "message": "" },
                "checksum": { "function": CHECKSUM, "params": {}, "message": checksum },
                "cipher": { "function": CIPHER, "params": { "iv": iv }, "message": ciphertext },
            },
            "path": self.path,
            "uuid": self.uuid,
            "version": 4,
        });
        if let Some(description) = &self.description {
            document["description"] = Value::from(description.as_str());
        }
        if let Some(public_key) = &self.public_key {
            document["pubkey"] = Value::from(hex::encode(&public_key.to_bytes()));
        }
        format!("{document:#}\n").into_bytes()
    }
}

/// The derivation and its salt.
fn read_kdf(module: Module<KdfParams>) -> Result<(PasswordKdf, Vec<u8>), Eip2335Error> {
    let params = module.params;
    let kdf = match module.function.as_str() {
        SCRYPT => PasswordKdf::scrypt(
            need(params.n, "crypto.kdf.params.n")?,
            need(params.r, "crypto.kdf.params.r")?,
            need(params.p, "crypto.kdf.params.p")?,
        ),
        PBKDF2 => {
            let prf = need(params.prf, "crypto.kdf.params.prf")?;
            expect(prf == PRF, "crypto.kdf.params.prf", PRF)?;
            PasswordKdf::pbkdf2(need(params.c, "crypto.kdf.params.c")?)
        }
        _ => return Err(bad("crypto.kdf.function", "scrypt or pbkdf2")),
    };
    let dklen = need(params.dklen, "crypto.kdf.params.dklen")?;
    expect(dklen == 32, "crypto.kdf.params.dklen", "32")?;
    let field = "crypto.kdf.params.salt";
    let salt = hex::decode(need(params.salt, field)?.as_bytes());
    // Tools write 32 bytes.
    let salt = salt.ok().filter(|salt| (8..=64).contains(&salt.len()));
    Ok((kdf.map_err(refusal)?, salt.ok_or_else(|| bad(field, "8 to 64 bytes in hexadecimal"))?))
}

fn array<const N: usize>(
    text: &str,
    field: &'static str,
    expected: &'static str,
) -> Result<[u8; N], Eip2335Error> {
    let bytes = hex::decode(text.as_bytes()).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| bad(field, expected))
}

fn expect(fits: bool, field: &'static str, expected: &'static str) -> Result<(), Eip2335Error> {
    if fits { Ok(()) } else { Err(bad(field, expected)) }
}

fn bad(field: &'static str, expected: &'static str) -> Eip2335Error {
    Eip2335Error::BadValue { field, expected }
}
