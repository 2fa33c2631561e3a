//! Hexadecimal text.

use kms_secrets::SecretArray;

use crate::KeyError;

/// Public bytes in lower case.
pub(crate) fn encode(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// Public bytes from digits of either case, with an optional `0x` in front.
pub(crate) fn decode(text: &[u8]) -> Result<Vec<u8>, KeyError> {
    base16ct::mixed::decode_vec(without_prefix(text)).map_err(|_| KeyError::BadHex)
}

/// Secret bytes from digits of either case, with an optional `0x` in front. Decoded in constant time,
/// into the place where they stay.
pub(crate) fn decode_secret<const N: usize>(text: &[u8]) -> Result<SecretArray<N>, KeyError> {
    let digits = without_prefix(text);
    if !digits.len().is_multiple_of(2) {
        return Err(KeyError::BadHex);
    }
    if digits.len() != 2 * N {
        // What is no hexadecimal has no length in bytes either. The key is refused in any case, so
        // nothing is given away by stopping at the first other character.
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(KeyError::BadHex);
        }
        return Err(KeyError::WrongLength { expected: N, got: digits.len() / 2 });
    }
    SecretArray::try_init_with(|bytes| {
        base16ct::mixed::decode(digits, bytes).map(drop).map_err(|_| KeyError::BadHex)
    })
}

fn without_prefix(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"0x").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_case_and_a_prefix_are_read() {
        assert_eq!(decode(b"0xAbcD"), Ok(vec![0xab, 0xcd]));
        assert_eq!(decode_secret::<2>(b"0xAbcD").unwrap().expose(), &[0xab, 0xcd]);
        assert_eq!(encode(&[0xab, 0xcd]), "abcd");
    }

    #[test]
    fn other_text_is_refused() {
        for text in [&b"0"[..], b"0g", b"0x0", b"0X00", b"00 ", b"0x0x00", "é".as_bytes()] {
            assert_eq!(decode(text), Err(KeyError::BadHex), "{text:?}");
        }
        assert_eq!(decode_secret::<1>(b"zz").unwrap_err(), KeyError::BadHex);
        assert_eq!(decode_secret::<32>(b"zz").unwrap_err(), KeyError::BadHex);
        assert_eq!(
            decode_secret::<2>(b"0xabcdef").unwrap_err(),
            KeyError::WrongLength { expected: 2, got: 3 }
        );
    }
}
