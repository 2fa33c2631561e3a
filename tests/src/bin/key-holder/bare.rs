//! Secrets that nothing guards, as a correct program never keeps them.

use std::any::Any;
use std::fs;
use std::path::Path;

use blst::min_pk;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use zeroize::Zeroizing;

use crate::Done;

/// What lives on until the program ends.
pub type Bare = Vec<Box<dyn Any>>;

/// Holds what each file of the folder `bare` says, in the form that its name ends in. Tells where each
/// lies, and how many bytes it has.
pub fn hold_all(folder: &Path, bare: &mut Bare) -> Done {
    let mut done = Done::new();
    for file in fs::read_dir(folder.join("bare")).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        let bytes = Zeroizing::new(fs::read(file.path()).unwrap());
        let form = name.rsplit('.').next().unwrap();
        let (address, len) = hold(form, &bytes, bare);
        done.insert(format!("{name} address"), address as u64);
        done.insert(format!("{name} len"), len as u64);
    }
    done
}

/// Makes of `bytes` the library's own key, or just a copy.
fn hold(form: &str, bytes: &[u8], bare: &mut Bare) -> (usize, usize) {
    let key = || bytes.try_into().unwrap();
    match form {
        "ed25519" => keep(ed25519_dalek::SigningKey::from_bytes(key()), bare),
        "ed25519-expanded" => keep(ExpandedSecretKey::from(key()), bare),
        "secp256k1" => keep(k256::ecdsa::SigningKey::from_slice(bytes).unwrap(), bare),
        "bls12-381" => keep(min_pk::SecretKey::from_bytes(bytes).unwrap(), bare),
        "bytes" => {
            let copy = bytes.to_vec();
            let place = (copy.as_ptr() as usize, copy.len());
            bare.push(Box::new(copy));
            place
        }
        other => panic!("what is {other}?"),
    }
}

fn keep<K: Any>(key: K, bare: &mut Bare) -> (usize, usize) {
    let key = Box::new(key);
    let address = &raw const *key as usize;
    bare.push(key);
    (address, size_of::<K>())
}
