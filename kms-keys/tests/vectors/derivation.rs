//! Keys derived from seeds: the test vectors of BIP-32, SLIP-0010 and EIP-2333, and one mnemonic as a
//! wallet derives from it. The masters and the chain codes are tested beside the code.

use kms_keys::{KeyType, Mnemonic, SecretKey, Seed};

use crate::common::hex;

const VECTOR_1: &str = "000102030405060708090a0b0c0d0e0f";
const VECTOR_2: &str = concat!(
    "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a2",
    "9f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542",
);
const BIP_32_VECTOR_3: &str = concat!(
    "4b381541583be4423346c643850da4b320e46a87ae3d2a4e6da11eba819cd4ac",
    "ba45d239319ac14f863b8d5ab5a0d0c64d2e8a1e7d1457df2e5a3c51c73235be",
);
const BIP_32_VECTOR_4: &str = "3ddd5602285899a946114506157c7997e5444528f3003f6134712147db19b678";

fn derive(key_type: KeyType, seed: &str, path: &str) -> SecretKey {
    let seed = Seed::from_bytes(&hex(seed)).unwrap();
    seed.derive(key_type, &path.parse().unwrap()).unwrap()
}

#[track_caller]
fn check(key_type: KeyType, seed: &str, cases: &[(&str, &str)]) {
    for (path, secret) in cases {
        let key = derive(key_type, seed, path);
        assert_eq!(key.expose_secret().expose()[..], hex(secret), "{path}");
    }
}

/// The secret is what follows the first 46 of the 78 bytes of an extended private key, and a checksum
/// of 4 follows.
#[track_caller]
fn check_bip_32(seed: &str, cases: &[(&str, &str)]) {
    for (path, extended) in cases {
        let extended = bs58::decode(extended).into_vec().unwrap();
        let key = derive(KeyType::Secp256k1, seed, path);
        assert_eq!((extended.len(), extended[45]), (82, 0));
        assert_eq!(key.expose_secret().expose()[..], extended[46..78], "{path}");
    }
}

#[test]
fn bip_32_test_vector_1() {
    check_bip_32(
        VECTOR_1,
        &[
            (
                "m/0'",
                "xprv9uHRZZhk6KAJC1avXpDAp4MDc3sQKNxDiPvvkX8Br5ngLNv1TxvUxt4cV1rGL5hj6KCesnDYUhd7oWgT11eZG7XnxHrnYeSvkzY7d2bhkJ7",
            ),
            (
                "m/0'/1",
                "xprv9wTYmMFdV23N2TdNG573QoEsfRrWKQgWeibmLntzniatZvR9BmLnvSxqu53Kw1UmYPxLgboyZQaXwTCg8MSY3H2EU4pWcQDnRnrVA1xe8fs",
            ),
            (
                "m/0'/1/2'",
                "xprv9z4pot5VBttmtdRTWfWQmoH1taj2axGVzFqSb8C9xaxKymcFzXBDptWmT7FwuEzG3ryjH4ktypQSAewRiNMjANTtpgP4mLTj34bhnZX7UiM",
            ),
            (
                "m/0'/1/2'/2",
                "xprvA2JDeKCSNNZky6uBCviVfJSKyQ1mDYahRjijr5idH2WwLsEd4Hsb2Tyh8RfQMuPh7f7RtyzTtdrbdqqsunu5Mm3wDvUAKRHSC34sJ7in334",
            ),
            (
                "m/0'/1/2'/2/1000000000",
                "xprvA41z7zogVVwxVSgdKUHDy1SKmdb533PjDz7J6N6mV6uS3ze1ai8FHa8kmHScGpWmj4WggLyQjgPie1rFSruoUihUZREPSL39UNdE3BBDu76",
            ),
        ],
    );
}

#[test]
fn bip_32_test_vector_2() {
    check_bip_32(
        VECTOR_2,
        &[
            (
                "m/0",
                "xprv9vHkqa6EV4sPZHYqZznhT2NPtPCjKuDKGY38FBWLvgaDx45zo9WQRUT3dKYnjwih2yJD9mkrocEZXo1ex8G81dwSM1fwqWpWkeS3v86pgKt",
            ),
            (
                "m/0/2147483647'",
                "xprv9wSp6B7kry3Vj9m1zSnLvN3xH8RdsPP1Mh7fAaR7aRLcQMKTR2vidYEeEg2mUCTAwCd6vnxVrcjfy2kRgVsFawNzmjuHc2YmYRmagcEPdU9",
            ),
            (
                "m/0/2147483647'/1",
                "xprv9zFnWC6h2cLgpmSA46vutJzBcfJ8yaJGg8cX1e5StJh45BBciYTRXSd25UEPVuesF9yog62tGAQtHjXajPPdbRCHuWS6T8XA2ECKADdw4Ef",
            ),
            (
                "m/0/2147483647'/1/2147483646'",
                "xprvA1RpRA33e1JQ7ifknakTFpgNXPmW2YvmhqLQYMmrj4xJXXWYpDPS3xz7iAxn8L39njGVyuoseXzU6rcxFLJ8HFsTjSyQbLYnMpCqE2VbFWc",
            ),
            (
                "m/0/2147483647'/1/2147483646'/2",
                "xprvA2nrNbFZABcdryreWet9Ea4LvTJcGsqrMzxHx98MMrotbir7yrKCEXw7nadnHM8Dq38EGfSh6dqA9QWTyefMLEcBYJUuekgW4BYPJcr9E7j",
            ),
        ],
    );
}

