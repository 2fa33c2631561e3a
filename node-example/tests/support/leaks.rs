//! Looking for secrets in what a process printed.

use std::process::Output;

use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding};

use super::KEYS;

/// How many bytes of a secret in a row are too many. A multiple of three, so that their base64
/// stands in the base64 of the whole wherever they are aligned.
const WINDOW: usize = 9;

/// Expects no secret of the good settings on either stream.
#[track_caller]
pub(crate) fn none_in(output: &Output) {
    for stream in [&output.stdout, &output.stderr] {
        if let Some(leak) = find(stream) {
            panic!("{leak}, in: {}", String::from_utf8_lossy(stream));
        }
    }
}

/// The first part of a secret that is found: as it is, in hexadecimal of either case, in base64 of
/// either alphabet, in base58, or as a list of decimal or hexadecimal bytes.
pub(crate) fn find(printed: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(printed);
    let lower = text.to_lowercase();
    // Lists are printed on one line or on many.
    let dense: String = lower.chars().filter(|c| !c.is_whitespace()).collect();
    for key in &KEYS {
        let secret = base16ct::lower::decode_vec(key.secret).unwrap();
        let found = |form: &str| Some(format!("{} leaks {form}", key.file));
        if text.contains(&bs58::encode(&secret).into_string()) {
            return found("in base58");
        }
        for part in secret.windows(WINDOW) {
            if printed.windows(WINDOW).any(|window| window == part) {
                return found("as it is");
            }
            if lower.contains(&base16ct::lower::encode_string(part)) {
                return found("in hexadecimal");
            }
            let base64 =
                [Base64Unpadded::encode_string(part), Base64UrlUnpadded::encode_string(part)];
            if base64.iter().any(|part| text.contains(part)) {
                return found("in base64");
            }
            let list = |form: fn(&u8) -> String| part.iter().map(form).collect::<Vec<_>>();
            let lists = [
                list(u8::to_string),
                list(|byte| format!("{byte:#04x}")),
                list(|byte| format!("{byte:02x}")),
            ];
            if lists.iter().any(|list| dense.contains(&list.join(","))) {
                return found("as a list");
            }
            if lists.iter().any(|list| lower.contains(&list.join(" "))) {
                return found("as a list of words");
            }
        }
    }
    None
}
