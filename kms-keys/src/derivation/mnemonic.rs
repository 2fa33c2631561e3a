//! BIP-39: a seed written down as English words.

use std::fmt;

use bip39::Language;
use kms_secrets::{SecretBytes, on_wiped_stack};
use pbkdf2::pbkdf2_hmac;
use sha2::Sha512;
use zeroize::Zeroizing;

use super::{MnemonicError, Seed};
use crate::normalise::nfkd;

/// BIP-39, "From mnemonic to seed".
const ROUNDS: u32 = 2048;
/// No word of the English list is longer; a space follows each but the last.
const LONGEST_WORD: usize = 8;

/// A BIP-39 mnemonic of 12, 15, 18, 21 or 24 English words, kept as the entropy that they spell.
///
/// No `Clone`, no `Display`, no serialisation. `Debug` shows how many words there are.
///
/// ```compile_fail
/// let mnemonic = kms_keys::Mnemonic::generate(12).unwrap();
/// let copy = mnemonic.clone();
/// ```
///
/// ```compile_fail
/// let mnemonic = kms_keys::Mnemonic::generate(12).unwrap();
/// println!("{mnemonic}");
/// ```
pub struct Mnemonic(SecretBytes);

impl Mnemonic {
    /// A new mnemonic of 12, 15, 18, 21 or 24 words from the system's randomness.
    ///
    /// # Errors
    /// [`MnemonicError::WrongWordCount`], [`MnemonicError::RandomnessUnavailable`].
    pub fn generate(words: usize) -> Result<Self, MnemonicError> {
        if ![12, 15, 18, 21, 24].contains(&words) {
            return Err(MnemonicError::WrongWordCount { got: words });
        }
        let len = words / 3 * 4;
        let mut entropy = SecretBytes::with_capacity(len);
        getrandom::fill(entropy.buffer_mut()).map_err(MnemonicError::RandomnessUnavailable)?;
        entropy.set_len(len);
        Ok(Self(entropy))
    }

    /// Reads the words, in lower case, from UTF-8 text with any white space between them and around.
    /// The caller wipes its own copy.
    ///
    /// # Errors
    /// [`MnemonicError::NotUtf8`], [`MnemonicError::WrongWordCount`], [`MnemonicError::UnknownWord`],
    /// [`MnemonicError::WrongChecksum`].
    pub fn parse(text: &[u8]) -> Result<Self, MnemonicError> {
        on_wiped_stack(|| Self::parse_here(text))
    }

    fn parse_here(text: &[u8]) -> Result<Self, MnemonicError> {
        let text = str::from_utf8(text).map_err(|_| MnemonicError::NotUtf8)?;
        let words =
            bip39::Mnemonic::parse_in_normalized(Language::English, text).map_err(refusal)?;
        let (entropy, len) = words.to_entropy_array();
        let entropy = Zeroizing::new(entropy);
        Ok(Self(SecretBytes::from_slice(&entropy[..len])))
    }

    /// The mnemonic that spells 16, 20, 24, 28 or 32 bytes of entropy. The caller wipes its own copy.
    ///
    /// # Errors
    /// [`MnemonicError::WrongEntropyLength`].
    pub fn from_entropy(entropy: &[u8]) -> Result<Self, MnemonicError> {
        match entropy.len() {
            16 | 20 | 24 | 28 | 32 => Ok(Self(SecretBytes::from_slice(entropy))),
            got => Err(MnemonicError::WrongEntropyLength { got }),
        }
    }

    /// The entropy that the words spell: 16, 20, 24, 28 or 32 bytes.
    #[must_use]
    pub fn entropy(&self) -> &SecretBytes {
        &self.0
    }

    /// How many words there are: 12, 15, 18, 21 or 24.
    #[must_use]
    pub fn words(&self) -> usize {
        self.0.len() / 4 * 3
    }

    /// The words, with a space between each two and nothing around.
    #[must_use]
    pub fn phrase(&self) -> SecretBytes {
        on_wiped_stack(|| self.phrase_here())
    }

    fn phrase_here(&self) -> SecretBytes {
        let mut phrase = SecretBytes::with_capacity(self.words() * (LONGEST_WORD + 1));
        let mut len = 0;
        // Entropy of these lengths always has words.
        if let Ok(words) = bip39::Mnemonic::from_entropy_in(Language::English, self.0.expose()) {
            for word in words.words() {
                for part in [if len == 0 { "" } else { " " }, word] {
                    phrase.buffer_mut()[len..][..part.len()].copy_from_slice(part.as_bytes());
                    len += part.len();
                }
            }
        }
        phrase.set_len(len);
        phrase
    }

    /// The seed of 64 bytes that these words and a passphrase give; every passphrase gives another,
    /// and none is wrong. The passphrase, often empty, is UTF-8 text and is normalised (NFKD) as BIP-39
    /// says. Takes some milliseconds (2048 rounds of PBKDF2). The caller wipes its own copy.
    ///
    /// # Errors
    /// [`MnemonicError::PassphraseNotUtf8`].
    pub fn to_seed(&self, passphrase: &[u8]) -> Result<Seed, MnemonicError> {
        on_wiped_stack(|| self.to_seed_here(passphrase))
    }

