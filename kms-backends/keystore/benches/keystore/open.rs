//! Opening a store and registering all its keys, against one EIP-2335 decryption for each.

use futures::StreamExt;
use futures::stream;
use kms_keys::{Bls12381SecretKey, Eip2335Kdf, Eip2335Keystore, KeyType};

use crate::Size;
use crate::scene::{folder, new_keys, open_backend, runtime, specs, store_with};
use crate::spread::Spread;

/// How many registrations a starting node has under way at once.
const AT_ONCE: usize = 16;

pub fn measure(size: Size) -> Vec<(String, String)> {
    let folder = folder();
    let runtime = runtime();
    let key = Bls12381SecretKey::generate().unwrap();
    let eip2335 = Eip2335Keystore::encrypt(&key, b"password", "", Eip2335Kdf::Scrypt).unwrap();
    let stores: Vec<_> = KeyType::ALL
        .iter()
        .map(|key_type| {
            let keys = new_keys(size.keys, &[*key_type]);
            (*key_type, store_with(folder.path(), key_type.as_str(), &keys), specs(&keys))
        })
        .collect();
    let mut decrypting = Spread::default();
    let mut opening: Vec<_> = stores.iter().map(|_| Spread::default()).collect();
    for _ in 0..size.turns {
        decrypting.time(|| eip2335.decrypt(b"password").unwrap());
        for ((_, path, specs), spread) in stores.iter().zip(&mut opening) {
            let registered = spread.time(|| {
                let backend = open_backend(&runtime, path);
                runtime.block_on(async {
                    let registering = specs.iter().map(|spec| backend.register(spec));
                    let answers = stream::iter(registering).buffered(AT_ONCE);
                    answers.map(Result::unwrap).collect::<Vec<_>>().await
                })
            });
            assert_eq!(registered.len(), size.keys);
        }
    }
    decrypting.print("EIP-2335 (scrypt, n = 262144): one key decrypted");
    let mut ratios = Vec::new();
    for ((key_type, ..), spread) in stores.iter().zip(&opening) {
        spread.print(&format!("store: {} {key_type} keys opened and registered", size.keys));
        let each = spread.median() / size.keys as f64;
        let ratio = format!("{:.0}", decrypting.median() / each);
        ratios.push((format!("open_10k_vs_eip2335.{key_type}"), ratio));
    }
    ratios
}
