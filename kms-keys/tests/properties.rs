//! What holds for every key, message and name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]

use kms_keys::{
    Ed25519SecretKey, KeyId, KeyType, Operator, PublicKey, SecretKey, Signature, SigningScheme,
    X25519Operator,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A key of the scheme's type. The first bits are cleared, which keeps it below every group order.
fn key_of(scheme: SigningScheme, mut secret: [u8; 32]) -> SecretKey {
    secret[0] &= 0x3f;
    secret[31] |= 1;
    SecretKey::from_bytes(scheme.key_type(), &secret).unwrap()
}

/// `message` as the scheme takes it.
fn fit(scheme: SigningScheme, mut message: Vec<u8>) -> Vec<u8> {
    match scheme {
        SigningScheme::EcdsaDigest => message.resize(32, 0x5a),
        SigningScheme::BlsPopProve => message.clear(),
        _ => {}
    }
    message
}

fn flip(bytes: &mut [u8], bit: Index) {
    let bit = bit.index(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

fn scheme() -> impl Strategy<Value = SigningScheme> {
    select(SigningScheme::ALL)
}

fn signs_and_verifies(
    scheme: SigningScheme,
    secret: [u8; 32],
    message: Vec<u8>,
) -> Result<(), TestCaseError> {
    let key = key_of(scheme, secret);
    let message = fit(scheme, message);
    let signature = key.sign(scheme, &message).unwrap();
    prop_assert_eq!(key.public_key().verify(scheme, &message, &signature), Ok(()));
    let bytes = signature.to_bytes();
    prop_assert_eq!(bytes.len(), scheme.signature_len());
    let again = Signature::from_bytes(scheme, &bytes).unwrap();
    prop_assert_eq!(&again.to_bytes(), &bytes);
    prop_assert_eq!(key.public_key().verify(scheme, &message, &again), Ok(()));
    // All but BIP-340, which draws randomness, sign alike twice.
    let twice = key.sign(scheme, &message).unwrap();
    prop_assert_eq!(twice == signature, scheme != SigningScheme::Bip340);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_scheme_verifies_what_it_signs(
        scheme in scheme(),
        secret: [u8; 32],
        message in vec(any::<u8>(), 0..300),
    ) {
        signs_and_verifies(scheme, secret, message)?;
    }

    #[test]
    fn a_message_with_a_flipped_bit_does_not_verify(
        scheme in scheme().prop_filter("signs no message", |s| *s != SigningScheme::BlsPopProve),
        secret: [u8; 32],
        message in vec(any::<u8>(), 1..300),
        bit: Index,
    ) {
        let key = key_of(scheme, secret);
        let mut message = fit(scheme, message);
        let signature = key.sign(scheme, &message).unwrap();
        flip(&mut message, bit);
        prop_assert!(key.public_key().verify(scheme, &message, &signature).is_err());
    }

    #[test]
    fn a_signature_with_a_flipped_bit_does_not_verify(
        scheme in scheme(),
        secret: [u8; 32],
        message in vec(any::<u8>(), 0..300),
        bit: Index,
    ) {
        let key = key_of(scheme, secret);
        let message = fit(scheme, message);
        let mut bytes = key.sign(scheme, &message).unwrap().to_bytes();
        flip(&mut bytes, bit);
        if let Ok(signature) = Signature::from_bytes(scheme, &bytes) {
            prop_assert!(key.public_key().verify(scheme, &message, &signature).is_err());
        }
    }

    #[test]
    fn a_public_key_with_a_flipped_bit_does_not_verify(
        scheme in scheme(),
        secret: [u8; 32],
        message in vec(any::<u8>(), 0..300),
        bit: Index,
    ) {
        let key = key_of(scheme, secret);
        let message = fit(scheme, message);
        let signature = key.sign(scheme, &message).unwrap();
        let mut bytes = key.public_key().to_bytes();
        // BIP-340 looks at the x coordinate alone, so the byte in front of it is left as it is.
        let skip = usize::from(scheme == SigningScheme::Bip340);
        flip(&mut bytes[skip..], bit);
        if let Ok(other) = PublicKey::from_bytes(scheme.key_type(), &bytes) {
            prop_assert!(other.verify(scheme, &message, &signature).is_err());
        }
    }

    #[test]
    fn another_key_does_not_verify(scheme in scheme(), secret: [u8; 32], other: [u8; 32]) {
        let (key, other) = (key_of(scheme, secret), key_of(scheme, other));
        prop_assume!(key.public_key() != other.public_key());
        let message = fit(scheme, b"message".to_vec());
        let signature = key.sign(scheme, &message).unwrap();
        prop_assert!(other.public_key().verify(scheme, &message, &signature).is_err());
    }

    #[test]
    fn keys_are_printed_and_read_back(
        key_type in select(KeyType::ALL),
        secret: [u8; 32],
        upper: bool,
    ) {
        let key = key_of(key_type.default_scheme(), secret);
        let public = key.public_key();
        prop_assert_eq!(&PublicKey::from_bytes(key_type, &public.to_bytes()).unwrap(), &public);
        let mut text = public.to_hex();
        if upper {
            text = format!("0x{}", text.to_uppercase());
        }
        prop_assert_eq!(&PublicKey::from_hex(key_type, &text).unwrap(), &public);
        let digits = base16ct::lower::encode_string(key.expose_secret().expose());
        let again = SecretKey::from_hex(key_type, digits.as_bytes()).unwrap();
        prop_assert_eq!(again.public_key(), public.clone());
        if key_type != KeyType::Bls12381 {
            let (der, pem) = (public.to_spki_der().unwrap(), public.to_spki_pem().unwrap());
            prop_assert_eq!(&PublicKey::from_spki_der(key_type, &der).unwrap(), &public);
            prop_assert_eq!(&PublicKey::from_spki_pem(key_type, &pem).unwrap(), &public);
        }
    }

    #[test]
    fn both_sides_of_a_key_agreement_agree(ours: [u8; 32], theirs: [u8; 32]) {
        let shared = |secret: &[u8; 32], peer: &[u8; 32]| {
            let key = SecretKey::from_bytes(KeyType::Ed25519, secret).unwrap();
            let peer = Ed25519SecretKey::from_bytes(peer).unwrap().public_key().to_x25519();
            let mut out = Vec::with_capacity(X25519Operator.max_output());
            X25519Operator.run(key.expose_secret(), &peer, &mut out).map(|()| out)
        };
        let (a, b) = (shared(&ours, &theirs), shared(&theirs, &ours));
        prop_assert!(a.is_ok());
        prop_assert_eq!(a, b);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(
        key_type in select(KeyType::ALL),
        scheme in scheme(),
        bytes in vec(any::<u8>(), 0..200),
    ) {
        // What is read is printed as it was, but for the two point forms of secp256k1.
        if let Ok(key) = PublicKey::from_bytes(key_type, &bytes) {
            prop_assert!(key.to_bytes() == bytes || bytes.len() == 65);
        }
        if let Ok(signature) = Signature::from_bytes(scheme, &bytes) {
            prop_assert_eq!(signature.to_bytes(), bytes.clone());
        }
        let _ = SecretKey::from_pkcs8_der(key_type, &bytes);
        let _ = SecretKey::from_pkcs8_pem(key_type, &bytes);
        let _ = SecretKey::from_hex(key_type, &bytes);
        let _ = PublicKey::from_spki_der(key_type, &bytes);
    }

    #[test]
    fn a_damaged_document_is_refused_or_holds_the_same_key(at: Index, byte: u8) {
        // The PKCS#8 document of a secp256k1 key with its public key, as OpenSSL writes it.
        let mut der = base16ct::lower::decode_vec(DOCUMENT).unwrap();
        let key = SecretKey::from_pkcs8_der(KeyType::Secp256k1, &der).unwrap();
        let at = at.index(der.len());
        der[at] = byte;
        if let Ok(read) = SecretKey::from_pkcs8_der(KeyType::Secp256k1, &der) {
            prop_assert_eq!(read.public_key(), key.public_key());
        }
    }

    #[test]
    fn a_key_id_is_what_the_grammar_says(text in key_id_like()) {
        prop_assert_eq!(KeyId::new(&text).is_ok(), grammar_accepts(&text), "{:?}", text);
    }

    #[test]
    fn every_name_of_the_grammar_is_a_key_id(
        text in "[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}){0,4}",
    ) {
        let id = KeyId::new(&text).unwrap();
        prop_assert_eq!(id.as_str(), &text);
        prop_assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
    }
}

const DOCUMENT: &str = concat!(
    "308184020100301006072a8648ce3d020106052b8104000a046d306b0201010420",
    "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3",
    "a1440342000448c3113b0f59320d365e208009c97fb6d6cccddb5b9ada5fdc00e9bfa7af3b49",
    "2dd5f3225a04dd04b0c07f2601d0c7fd0d8c055dd098f197489eede95c4e071b",
);

/// Text that is a key id about half of the time: short segments of good and bad characters, now and
/// then long ones.
fn key_id_like() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        8 => "[A-Za-z0-9._-]{1,6}",
        2 => "[.]{1,3}",
        1 => "[A-Za-z0-9 ._é\\\\\u{0}-]{0,4}",
        1 => "[a-z]{40,70}",
    ];
    vec(segment, 0..5).prop_map(|segments| segments.join("/"))
}

/// The grammar again, written as a machine over bytes rather than over segments: how long the segment
/// is so far, and whether it is made of dots alone.
fn grammar_accepts(text: &str) -> bool {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    let closes = |len: usize, dots: bool| len > 0 && !(dots && len <= 2);
    let (mut len, mut dots) = (0, true);
    for byte in text.bytes() {
        if byte == b'/' {
            if !closes(len, dots) {
                return false;
            }
            (len, dots) = (0, true);
        } else if ALPHABET.contains(&byte) {
            len += 1;
            dots &= byte == b'.';
        } else {
            return false;
        }
    }
    closes(len, dots) && text.len() <= 128
}
