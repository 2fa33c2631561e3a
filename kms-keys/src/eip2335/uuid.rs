//! Random UUIDs (RFC 9562, version 4).

use super::Eip2335Error;
use crate::hex;

/// Where hyphens stand in the text of a UUID.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// A new random UUID.
pub(super) fn random() -> Result<String, Eip2335Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Eip2335Error::RandomnessUnavailable)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = hex::encode(&bytes);
    for at in HYPHENS {
        text.insert(at, '-');
    }
    Ok(text)
}

/// Whether text has the form of a UUID, of any version and either case.
pub(super) fn is_uuid(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match HYPHENS.contains(&at) {
        true => byte == b'-',
        false => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_uuids_are_of_version_4_and_differ() {
        let uuid = random().unwrap();
        assert!(is_uuid(&uuid), "{uuid}");
        assert_eq!(&uuid[14..15], "4");
        assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"));
        assert_ne!(random().unwrap(), uuid);
    }

    #[test]
    fn other_text_is_no_uuid() {
        assert!(is_uuid("1D85AE20-35c5-4611-98e8-aa14a633906f"));
        for text in [
            "",
            "1d85ae2035c5461198e8aa14a633906f",
            "1d85ae20-35c5-4611-98e8-aa14a633906",
            "1d85ae20-35c5-4611-98e8-aa14a633906g",
            "1d85ae20-35c5-4611-98e8aa-14a633906f",
            "{1d85ae20-35c5-4611-98e8-aa14a63390}",
        ] {
            assert!(!is_uuid(text), "{text}");
        }
    }
}
