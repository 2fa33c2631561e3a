//! From the text of a secret to its bytes, in wiped memory.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::SecretBytes;

/// How a secret is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal digits of either case, with an optional `0x` before them and one newline after.
    Hex,
    /// Base64 with padding (RFC 4648, section 4), with one newline after it.
    Base64,
    /// One PEM block (RFC 7468).
    Pem,
    /// The bytes themselves.
    Raw,
}

/// A decoded secret. PEM says by its label what the bytes are; the other encodings can't.
#[derive(Debug)]
pub enum DecodedSecret {
    /// The bytes of hexadecimal, base64 or raw text.
    Bytes(SecretBytes),
    /// The content of a PEM block.
    Pem {
        /// What stands between `-----BEGIN ` and `-----`, for example `PRIVATE KEY`.
        label: String,
        /// The decoded body, DER as a rule.
        der: SecretBytes,
    },
}

/// Why a text is not what its encoding says. No variant holds any part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A character that is no hexadecimal digit.
    #[error("not hexadecimal: character {position} is not one of 0-9, a-f, A-F")]
    NotHex {
        /// Which character of the text, counted from 1.
        position: usize,
    },
    /// Hexadecimal digits come in pairs.
    #[error("not hexadecimal: an odd number of digits ({digits})")]
    OddHex {
        /// How many digits there are.
        digits: usize,
    },
    /// Not padded base64 of RFC 4648, section 4.
    #[error("not base64 (RFC 4648 with padding, in one line)")]
    NotBase64,
    /// Not one PEM block.
    #[error("not PEM (RFC 7468, one block)")]
    NotPem,
    /// Nothing is left after the prefix and the newline.
    #[error("holds no secret: nothing but a prefix or a newline")]
    Nothing,
}

impl Encoding {
    /// The encoding a text seems to have: PEM if it begins like PEM, else hexadecimal.
    #[must_use]
    pub fn guess(text: &[u8]) -> Self {
        if text.trim_ascii_start().starts_with(b"-----BEGIN ") { Self::Pem } else { Self::Hex }
    }

    /// Decodes `text` into memory that is wiped.
    ///
    /// # Errors
    /// [`DecodeError`], when `text` is not of this encoding or holds nothing.
    pub fn decode(self, text: &[u8]) -> Result<DecodedSecret, DecodeError> {
        let decoded = match self {
            Self::Raw => DecodedSecret::Bytes(SecretBytes::from_slice(text)),
            Self::Hex => DecodedSecret::Bytes(decode_hex(text)?),
            Self::Base64 => DecodedSecret::Bytes(decode_base64(text)?),
            Self::Pem => decode_pem(text)?,
        };
        let (DecodedSecret::Bytes(bytes) | DecodedSecret::Pem { der: bytes, .. }) = &decoded;
        if bytes.is_empty() { Err(DecodeError::Nothing) } else { Ok(decoded) }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Pem => "pem",
            Self::Raw => "raw",
        })
    }
}

