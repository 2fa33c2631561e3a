//! What is done to a store whose power is cut, and what must stand in it then.

use std::collections::BTreeMap;
use std::time::Duration;

use kms_backend::Derivation;
use kms_keys::{KeyId, KeyType, Mnemonic, SecretKey};
use kms_secrets::SecretBytes;

use crate::error::StoreError;
use crate::format::master::MasterSecret;
use crate::format::record::StoredState;
use crate::format::unlocker::UnlockSecret;
use crate::store::{NewKey, Store};

/// Something that is done to the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Generate(&'static [(&'static str, KeyType)]),
    Import(&'static str),
    AddMaster(&'static str),
    Derive(&'static str, &'static str),
    Rotate(&'static str),
    Retire(&'static str, u32),
    Disable(&'static str),
    Enable(&'static str),
    Unprotect(&'static str),
    ScheduleDelete(&'static str),
    CancelDelete(&'static str),
    Destroy(&'static str),
    /// The key file that opens the store is another one from now on.
    ChangeSecret(u8),
    AddUnlocker(&'static str),
    RemoveUnlocker(&'static str),
    Rekey,
}

pub(super) const SCRIPT: [Step; 23] = [
    Step::Generate(&[("a", KeyType::Ed25519)]),
    Step::Generate(&[("b", KeyType::Secp256k1), ("c", KeyType::Bls12381), ("d", KeyType::Ed25519)]),
    Step::Disable("a"),
    Step::Import("imported"),
    Step::Enable("a"),
    Step::AddMaster("words"),
    Step::Derive("derived", "words"),
    Step::Unprotect("b"),
    Step::ScheduleDelete("b"),
    Step::CancelDelete("b"),
    Step::Rotate("a"),
    Step::Retire("a", 1),
    Step::ChangeSecret(8),
    Step::ScheduleDelete("b"),
    Step::AddUnlocker("second"),
    Step::Destroy("b"),
    Step::RemoveUnlocker("second"),
    Step::AddUnlocker("third"),
    Step::Rekey,
    Step::Rotate("a"),
    Step::ChangeSecret(9),
    Step::Disable("d"),
    Step::Rekey,
];

/// What stands in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// State, newest version, how many versions sign, by id.
    pub(super) keys: BTreeMap<String, (&'static str, u32, usize)>,
    pub(super) masters: Vec<String>,
    pub(super) unlockers: Vec<String>,
}

/// The key file whose every byte is `byte`.
pub(super) fn secret(byte: u8) -> UnlockSecret {
    UnlockSecret::KeyFile(SecretBytes::from_slice(&[byte; 32]))
}

pub(super) fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

impl Step {
    /// Does it to a store that the key file of `opens` opens.
    pub(super) fn run(self, store: &mut Store, opens: u8) -> Result<(), StoreError> {
        match self {
            Self::Generate(keys) => {
                let new = keys.iter().map(|(name, key_type)| NewKey::new(id(name), *key_type));
                store.generate(&new.collect::<Vec<_>>()).map(drop)
            }
            Self::Import(name) => {
                let secret = SecretKey::from_bytes(KeyType::Ed25519, &[3; 32]).unwrap();
                store.import(&NewKey::new(id(name), KeyType::Ed25519), &secret).map(drop)
            }
            Self::AddMaster(name) => {
                let mnemonic = Mnemonic::from_entropy(&[5; 32]).unwrap();
                let passphrase = SecretBytes::from_slice(b"");
                let words = MasterSecret::Mnemonic { mnemonic, passphrase };
                store.add_master(&id(name), &words, false).map(drop)
            }
            Self::Derive(name, master) => {
                let path = "m/12381/3600/0/0/0".parse().unwrap();
                let from = Derivation { master: id(master), path };
                store.derive(&NewKey::new(id(name), KeyType::Bls12381), &from).map(drop)
            }
            Self::Rotate(name) => store.rotate(&id(name)).map(drop),
            Self::Retire(name, version) => store.retire(&id(name), version, true).map(drop),
            Self::Disable(name) => store.disable(&id(name)).map(drop),
            Self::Enable(name) => store.enable(&id(name)).map(drop),
            Self::Unprotect(name) => store.protect(&id(name), false).map(drop),
            Self::ScheduleDelete(name) => {
                store.schedule_delete(&id(name), Duration::ZERO).map(drop)
            }
            Self::CancelDelete(name) => store.cancel_delete(&id(name)).map(drop),
            Self::Destroy(name) => store.destroy(&id(name)).map(drop),
            Self::ChangeSecret(byte) => {
                store.change_unlocker(&secret(opens), &secret(byte)).map(drop)
            }
            Self::AddUnlocker(name) => store.add_unlocker(&secret(opens), name, &secret(99)),
            Self::RemoveUnlocker(name) => store.remove_unlocker(name, false),
            Self::Rekey => store.rekey(&secret(opens)).map(drop),
        }
    }
}

/// What must stand in a store after some steps, and which key file opens it.
pub(super) fn model(steps: &[Step]) -> (Standing, u8) {
    let mut standing = Standing { unlockers: vec!["first".into()], ..Standing::default() };
    let mut opens = 7;
    for step in steps {
        let Standing { keys, masters, unlockers } = &mut standing;
        let mut put = |name: &str| {
            keys.insert(name.into(), ("active", 1, 1));
        };
        match *step {
            Step::Generate(new) => new.iter().for_each(|(name, _)| put(name)),
            Step::Import(name) | Step::Derive(name, _) => put(name),
            Step::AddMaster(name) => masters.push(name.into()),
            Step::Rotate(name) => {
                let key = keys.get_mut(name).unwrap();
                (key.1, key.2) = (key.1 + 1, key.2 + 1);
            }
            Step::Retire(name, _) => keys.get_mut(name).unwrap().2 -= 1,
            Step::Disable(name) | Step::CancelDelete(name) => {
                keys.get_mut(name).unwrap().0 = "disabled";
            }
            Step::Enable(name) => keys.get_mut(name).unwrap().0 = "active",
            Step::Unprotect(_) => {}
            Step::ScheduleDelete(name) => keys.get_mut(name).unwrap().0 = "pending",
            Step::Destroy(name) => keys.get_mut(name).unwrap().0 = "destroyed",
            Step::ChangeSecret(byte) => opens = byte,
            Step::AddUnlocker(name) => unlockers.push(name.into()),
            Step::RemoveUnlocker(name) => unlockers.retain(|unlocker| unlocker != name),
            Step::Rekey => unlockers.truncate(1),
        }
    }
    (standing, opens)
}

/// What stands in a store, after every secret in it was opened, has signed, and is the one of its
/// public key.
pub(super) fn standing(store: &Store) -> Standing {
    let verified = store.verify(|| {}).unwrap();
    assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    let mut keys = BTreeMap::new();
    for key in store.page(None, 99).unwrap() {
        let state = match key.state {
            StoredState::Active => "active",
            StoredState::Disabled => "disabled",
            StoredState::PendingDeletion { .. } => "pending",
            StoredState::Destroyed { .. } => "destroyed",
        };
        let versions = store.versions(&key.id).unwrap();
        let in_use = versions.iter().filter(|version| !version.flags.retired).count();
        keys.insert(key.id.to_string(), (state, key.version, in_use));
    }
    let masters = store.masters().unwrap().into_iter().map(|master| master.id.to_string());
    let unlockers = store.unlockers().iter().map(|unlocker| unlocker.name.clone());
    Standing { keys, masters: masters.collect(), unlockers: unlockers.collect() }
}
