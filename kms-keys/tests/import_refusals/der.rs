//! Documents made of any parts, and the check that they are refused.

use kms_keys::{KeyError, KeyType, PublicKey, SecretKey};

use crate::common::hex;

pub(crate) const ED25519_SECRET: &str =
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
pub(crate) const ED25519_PUBLIC: &str =
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
pub(crate) const K1_SECRET: &str =
    "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3";

pub(crate) const OID_ED25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];
pub(crate) const OID_X25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x6e];
pub(crate) const OID_EC: &[u8] = &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
pub(crate) const OID_P256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
pub(crate) const OID_SECP256K1: &[u8] = &[0x06, 5, 0x2b, 0x81, 4, 0, 0x0a];

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const OCTETS: u8 = 4;
pub(crate) const BITS: u8 = 3;

pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let len = u8::try_from(content.len()).unwrap();
    match len {
        0..0x80 => [&[tag, len], content.as_slice()].concat(),
        _ => [&[tag, 0x81, len], content.as_slice()].concat(),
    }
}

/// A PKCS#8 document with anything as its parts.
pub(crate) fn pkcs8(version: u8, algorithm: &[&[u8]], inner: &[u8], rest: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&[2, 1, version], &tlv(SEQUENCE, algorithm), &tlv(OCTETS, &[inner]), rest])
}

pub(crate) fn ed25519_document() -> Vec<u8> {
    pkcs8(0, &[OID_ED25519], &tlv(OCTETS, &[&hex(ED25519_SECRET)]), &[])
}

/// `ECPrivateKey` with anything behind the secret.
pub(crate) fn ec_private_key(version: u8, secret: &[u8], rest: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&[2, 1, version], &tlv(OCTETS, &[secret]), rest])
}

pub(crate) fn secp256k1_document(inner: &[u8]) -> Vec<u8> {
    pkcs8(0, &[OID_EC, OID_SECP256K1], inner, &[])
}

pub(crate) fn spki(algorithm: &[&[u8]], point: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&tlv(SEQUENCE, algorithm), &tlv(BITS, &[&[0], point])])
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, der).unwrap()
}

#[track_caller]
pub(crate) fn refuses_pkcs8(key_type: KeyType, der: &[u8], expected: &KeyError) {
    assert_eq!(SecretKey::from_pkcs8_der(key_type, der).unwrap_err(), *expected);
    let text = pem("PRIVATE KEY", der);
    assert_eq!(SecretKey::from_pkcs8_pem(key_type, text.as_bytes()).unwrap_err(), *expected);
}

#[track_caller]
pub(crate) fn refuses_spki(key_type: KeyType, der: &[u8], expected: &KeyError) {
    assert_eq!(PublicKey::from_spki_der(key_type, der).as_ref(), Err(expected));
    assert_eq!(PublicKey::from_spki_pem(key_type, &pem("PUBLIC KEY", der)).as_ref(), Err(expected));
}