fn without_newline(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

fn decode_hex(text: &[u8]) -> Result<SecretBytes, DecodeError> {
    let line = without_newline(text);
    let digits = line.strip_prefix(b"0x").unwrap_or(line);
    let before = line.len() - digits.len();
    let mut secret = SecretBytes::with_capacity(digits.len() / 2);
    match base16ct::mixed::decode(digits, secret.buffer_mut()).map(<[u8]>::len) {
        Ok(len) => {
            secret.set_len(len);
            Ok(secret)
        }
        Err(_) => Err(match digits.iter().position(|digit| !digit.is_ascii_hexdigit()) {
            Some(index) => DecodeError::NotHex { position: before + index + 1 },
            None => DecodeError::OddHex { digits: digits.len() },
        }),
    }
}

fn decode_base64(text: &[u8]) -> Result<SecretBytes, DecodeError> {
    let line = without_newline(text);
    let mut secret = SecretBytes::with_capacity(line.len() / 4 * 3);
    match Base64::decode(line, secret.buffer_mut()).map(<[u8]>::len) {
        Ok(len) => {
            secret.set_len(len);
            Ok(secret)
        }
        Err(_) => Err(DecodeError::NotBase64),
    }
}

fn decode_pem(text: &[u8]) -> Result<DecodedSecret, DecodeError> {
    let mut der = SecretBytes::with_capacity(text.len());
    let (label, len) = pem_rfc7468::decode(text, der.buffer_mut())
        .map(|(label, body)| (label.to_owned(), body.len()))
        .map_err(|_| DecodeError::NotPem)?;
    der.set_len(len);
    Ok(DecodedSecret::Pem { label, der })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(encoding: Encoding, text: &[u8]) -> Result<Vec<u8>, DecodeError> {
        encoding.decode(text).map(|decoded| match decoded {
            DecodedSecret::Bytes(secret) => secret.expose().to_vec(),
            DecodedSecret::Pem { der, .. } => der.expose().to_vec(),
        })
    }

    #[test]
    fn hex_may_have_a_prefix_and_one_newline() {
        for text in ["00ffAb", "0x00ffAb", "00ffAb\n", "0x00ffAb\r\n"] {
            assert_eq!(bytes(Encoding::Hex, text.as_bytes()).unwrap(), [0x00, 0xff, 0xab]);
        }
    }

    #[test]
    fn hex_refusals_say_where() {
        let refused = |text: &[u8]| bytes(Encoding::Hex, text).unwrap_err();
        assert_eq!(refused(b"00fg"), DecodeError::NotHex { position: 4 });
        assert_eq!(refused(b"0x0_"), DecodeError::NotHex { position: 4 });
        assert_eq!(refused(b"00ff\n\n"), DecodeError::NotHex { position: 5 });
        assert_eq!(refused(b" 00ff"), DecodeError::NotHex { position: 1 });
        assert_eq!(refused(b"00f"), DecodeError::OddHex { digits: 3 });
        assert_eq!(refused(b"0x"), DecodeError::Nothing);
        assert_eq!(refused(b"\n"), DecodeError::Nothing);
    }

    #[test]
    fn base64_is_padded_and_may_have_one_newline() {
        assert_eq!(bytes(Encoding::Base64, b"AP+r\n").unwrap(), [0x00, 0xff, 0xab]);
        assert_eq!(bytes(Encoding::Base64, b"AP8=").unwrap(), [0x00, 0xff]);
        for text in [&b"AP8"[..], b"AP+r\n\n", b"AP_r", b"A", b"===="] {
            assert_eq!(bytes(Encoding::Base64, text).unwrap_err(), DecodeError::NotBase64);
        }
    }

    #[test]
    fn raw_keeps_every_byte() {
        assert_eq!(bytes(Encoding::Raw, b"0x\n").unwrap(), b"0x\n");
        assert_eq!(bytes(Encoding::Raw, b"").unwrap_err(), DecodeError::Nothing);
    }

    #[test]
    fn pem_gives_label_and_body() {
        let text = b"-----BEGIN PRIVATE KEY-----\nAP+r\n-----END PRIVATE KEY-----\n";
        let DecodedSecret::Pem { label, der } = Encoding::Pem.decode(text).unwrap() else {
            panic!("not PEM");
        };
        assert_eq!((label.as_str(), der.expose()), ("PRIVATE KEY", &[0x00, 0xff, 0xab][..]));
        for text in [&b"00ff"[..], b"-----BEGIN X-----\nAP+r\n-----END Y-----\n", b""] {
            assert_eq!(bytes(Encoding::Pem, text).unwrap_err(), DecodeError::NotPem);
        }
    }

    #[test]
    fn the_encoding_is_guessed_from_the_first_line() {
        assert_eq!(Encoding::guess(b"-----BEGIN PRIVATE KEY-----"), Encoding::Pem);
        assert_eq!(Encoding::guess(b"\n-----BEGIN PRIVATE KEY-----"), Encoding::Pem);
        assert_eq!(Encoding::guess(b"00ff"), Encoding::Hex);
        assert_eq!(Encoding::guess(b""), Encoding::Hex);
    }
}
