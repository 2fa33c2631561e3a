//! From a password to a key, at a cost that whoever wrote the document chose and that is bounded here.

use kms_secrets::{SecretArray, on_wiped_stack};
use pbkdf2::pbkdf2_hmac;
use sha2::Sha256;

/// scrypt takes about three seconds for each GiB that it mixes.
const MOST_SCRYPT_MEMORY: u64 = 512 << 20;
const MOST_SCRYPT_WORK: u64 = 1 << 30;
const MOST_R: u64 = 64;
const MOST_P: u64 = 16;
/// About half a minute.
const MOST_ROUNDS: u64 = 20_000_000;

/// A key derivation whose cost was found bearable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PasswordKdf {
    /// RFC 7914.
    Scrypt(ScryptCost),
    /// RFC 8018 with HMAC-SHA256.
    Pbkdf2 { rounds: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ScryptCost {
    pub(crate) n: u64,
    pub(crate) r: u32,
    pub(crate) p: u32,
    params: scrypt::Params,
}

/// A cost that is not borne; holds what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CostRefused(pub(crate) &'static str);

impl PasswordKdf {
    pub(crate) fn scrypt(n: u64, r: u64, p: u64) -> Result<Self, CostRefused> {
        let refused = CostRefused(
            "scrypt with n a power of two from 2 on, r from 1 to 64, p from 1 to 16, \
             128 n r at most 512 MiB and 128 n r p at most 1 GiB",
        );
        let memory = n.checked_mul(r).and_then(|product| product.checked_mul(128));
        let work = memory.and_then(|memory| memory.checked_mul(p));
        let fits = n >= 2
            && n.is_power_of_two()
            && (1..=MOST_R).contains(&r)
            && (1..=MOST_P).contains(&p)
            && memory.is_some_and(|memory| memory <= MOST_SCRYPT_MEMORY)
            && work.is_some_and(|work| work <= MOST_SCRYPT_WORK);
        let (Ok(log_n), Ok(r), Ok(p), true) =
            (u8::try_from(n.trailing_zeros()), u32::try_from(r), u32::try_from(p), fits)
        else {
            return Err(refused);
        };
        let params = scrypt::Params::new(log_n, r, p).map_err(|_| refused)?;
        Ok(Self::Scrypt(ScryptCost { n, r, p, params }))
    }

    pub(crate) fn pbkdf2(rounds: u64) -> Result<Self, CostRefused> {
        u32::try_from(rounds)
            .ok()
            .filter(|_| (1..=MOST_ROUNDS).contains(&rounds))
            .map(|rounds| Self::Pbkdf2 { rounds })
            .ok_or(CostRefused("PBKDF2 with 1 to 20000000 rounds"))
    }

    /// The bytes that [`PasswordKdf::derive`] allocates for the time that it runs.
    pub(crate) fn memory_bytes(&self) -> u64 {
        match self {
            Self::Scrypt(ScryptCost { n, r, p, .. }) => {
                128 * u64::from(*r) * (n + u64::from(*p) + 1)
            }
            Self::Pbkdf2 { .. } => 0,
        }
    }

    /// `N` bytes of key, at least one.
    pub(crate) fn derive<const N: usize>(
        &self,
        password: &[u8],
        salt: &[u8],
    ) -> Result<SecretArray<N>, CostRefused> {
        SecretArray::try_init_with(|key| {
            on_wiped_stack(|| match self {
                Self::Scrypt(cost) => scrypt::scrypt(password, salt, &cost.params, key).ok(),
                Self::Pbkdf2 { rounds } => {
                    pbkdf2_hmac::<Sha256>(password, salt, *rounds, key);
                    Some(())
                }
            })
            .ok_or(CostRefused("a key of at least one byte"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn bearable_costs_are_accepted() {
        for (n, r, p) in
            [(2, 1, 1), (4096, 8, 6), (1 << 18, 8, 1), (1 << 19, 8, 2), (1 << 16, 64, 2)]
        {
            assert!(PasswordKdf::scrypt(n, r, p).is_ok(), "{n} {r} {p}");
        }
        let standard = PasswordKdf::scrypt(1 << 18, 8, 1).unwrap();
        assert_eq!(standard.memory_bytes(), (256 << 20) + 2048);
        for rounds in [1, 2048, MOST_ROUNDS] {
            assert_eq!(PasswordKdf::pbkdf2(rounds).unwrap().memory_bytes(), 0);
        }
    }

    #[test]
    fn other_costs_are_refused() {
        for (n, r, p) in [
            (0, 8, 1),
            (1, 8, 1),
            (3, 8, 1),
            ((1 << 18) - 1, 8, 1),
            (1 << 18, 0, 1),
            (1 << 18, 8, 0),
            (2, 65, 1),
            (2, 8, 17),
            (1 << 20, 8, 1),
            (1 << 19, 8, 3),
            (1 << 63, 8, 1),
            (1 << 63, u64::MAX, u64::MAX),
            (2, 1 << 32, 1),
            (2, 1, 1 << 32),
        ] {
            assert!(PasswordKdf::scrypt(n, r, p).is_err(), "{n} {r} {p}");
        }
        for rounds in [0, MOST_ROUNDS + 1, 1 << 32, (1 << 32) + 1, u64::MAX] {
            assert!(PasswordKdf::pbkdf2(rounds).is_err(), "{rounds}");
        }
    }

    /// RFC 7914, section 12.
    #[test]
    fn the_published_scrypt_value_comes_out() {
        let kdf = PasswordKdf::scrypt(1024, 8, 16).unwrap();
        let key = kdf.derive::<64>(b"password", b"NaCl").unwrap();
        assert_eq!(
            hex::encode(key.expose()),
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162\
             2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
        );
    }

    /// RFC 7914, section 11.
    #[test]
    fn the_published_pbkdf2_value_comes_out() {
        let kdf = PasswordKdf::pbkdf2(80_000).unwrap();
        let key = kdf.derive::<64>(b"Password", b"NaCl").unwrap();
        assert_eq!(
            hex::encode(key.expose()),
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56\
             a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d"
        );
    }
}