    fn to_seed_here(&self, passphrase: &[u8]) -> Result<Seed, MnemonicError> {
        let passphrase =
            str::from_utf8(passphrase).map_err(|_| MnemonicError::PassphraseNotUtf8)?;
        let passphrase = nfkd(passphrase, |_| true);
        let prefix = b"mnemonic";
        let mut salt = SecretBytes::with_capacity(prefix.len() + passphrase.len());
        let (front, back) = salt.buffer_mut().split_at_mut(prefix.len());
        front.copy_from_slice(prefix);
        back.copy_from_slice(passphrase.expose());
        salt.set_len(prefix.len() + passphrase.len());
        Ok(Seed::init_with(|seed| {
            pbkdf2_hmac::<Sha512>(self.phrase().expose(), salt.expose(), ROUNDS, seed);
        }))
    }
}

fn refusal(error: bip39::Error) -> MnemonicError {
    match error {
        bip39::Error::BadWordCount(got) => MnemonicError::WrongWordCount { got },
        bip39::Error::UnknownWord(index) => MnemonicError::UnknownWord { position: index + 1 },
        _ => MnemonicError::WrongChecksum,
    }
}

impl fmt::Debug for Mnemonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mnemonic").field("words", &self.words()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PHRASE: &str =
        "legal winner thank year wave sausage worth useful legal winner thank yellow";

    fn refused(text: &str) -> MnemonicError {
        Mnemonic::parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn generated_mnemonics_have_the_words_asked_for_and_are_read_back() {
        for words in [12, 15, 18, 21, 24] {
            let mnemonic = Mnemonic::generate(words).unwrap();
            assert_eq!(mnemonic.words(), words);
            let read = Mnemonic::parse(mnemonic.phrase().expose()).unwrap();
            assert_eq!(read.entropy().expose(), mnemonic.entropy().expose());
            let other = Mnemonic::generate(words).unwrap();
            assert_ne!(other.entropy().expose(), mnemonic.entropy().expose());
        }
        for got in [0, 1, 11, 13, 23, 25, usize::MAX] {
            let refused = MnemonicError::WrongWordCount { got };
            assert_eq!(Mnemonic::generate(got).unwrap_err(), refused);
        }
    }

    #[test]
    fn white_space_of_any_kind_is_normalised() {
        let spaced = format!("\n\t{}\u{3000}\r\n", PHRASE.replace(' ', " \n "));
        let mnemonic = Mnemonic::parse(spaced.as_bytes()).unwrap();
        assert_eq!(mnemonic.phrase().expose(), PHRASE.as_bytes());
    }

    #[test]
    fn what_is_wrong_is_said_by_position() {
        let unknown = |position| MnemonicError::UnknownWord { position };
        assert_eq!(refused(&PHRASE.replace("thank year", "thank yeer")), unknown(4));
        assert_eq!(refused(&PHRASE.replace("yellow", "Yellow")), unknown(12));
        assert_eq!(refused(&PHRASE.replace("yellow", "yello")), unknown(12));
        assert_eq!(refused(&PHRASE.replace("yellow", "year")), MnemonicError::WrongChecksum);
        assert_eq!(refused(""), MnemonicError::WrongWordCount { got: 0 });
        assert_eq!(refused(&PHRASE[6..]), MnemonicError::WrongWordCount { got: 11 });
        let long = format!("{PHRASE} zoo");
        assert_eq!(refused(&long), MnemonicError::WrongWordCount { got: 13 });
        assert_eq!(Mnemonic::parse(b"legal \xff").unwrap_err(), MnemonicError::NotUtf8);
    }

    #[test]
    fn entropy_has_one_of_five_lengths() {
        for got in 0..=64 {
            let mnemonic = Mnemonic::from_entropy(&vec![7; got]);
            if [16, 20, 24, 28, 32].contains(&got) {
                assert_eq!(mnemonic.unwrap().words(), got / 4 * 3);
            } else {
                let refused = MnemonicError::WrongEntropyLength { got };
                assert_eq!(mnemonic.unwrap_err(), refused);
            }
        }
    }

    #[test]
    fn passphrases_that_look_alike_give_one_seed() {
        let mnemonic = Mnemonic::parse(PHRASE.as_bytes()).unwrap();
        let seed = |passphrase: &str| mnemonic.to_seed(passphrase.as_bytes()).unwrap();
        assert_eq!(seed("\u{e9}\u{ff21}").expose(), seed("e\u{301}A").expose());
        assert_ne!(seed("e").expose(), seed("E").expose());
        assert_ne!(seed("").expose(), seed(" ").expose());
        let refused = mnemonic.to_seed(&[0xff]).unwrap_err();
        assert_eq!(refused, MnemonicError::PassphraseNotUtf8);
    }

    #[test]
    fn debug_shows_the_number_of_words_alone() {
        let mnemonic = Mnemonic::parse(PHRASE.as_bytes()).unwrap();
        assert_eq!(format!("{mnemonic:?}"), "Mnemonic { words: 12, .. }");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([a-z]{3,8} ){0,25}") {
            drop(Mnemonic::parse(text.as_bytes()));
        }

        #[test]
        fn any_entropy_is_spelled_and_read_back(bytes: [u8; 32], words in 4_usize..=8) {
            let entropy = &bytes[..words * 4];
            let phrase = Mnemonic::from_entropy(entropy).unwrap().phrase();
            let read = Mnemonic::parse(phrase.expose()).unwrap();
            prop_assert_eq!(read.entropy().expose(), entropy);
        }
    }
}
