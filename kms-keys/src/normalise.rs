//! One spelling for text that looks alike.

use kms_secrets::SecretBytes;
use unicode_normalization::UnicodeNormalization;

/// Secret text in normalisation form NFKD (Unicode Standard Annex 15), without the characters that
/// `keep` refuses.
pub(crate) fn nfkd(text: &str, keep: impl Fn(char) -> bool) -> SecretBytes {
    // Counted before it is written, so that the buffer has its size from the start.
    let characters = || text.nfkd().filter(|character| keep(*character));
    let len = characters().map(char::len_utf8).sum();
    let mut normalised = SecretBytes::with_capacity(len);
    let mut rest = normalised.buffer_mut();
    for character in characters() {
        let (place, behind) = rest.split_at_mut(character.len_utf8());
        character.encode_utf8(place);
        rest = behind;
    }
    normalised.set_len(len);
    normalised
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_taken_apart_and_filtered() {
        // The last is U+FDFA, which has the longest decomposition of all.
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("\u{e9}\u{fb01}", "e\u{301}fi"),
            ("a\nb", "ab"),
            (
                "\u{fdfa}",
                "\u{635}\u{644}\u{649} \u{627}\u{644}\u{644}\u{647} \u{639}\u{644}\u{64a}\u{647} \u{648}\u{633}\u{644}\u{645}",
            ),
        ] {
            let normalised = nfkd(text, |character| !character.is_control());
            assert_eq!(normalised.expose(), expected.as_bytes(), "{text}");
        }
    }
}
