//! Paths from a seed to a key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{DerivationError, DerivationPathError, HARDENED};
use crate::KeyType;

/// No standard path has more than six steps. EIP-2333 costs some hundred microseconds for each.
const MOST_STEPS: usize = 32;

/// A path from a seed to one of its keys, such as `m/44'/60'/0'/0/1` (BIP-32) or `m/12381/3600/0/0/0`
/// (EIP-2334): 1 to 32 steps behind the `m`.
///
/// A step is a plain decimal number below 2^31, hardened if `'`, `h` or `H` follows; a step that is not
/// hardened may go up to 2^32 - 1, which only EIP-2333 uses. Written (`Display`, serde) with `'`. Which
/// steps a key type allows, [`DerivationPath::check`] says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DerivationPath(Vec<Step>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Step {
    number: u32,
    hardened: bool,
}

impl DerivationPath {
    /// Whether a key of this type can lie on this path: SLIP-0010 (Ed25519) needs every step hardened,
    /// EIP-2333 (BLS12-381) none, and BIP-32 (secp256k1) numbers below 2^31. Which purpose and coin the
    /// numbers name is not looked at.
    ///
    /// # Errors
    /// [`DerivationError::NotHardened`], [`DerivationError::Hardened`],
    /// [`DerivationError::IndexTooLarge`], for the first step that does not fit.
    pub fn check(&self, key_type: KeyType) -> Result<(), DerivationError> {
        for (step, Step { number, hardened }) in (1..).zip(&self.0) {
            match key_type {
                KeyType::Ed25519 if !hardened => {
                    return Err(DerivationError::NotHardened { step });
                }
                KeyType::Bls12381 if *hardened => return Err(DerivationError::Hardened { step }),
                KeyType::Secp256k1 if *number >= HARDENED => {
                    return Err(DerivationError::IndexTooLarge { step, key_type });
                }
                KeyType::Ed25519 | KeyType::Secp256k1 | KeyType::Bls12381 => {}
            }
        }
        Ok(())
    }

    /// The numbers that are hashed: those of hardened steps with the highest bit set.
    pub(super) fn indices(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|step| if step.hardened { step.number | HARDENED } else { step.number })
    }
}

impl FromStr for DerivationPath {
    type Err = DerivationPathError;

    fn from_str(text: &str) -> Result<Self, DerivationPathError> {
        let steps = text.strip_prefix('m').ok_or(DerivationPathError::NoMaster)?;
        if steps.is_empty() {
            return Err(DerivationPathError::NoSteps);
        }
        let steps = steps.strip_prefix('/').ok_or(DerivationPathError::NoMaster)?;
        if steps.split('/').count() > MOST_STEPS {
            return Err(DerivationPathError::TooManySteps { most: MOST_STEPS });
        }
        (1..)
            .zip(steps.split('/'))
            .map(|(at, text)| step(at, text))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn step(at: usize, text: &str) -> Result<Step, DerivationPathError> {
    let digits = text.strip_suffix(['\'', 'h', 'H']);
    let (digits, hardened) = digits.map_or((text, false), |digits| (digits, true));
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    if digits.is_empty() || leading_zero || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DerivationPathError::NotANumber { step: at });
    }
    match digits.parse() {
        Ok(number) if !hardened || number < HARDENED => Ok(Step { number, hardened }),
        _ => Err(DerivationPathError::TooLarge { step: at }),
    }
}

impl TryFrom<String> for DerivationPath {
    type Error = DerivationPathError;

    fn try_from(text: String) -> Result<Self, DerivationPathError> {
        text.parse()
    }
}

impl From<DerivationPath> for String {
    fn from(path: DerivationPath) -> Self {
        path.to_string()
    }
}

