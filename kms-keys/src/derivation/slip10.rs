//! SLIP-0010 for Ed25519: a key is a hash of its parent, along hardened steps only.

use super::hmac::Node;

/// The node at the end of `indices`, all of them hardened.
pub(super) fn derive(seed: &[u8], indices: impl Iterator<Item = u32>) -> Node {
    indices.fold(Node::hash(b"ed25519 seed", &[seed]), |node, index| {
        Node::hash(node.chain_code(), &[&[0], node.secret(), &index.to_be_bytes()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derivation::HARDENED;
    use crate::hex;

    /// SLIP-0010, test vector 1 for ed25519, with its chain codes.
    #[test]
    fn the_published_chain_codes_come_out() {
        let seed = hex::decode(b"000102030405060708090a0b0c0d0e0f").unwrap();
        for (steps, secret, chain_code) in [
            (
                &[][..],
                "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7",
                "90046a93de5380a72b5e45010748567d5ea02bbf6522f979e05c0d8d8ca9fffb",
            ),
            (
                &[0],
                "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3",
                "8b59aa11380b624e81507a27fedda59fea6d0b779a778918a2fd3590e16e9c69",
            ),
            (
                &[0, 1],
                "b1d0bad404bf35da785a64ca1ac54b2617211d2777696fbffaf208f746ae84f2",
                "a320425f77d1b5c2505a6b1b27382b37368ee640e3557c315416801243552f14",
            ),
            (
                &[0, 1, 2],
                "92a5b23c0b8a99e37d07df3fb9966917f5d06e02ddbd909c7e184371463e9fc9",
                "2e69929e00b5ab250f49c3fb1c12f252de4fed2c1db88387094a0f8c4c9ccd6c",
            ),
        ] {
            let node = derive(&seed, steps.iter().map(|step| step | HARDENED));
            assert_eq!(hex::encode(node.secret()), secret);
            assert_eq!(hex::encode(node.chain_code()), chain_code);
        }
    }
}
