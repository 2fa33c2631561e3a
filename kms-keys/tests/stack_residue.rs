//! What deriving and decrypting leave on the stack: nothing but addresses and public keys.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a test fails the test")]

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::FileExt;

use kms_keys::{Bls12381SecretKey, Eip2335Kdf, Eip2335Keystore, KeyType, Mnemonic, SecretKey};
use kms_secrets::WIPED_STACK_BYTES;

const PAINT: u8 = 0xa5;

/// The frames between the caller and what is called.
const FRAMES: usize = 3072;

/// Bytes of the stack below the caller's frame that `work` changed and left other than zero. The stack is
/// painted and read through the kernel, so that neither writes there by itself.
#[inline(never)]
fn residue(memory: &File, work: &mut dyn FnMut()) -> usize {
    let mark = 0_u8;
    let here = &raw const mark as usize;
    let mut image = vec![PAINT; 4 * WIPED_STACK_BYTES];
    let from = here - FRAMES - image.len();
    memory.write_all_at(&image, from as u64).unwrap();
    work();
    memory.read_exact_at(&mut image, from as u64).unwrap();
    assert_eq!(image[0], PAINT, "deeper than was painted");
    image.into_iter().filter(|byte| ![0, PAINT].contains(byte)).count()
}

fn measure() {
    let memory = OpenOptions::new().read(true).write(true).open("/proc/self/mem").unwrap();
    let known = residue(&memory, &mut || {
        black_box(&mut [1_u8; 20_000]);
    });
    assert!(known > 16_000, "the check can't fail");
    let silent = |what: &str, work: &mut dyn FnMut()| {
        let left = residue(&memory, work);
        println!("{what}: {left} bytes");
        assert!(left < 1024, "{what}: {left} bytes");
    };

    // Has the libraries make their tables, which aren't secret.
    KeyType::ALL.iter().for_each(|key_type| drop(SecretKey::generate(*key_type).unwrap()));
    let mnemonic = Mnemonic::generate(24).unwrap();
    let phrase = mnemonic.phrase();
    silent("words", &mut || drop(black_box(mnemonic.phrase())));
    silent("words, read", &mut || drop(black_box(Mnemonic::parse(phrase.expose()).unwrap())));
    silent("seed", &mut || drop(black_box(mnemonic.to_seed(b"TREZOR").unwrap())));
    let seed = mnemonic.to_seed(b"").unwrap();
    for (key_type, path) in [
        (KeyType::Ed25519, "m/44'/501'/0'"),
        (KeyType::Secp256k1, "m/44'/60'/0'/0/0"),
        (KeyType::Bls12381, "m/12381/3600/0/0/0"),
    ] {
        let path = path.parse().unwrap();
        silent(key_type.as_str(), &mut || drop(black_box(seed.derive(key_type, &path).unwrap())));
    }

    let key = Bls12381SecretKey::generate().unwrap();
    for kdf in [Eip2335Kdf::Scrypt, Eip2335Kdf::Pbkdf2] {
        let encrypt = || Eip2335Keystore::encrypt(&key, b"password", "", kdf).unwrap();
        silent("EIP-2335, encrypted", &mut || drop(black_box(encrypt())));
        let keystore = encrypt();
        silent("EIP-2335", &mut || drop(black_box(keystore.decrypt(b"password").unwrap())));
        silent("EIP-2335, refused", &mut || drop(black_box(keystore.decrypt(b"").unwrap_err())));
    }
    let key = SecretKey::generate(KeyType::Ed25519).unwrap();
    silent("PKCS#8, encrypted", &mut || drop(black_box(key.to_encrypted_pkcs8_pem(b"p").unwrap())));
    let text = key.to_encrypted_pkcs8_pem(b"p").unwrap();
    let read = |passphrase: &[u8]| {
        SecretKey::from_encrypted_pkcs8_pem(KeyType::Ed25519, text.as_bytes(), passphrase)
    };
    silent("PKCS#8", &mut || drop(black_box(read(b"p").unwrap())));
    silent("PKCS#8, refused", &mut || drop(black_box(read(b"").unwrap_err())));
}

#[test]
fn deriving_and_decrypting_leave_nothing_on_the_stack() {
    std::thread::Builder::new().stack_size(2 << 20).spawn(measure).unwrap().join().unwrap();
}
