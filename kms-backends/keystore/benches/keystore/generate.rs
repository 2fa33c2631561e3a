//! Generating keys and storing them durably in one call, against generating and sealing them in memory
//! on all cores.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use kms_backend_keystore::{NewKey, Store};
use kms_keys::{KeyType, SecretKey};

use crate::Size;
use crate::scene::{folder, key_file, new_keys};
use crate::spread::Spread;

pub fn measure(size: Size) -> Vec<(String, String)> {
    let folder = folder();
    let mut ratios = Vec::new();
    for key_type in KeyType::ALL {
        let keys = new_keys(size.keys, &[*key_type]);
        let (mut in_memory, mut durable) = (Spread::default(), Spread::default());
        for turn in 0..size.turns {
            in_memory.time(|| in_memory_on_all_cores(&keys));
            let path = folder.path().join(format!("{key_type}-{turn}"));
            let store = Store::create(&path, &key_file()).unwrap();
            let stored = durable.time(|| store.generate(&keys).unwrap());
            assert_eq!(stored.len(), size.keys);
            drop(store);
            std::fs::remove_file(path).unwrap();
        }
        in_memory.print(&format!("{} {key_type} keys generated and sealed in memory", size.keys));
        durable.print(&format!("{} {key_type} keys generated and stored durably", size.keys));
        let ratio = format!("{:.2}", in_memory.median() / durable.median());
        ratios.push((format!("batch_generate.{key_type}"), ratio));
    }
    ratios
}

/// What every way to store keys has to do at least: a key, a description, a sealed secret.
fn in_memory_on_all_cores(keys: &[NewKey]) {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let cipher = XChaCha20Poly1305::new(&[7; 32].into());
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                    std::hint::black_box(sealed(&cipher, key));
                }
            });
        }
    });
}

fn sealed(cipher: &XChaCha20Poly1305, key: &NewKey) -> Vec<u8> {
    let secret = SecretKey::generate(key.key_type).unwrap();
    let mut record = serde_json::to_vec(&serde_json::json!({
        "id": key.id, "type": key.key_type, "public_key": secret.public_key().to_hex(),
    }))
    .unwrap();
    let mut nonce = [0; 24];
    getrandom::fill(&mut nonce).unwrap();
    let mut text = [0; 32];
    let buffer = InOutBuf::new(secret.expose_secret().expose(), &mut text).unwrap();
    let tag = cipher.encrypt_inout_detached(&XNonce::from(nonce), &record, buffer).unwrap();
    record.extend([&nonce[..], &text, &tag].concat());
    record
}