impl fmt::Display for DerivationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        self.0.iter().try_for_each(|Step { number, hardened }| {
            write!(f, "/{number}{}", if *hardened { "'" } else { "" })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> DerivationPath {
        text.parse().unwrap()
    }

    #[test]
    fn every_mark_of_a_hardened_step_is_read_and_one_is_written() {
        for text in ["m/44'/60'/0'/0", "m/44h/60H/0'/0"] {
            assert_eq!(path(text).to_string(), "m/44'/60'/0'/0");
            let json = format!("\"{text}\"");
            assert_eq!(serde_json::from_str::<DerivationPath>(&json).unwrap(), path(text));
        }
        let json = serde_json::to_string(&path("m/0h")).unwrap();
        assert_eq!(json, "\"m/0'\"");
        assert!(serde_json::from_str::<DerivationPath>("\"m\"").is_err());
    }

    #[test]
    fn numbers_end_at_31_bits_where_hardened_and_at_32_else() {
        assert_eq!(path("m/2147483647'").indices().collect::<Vec<_>>(), [u32::MAX]);
        assert_eq!(path("m/4294967295").indices().collect::<Vec<_>>(), [u32::MAX]);
        for text in ["m/0/2147483648'", "m/0/4294967296", "m/0/99999999999999999999"] {
            let error = text.parse::<DerivationPath>().unwrap_err();
            assert_eq!(error, DerivationPathError::TooLarge { step: 2 }, "{text}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        use DerivationPathError as E;
        for (text, error) in [
            ("", E::NoMaster),
            ("44'/60'", E::NoMaster),
            ("M/0", E::NoMaster),
            ("mm/0", E::NoMaster),
            (" m/0", E::NoMaster),
            ("m", E::NoSteps),
            ("m/", E::NotANumber { step: 1 }),
            ("m//0", E::NotANumber { step: 1 }),
            ("m/0/", E::NotANumber { step: 2 }),
            ("m/'", E::NotANumber { step: 1 }),
            ("m/0''", E::NotANumber { step: 1 }),
            ("m/+1", E::NotANumber { step: 1 }),
            ("m/-1", E::NotANumber { step: 1 }),
            ("m/ 1", E::NotANumber { step: 1 }),
            ("m/0/1 ", E::NotANumber { step: 2 }),
            ("m/00", E::NotANumber { step: 1 }),
            ("m/01'", E::NotANumber { step: 1 }),
            ("m/0x1", E::NotANumber { step: 1 }),
            ("m/١", E::NotANumber { step: 1 }),
            ("m/1’", E::NotANumber { step: 1 }),
        ] {
            assert_eq!(text.parse::<DerivationPath>(), Err(error), "{text:?}");
        }
        let longest = format!("m{}", "/0".repeat(32));
        assert_eq!(path(&longest).to_string(), longest);
        let longer = (longest + "/0").parse::<DerivationPath>();
        assert_eq!(longer, Err(E::TooManySteps { most: 32 }));
    }

    #[test]
    fn each_key_type_allows_the_steps_of_its_standard() {
        use DerivationError as E;
        let (key_type, step) = (KeyType::Secp256k1, 2);
        for (text, ed25519, secp256k1, bls) in [
            ("m/0'/1'", Ok(()), Ok(()), Err(E::Hardened { step: 1 })),
            ("m/0'/1", Err(E::NotHardened { step }), Ok(()), Err(E::Hardened { step: 1 })),
            ("m/0/1", Err(E::NotHardened { step: 1 }), Ok(()), Ok(())),
            (
                "m/0/2147483648",
                Err(E::NotHardened { step: 1 }),
                Err(E::IndexTooLarge { step, key_type }),
                Ok(()),
            ),
        ] {
            assert_eq!(path(text).check(KeyType::Ed25519), ed25519, "{text}");
            assert_eq!(path(text).check(key_type), secp256k1, "{text}");
            assert_eq!(path(text).check(KeyType::Bls12381), bls, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "m?[/0-9'hH +-]{0,60}") {
            if let Ok(path) = text.parse::<DerivationPath>() {
                let written = path.to_string();
                prop_assert_eq!(&written, &text.replace(['h', 'H'], "'"));
                prop_assert_eq!(written.parse(), Ok(path));
            }
        }

        #[test]
        fn any_steps_are_written_and_read_back(
            steps in proptest::collection::vec((0..HARDENED, any::<bool>()), 1..=32),
        ) {
            let steps = steps.into_iter().map(|(number, hardened)| Step { number, hardened });
            let path = DerivationPath(steps.collect());
            prop_assert_eq!(path.to_string().parse(), Ok(path));
        }
    }
}
