//! The English test vectors that BIP-39 points to, all with the passphrase `TREZOR`.

use kms_keys::Mnemonic;

use crate::common::hex;

#[derive(serde::Deserialize)]
struct Case {
    entropy: String,
    mnemonic: String,
    seed: String,
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../data/bip39/vectors.json")).unwrap();
    assert_eq!(cases.len(), 24);
    cases
}

#[test]
fn entropy_is_spelled() {
    for case in cases() {
        let mnemonic = Mnemonic::from_entropy(&hex(&case.entropy)).unwrap();
        assert_eq!(mnemonic.phrase().expose(), case.mnemonic.as_bytes());
        assert_eq!(mnemonic.words(), case.mnemonic.split(' ').count());
    }
}

#[test]
fn words_are_read() {
    for case in cases() {
        let mnemonic = Mnemonic::parse(case.mnemonic.as_bytes()).unwrap();
        assert_eq!(mnemonic.entropy().expose(), hex(&case.entropy));
    }
}

#[test]
fn seeds_come_out() {
    for case in cases() {
        let mnemonic = Mnemonic::parse(case.mnemonic.as_bytes()).unwrap();
        assert_eq!(mnemonic.to_seed(b"TREZOR").unwrap().expose(), hex(&case.seed));
    }
}