#[test]
fn bip_32_test_vector_3() {
    check_bip_32(
        BIP_32_VECTOR_3,
        &[(
            "m/0'",
            "xprv9uPDJpEQgRQfDcW7BkF7eTya6RPxXeJCqCJGHuCJ4GiRVLzkTXBAJMu2qaMWPrS7AANYqdq6vcBcBUdJCVVFceUvJFjaPdGZ2y9WACViL4L",
        )],
    );
}

#[test]
fn bip_32_test_vector_4() {
    check_bip_32(
        BIP_32_VECTOR_4,
        &[
            (
                "m/0'",
                "xprv9vB7xEWwNp9kh1wQRfCCQMnZUEG21LpbR9NPCNN1dwhiZkjjeGRnaALmPXCX7SgjFTiCTT6bXes17boXtjq3xLpcDjzEuGLQBM5ohqkao9G",
            ),
            (
                "m/0'/1'",
                "xprv9xJocDuwtYCMNAo3Zw76WENQeAS6WGXQ55RCy7tDJ8oALr4FWkuVoHJeHVAcAqiZLE7Je3vZJHxspZdFHfnBEjHqU5hG1Jaj32dVoS6XLT1",
            ),
        ],
    );
}

#[test]
fn slip_0010_ed25519_test_vector_1() {
    check(
        KeyType::Ed25519,
        VECTOR_1,
        &[
            ("m/0'", "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3"),
            ("m/0'/1'", "b1d0bad404bf35da785a64ca1ac54b2617211d2777696fbffaf208f746ae84f2"),
            ("m/0'/1'/2'", "92a5b23c0b8a99e37d07df3fb9966917f5d06e02ddbd909c7e184371463e9fc9"),
            ("m/0'/1'/2'/2'", "30d1dc7e5fc04c31219ab25a27ae00b50f6fd66622f6e9c913253d6511d1e662"),
            (
                "m/0'/1'/2'/2'/1000000000'",
                "8f94d394a8e8fd6b1bc2f3f49f5c47e385281d5c17e65324b0f62483e37e8793",
            ),
        ],
    );
}

#[test]
fn slip_0010_ed25519_test_vector_2() {
    check(
        KeyType::Ed25519,
        VECTOR_2,
        &[
            ("m/0'", "1559eb2bbec5790b0c65d8693e4d0875b1747f4970ae8b650486ed7470845635"),
            (
                "m/0'/2147483647'",
                "ea4f5bfe8694d8bb74b7b59404632fd5968b774ed545e810de9c32a4fb4192f4",
            ),
            (
                "m/0'/2147483647'/1'",
                "3757c7577170179c7868353ada796c839135b3d30554bbb74a4b1e4a5a58505c",
            ),
            (
                "m/0'/2147483647'/1'/2147483646'",
                "5837736c89570de861ebc173b1086da4f505d4adb387c6a1b1342d5e4ac9ec72",
            ),
            (
                "m/0'/2147483647'/1'/2147483646'/2'",
                "551d333177df541ad876a60ea71f00447931c0a9da16f227c11ea080d7391b8d",
            ),
        ],
    );
}

#[test]
fn slip_0010_ed25519_public_key() {
    let key = derive(KeyType::Ed25519, VECTOR_1, "m/0'");
    assert_eq!(
        key.public_key().to_hex(),
        "8c8a13df77a28f3445213a0f432fde644acaa215fc72dcdf300d5efaa85d350c"
    );
}

#[test]
fn eip_2333_test_case_0() {
    check(
        KeyType::Bls12381,
        concat!(
            "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e5349553",
            "1f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
        ),
        &[("m/0", "2d18bd6c14e6d15bf8b5085c9b74f3daae3b03cc2014770a599d8c1539e50f8e")],
    );
}

#[test]
fn eip_2333_test_case_1() {
    check(
        KeyType::Bls12381,
        "3141592653589793238462643383279502884197169399375105820974944592",
        &[("m/3141592653", "384843fad5f3d777ea39de3e47a8f999ae91f89e42bffa993d91d9782d152a0f")],
    );
}

/// A mnemonic, its Ethereum account of index 1, and that account's secret.
#[test]
fn an_ethereum_wallet_s_mnemonic() {
    let mnemonic = Mnemonic::parse(
        b"quantum tobacco key they maid mean crime youth chief jungle mind design broken tilt bus \
        shoulder leaf good forward erupt split divert bread kitten",
    )
    .unwrap();
    let seed = mnemonic.to_seed(b"").unwrap();
    let key = seed.derive(KeyType::Secp256k1, &"m/44'/60'/0'/0/1".parse().unwrap()).unwrap();
    assert_eq!(
        key.expose_secret().expose()[..],
        hex("bc93ab7d2dbad88e64879569a9e3ceaa12d119c70d6dda4d1fc6e73765794a8d")
    );
}
