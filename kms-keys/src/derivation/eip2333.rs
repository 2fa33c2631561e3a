//! EIP-2333 for BLS12-381, which the library brings: a key is a hash of a Lamport public key that is
//! made from its parent.

use blst::min_pk;
use kms_secrets::SecretArray;
use zeroize::Zeroizing;

/// The secret at the end of `indices`, none of them hardened. `None` for a seed under 32 bytes.
pub(super) fn derive(seed: &[u8], indices: impl Iterator<Item = u32>) -> Option<SecretArray<32>> {
    let master = min_pk::SecretKey::derive_master_eip2333(seed).ok()?;
    let key = indices.fold(master, |parent, index| parent.derive_child_eip2333(index));
    let bytes = Zeroizing::new(key.to_bytes());
    Some(SecretArray::init_with(|secret| secret.copy_from_slice(&*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// EIP-2333, test cases 0 and 1; the numbers in hexadecimal.
    #[test]
    fn the_published_masters_and_children_come_out() {
        for (seed, master, index, child) in [
            (
                "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
                "0d7359d57963ab8fbbde1852dcf553fedbc31f464d80ee7d40ae683122b45070",
                0,
                "2d18bd6c14e6d15bf8b5085c9b74f3daae3b03cc2014770a599d8c1539e50f8e",
            ),
            (
                "3141592653589793238462643383279502884197169399375105820974944592",
                "41c9e07822b092a93fd6797396338c3ada4170cc81829fdfce6b5d34bd5e7ec7",
                3_141_592_653,
                "384843fad5f3d777ea39de3e47a8f999ae91f89e42bffa993d91d9782d152a0f",
            ),
        ] {
            let seed = hex::decode(seed.as_bytes()).unwrap();
            let derive = |indices: &[u32]| {
                hex::encode(derive(&seed, indices.iter().copied()).unwrap().expose())
            };
            assert_eq!(derive(&[]), master);
            assert_eq!(derive(&[index]), child);
        }
    }

    #[test]
    fn a_short_seed_has_no_keys() {
        assert!(derive(&[1; 31], [0].into_iter()).is_none());
    }
}
