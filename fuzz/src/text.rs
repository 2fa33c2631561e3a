//! Short texts: secrets as people write them down, names of keys, paths, mnemonics.

use base64ct::{Base64, Encoding as _};
use kms_keys::{DerivationPath, KeyId, KeyIdError, KeyType, Mnemonic, MnemonicError};
use kms_secrets::{DecodeError, DecodedSecret, Encoding};
use pem_rfc7468::LineEnding;

/// A secret in each of the encodings that settings know.
pub fn secret_text(data: &[u8]) -> bool {
    let mut read = false;
    for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Pem, Encoding::Raw] {
        match encoding.decode(data) {
            Ok(decoded) => {
                let written = written(encoding, &decoded);
                let again = encoding.decode(&written).unwrap();
                assert_eq!(label_and_bytes(&again), label_and_bytes(&decoded));
                assert!(label_and_bytes(&decoded).1.len() <= data.len());
                read |= encoding != Encoding::Raw;
            }
            Err(DecodeError::NotHex { position }) => {
                assert!(!data[position - 1].is_ascii_hexdigit());
            }
            Err(DecodeError::OddHex { digits }) => assert!(digits % 2 == 1),
            Err(_) => {}
        }
    }
    // Whatever it looks like, it is decoded or refused.
    drop(Encoding::guess(data).decode(data));
    read
}

/// A key's name.
pub fn key_id(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else {
        return false;
    };
    let id = KeyId::new(text);
    let allowed =
        |byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed);
    assert_eq!(id.is_ok(), text.len() <= 128 && text.split('/').all(is_segment));
    match &id {
        Ok(id) => {
            assert_eq!(id.as_str(), text);
            let json = serde_json::to_string(id).unwrap();
            assert_eq!(serde_json::from_str::<KeyId>(&json).unwrap(), *id);
        }
        // Of the text, an error holds one character at most.
        Err(KeyIdError::BadCharacter { character, position }) => {
            assert!(text[*position..].starts_with(*character));
        }
        Err(KeyIdError::EmptySegment { position } | KeyIdError::DotSegment { position }) => {
            assert!(text[..*position].is_empty() || text[..*position].ends_with('/'));
        }
        Err(KeyIdError::TooLong { got }) => assert_eq!(*got, text.len()),
        Err(_) => assert!(text.is_empty()),
    }
    id.is_ok()
}

/// A derivation path.
pub fn path(data: &[u8]) -> bool {
    let Some(Ok(path)) = str::from_utf8(data).ok().map(str::parse::<DerivationPath>) else {
        return false;
    };
    let written = path.to_string();
    assert_eq!(written.as_bytes(), data.iter().map(plain_mark).collect::<Vec<_>>());
    assert_eq!(written.parse().as_ref(), Ok(&path));
    assert!((1..=32).contains(&written.matches('/').count()));
    let json = serde_json::to_string(&path).unwrap();
    assert_eq!(serde_json::from_str::<DerivationPath>(&json).unwrap(), path);
    let hardened = written.matches('\'').count();
    let steps = written.matches('/').count();
    assert_eq!(path.check(KeyType::Ed25519).is_ok(), hardened == steps);
    assert_eq!(path.check(KeyType::Bls12381).is_ok(), hardened == 0);
    true
}

/// A mnemonic.
pub fn mnemonic(data: &[u8]) -> bool {
    let given: Vec<_> = str::from_utf8(data).unwrap_or_default().split_whitespace().collect();
    let words = given.len();
    match Mnemonic::parse(data) {
        Ok(mnemonic) => {
            assert_eq!(mnemonic.words(), words);
            let phrase = mnemonic.phrase();
            assert_eq!(phrase.expose(), given.join(" ").as_bytes());
            let again = Mnemonic::parse(phrase.expose()).unwrap();
            assert_eq!(again.entropy().expose(), mnemonic.entropy().expose());
            true
        }
        Err(MnemonicError::UnknownWord { position }) => {
            assert!((1..=words).contains(&position));
            false
        }
        Err(MnemonicError::WrongWordCount { got }) => {
            assert_eq!(got, words);
            false
        }
        Err(_) => false,
    }
}

fn written(encoding: Encoding, decoded: &DecodedSecret) -> Vec<u8> {
    let (label, bytes) = label_and_bytes(decoded);
    match encoding {
        Encoding::Hex => base16ct::lower::encode_string(bytes).into_bytes(),
        Encoding::Base64 => Base64::encode_string(bytes).into_bytes(),
        Encoding::Pem => pem_rfc7468::encode_string(label, LineEnding::LF, bytes).unwrap().into(),
        Encoding::Raw => bytes.to_vec(),
    }
}

fn label_and_bytes(decoded: &DecodedSecret) -> (&str, &[u8]) {
    match decoded {
        DecodedSecret::Bytes(bytes) => ("", bytes.expose()),
        DecodedSecret::Pem { label, der } => (label, der.expose()),
    }
}

/// Paths are written with `'` alone.
fn plain_mark(byte: &u8) -> u8 {
    if matches!(byte, b'h' | b'H') { b'\'' } else { *byte }
}
