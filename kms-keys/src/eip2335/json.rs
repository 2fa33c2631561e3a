//! The JSON form of a keystore, as it stands in the document. What the values mean is checked where
//! they are used.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Eip2335Error;

/// Keystores have about a thousand bytes; the description may be longer.
const MOST_BYTES: usize = 64 * 1024;

/// Every field is optional here, so that a missing one can be named. Further fields, which some tools
/// write, are ignored.
#[derive(Deserialize)]
pub(super) struct Document {
    pub(super) crypto: Option<Crypto>,
    pub(super) description: Option<String>,
    pub(super) pubkey: Option<String>,
    pub(super) path: Option<String>,
    pub(super) uuid: Option<String>,
    pub(super) version: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Crypto {
    pub(super) kdf: Option<Module<KdfParams>>,
    pub(super) checksum: Option<Module<IgnoredAny>>,
    pub(super) cipher: Option<Module<CipherParams>>,
}

#[derive(Deserialize)]
pub(super) struct Module<P> {
    pub(super) function: String,
    pub(super) params: P,
    pub(super) message: String,
}

/// Those of scrypt and of PBKDF2 together; which there must be, the function says.
#[derive(Deserialize)]
pub(super) struct KdfParams {
    pub(super) dklen: Option<u64>,
    pub(super) n: Option<u64>,
    pub(super) r: Option<u64>,
    pub(super) p: Option<u64>,
    pub(super) c: Option<u64>,
    pub(super) prf: Option<String>,
    pub(super) salt: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct CipherParams {
    pub(super) iv: String,
}

impl Document {
    pub(super) fn from_json(json: &[u8]) -> Result<Self, Eip2335Error> {
        if json.len() > MOST_BYTES {
            return Err(Eip2335Error::TooLarge { most: MOST_BYTES, got: json.len() });
        }
        // The library looks at no text in fields that it ignores.
        let text = str::from_utf8(json).map_err(|error| {
            let (mut line, mut column) = (1, 1);
            for byte in &json[..error.valid_up_to()] {
                (line, column) = if *byte == b'\n' { (line + 1, 1) } else { (line, column + 1) };
            }
            Eip2335Error::Malformed { line, column }
        })?;
        // Its own message could repeat what it read, which need not be a keystore.
        serde_json::from_str(text)
            .map_err(|error| Eip2335Error::Malformed { line: error.line(), column: error.column() })
    }
}

/// The value of a field that must be there.
pub(super) fn need<T>(value: Option<T>, field: &'static str) -> Result<T, Eip2335Error> {
    value.ok_or(Eip2335Error::Missing { field })
}
