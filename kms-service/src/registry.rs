//! The registered keys, and what is allowed with them. Plain decisions: no waiting, no I/O.

use std::collections::BTreeMap;
use std::ops::{Bound, Deref};
use std::sync::Arc;

use kms_backend::{
    BackendError, Failure, KeyInfo, KeyPage, KeySpec, LocalSigner, OlderVersion, Operation,
    PageRequest, RegisteredKey, Signer,
};
use kms_keys::{KeyId, KeyType, SigningScheme};

use crate::gate::Gate;
use crate::metrics::KeyCount;
use crate::{Caller, KeyFilter, KmsError};

/// The most keys that are looked at for one page, in about the time of a cheap signature.
const LOOKED_AT: usize = 256;

/// All registered keys of a service, in the order of their ids.
#[derive(Default)]
pub(crate) struct Registry {
    /// Boxed: the tree's nodes have room for twice as many entries as they hold.
    keys: BTreeMap<KeyId, Box<Entry>>,
    count: KeyCount,
}

/// A registered key.
pub(crate) struct Entry {
    spec: KeySpec,
    backend: String,
    info: KeyInfo,
    signer: Signer,
    older: Vec<OlderVersion>,
    shared: Arc<SharedKey>,
}

/// What every request that uses a key shares.
pub(crate) struct SharedKey {
    pub(crate) id: KeyId,
    pub(crate) key_type: KeyType,
    pub(crate) gate: Gate,
}

/// A key that is about to be used: what signs, and the gate to be held meanwhile.
#[derive(Clone)]
pub(crate) struct Usable {
    pub(crate) signer: Signer,
    shared: Arc<SharedKey>,
}

impl Deref for Usable {
    type Target = SharedKey;

    fn deref(&self) -> &SharedKey {
        &self.shared
    }
}

impl Registry {
    /// Takes in what a backend gave for `spec`, once [`check_answer`] has found it to be that key.
    pub(crate) fn admit(&mut self, spec: KeySpec, backend: String, key: RegisteredKey) {
        let RegisteredKey { info, signer, older, .. } = key;
        let shared = Arc::new(SharedKey {
            id: spec.id.clone(),
            key_type: info.key_type,
            gate: Gate::new(info.state),
        });
        let entry = Entry { spec, backend, info, signer, older, shared };
        let state = entry.info.state;
        let before = self.keys.insert(entry.spec.id.clone(), Box::new(entry));
        self.count.moved(before.map(|entry| entry.info.state), Some(state));
    }

    pub(crate) fn get(&self, id: &KeyId) -> Result<&Entry, KmsError> {
        self.keys
            .get(id)
            .map(|entry| &**entry)
            .ok_or_else(|| KmsError::NotFound { id: id.clone(), version: None })
    }

    /// The key, if `caller` may use it at all, whatever its state.
    pub(crate) fn permitted(&self, caller: &Caller, id: &KeyId) -> Result<&Entry, KmsError> {
        let entry = self.get(id)?;
        if entry.spec.allows_caller(caller.as_str()) {
            Ok(entry)
        } else {
            Err(KmsError::CallerNotAllowed { id: id.clone(), caller: caller.clone() })
        }
    }

    /// The key, if `caller` may use its secret now.
    pub(crate) fn usable(&self, caller: &Caller, id: &KeyId) -> Result<Usable, KmsError> {
        let entry = self.permitted(caller, id)?;
        drop(entry.shared.gate.enter(id)?);
        entry.usable(None)
    }

    /// The key and the scheme to sign under, if `caller` may sign that way now.
    pub(crate) fn for_signing(
        &self,
        caller: &Caller,
        id: &KeyId,
        scheme: Option<SigningScheme>,
        version: Option<u32>,
    ) -> Result<(Usable, SigningScheme), KmsError> {
        self.permitted(caller, id)?.for_signing(scheme, version)
    }

    /// Takes in what a backend says of a key after its state was changed.
    pub(crate) fn update(&mut self, id: &KeyId, info: KeyInfo) {
        if let Some(entry) = self.keys.get_mut(id) {
            entry.shared.gate.set(info.state);
            self.count.moved(Some(entry.info.state), Some(info.state));
            entry.info = info;
        }
    }

    /// Takes in a new version of a key.
    pub(crate) fn rotate(&mut self, id: &KeyId, key: RegisteredKey) {
        self.update(id, key.info);
        if let Some(entry) = self.keys.get_mut(id) {
            entry.signer = key.signer;
            entry.older = key.older;
        }
    }

    /// Looks at no more than [`LOOKED_AT`] keys: others wait meanwhile.
    pub(crate) fn list(&self, filter: &KeyFilter, page: &PageRequest) -> KeyPage {
        let prefix = filter.prefix.as_str();
        let start = match page.after.as_ref().map(KeyId::as_str) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let rest = self.keys.range::<str, _>((start, Bound::Unbounded));
        let mut rest = rest.take_while(|(id, _)| id.as_str().starts_with(prefix));
        let (mut keys, mut last) = (Vec::new(), None);
        for (id, entry) in rest.by_ref().take(LOOKED_AT) {
            last = Some(id);
            if filter.matches(&entry.info) {
                keys.push(entry.info.clone());
            }
            if keys.len() >= page.limit.max(1) {
                break;
            }
        }
        let next = rest.next().and(last).cloned();
        KeyPage { keys, next }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

impl Usable {
    /// What signs in this process; elsewhere `operation` can't be done.
    pub(crate) fn local(&self, operation: Operation) -> Result<Arc<dyn LocalSigner>, KmsError> {
        match &self.signer {
            Signer::Local(signer) => Ok(Arc::clone(signer)),
            Signer::Remote(_) => Err(KmsError::Unsupported { id: self.id.clone(), operation }),
        }
    }
}

impl Entry {
    pub(crate) fn info(&self) -> &KeyInfo {
        &self.info
    }

    pub(crate) fn backend(&self) -> &str {
        &self.backend
    }

    /// The key and the scheme to sign under, if that may be done now.
    pub(crate) fn for_signing(
        &self,
        scheme: Option<SigningScheme>,
        version: Option<u32>,
    ) -> Result<(Usable, SigningScheme), KmsError> {
        let id = &self.shared.id;
        drop(self.shared.gate.enter(id)?);
        let scheme = scheme.unwrap_or_else(|| self.info.key_type.default_scheme());
        if !self.spec.allows_scheme(scheme) {
            return Err(KmsError::SchemeNotAllowed { id: id.clone(), scheme });
        }
        self.usable(version).map(|usable| (usable, scheme))
    }

    /// What signs with this version, or the current one, of a key that is active.
    fn usable(&self, version: Option<u32>) -> Result<Usable, KmsError> {
        let id = &self.shared.id;
        let signer = match version {
            Some(version) if version != self.info.version => {
                let older = self.older.iter().find(|older| older.version == version);
                let missing = || KmsError::NotFound { id: id.clone(), version: Some(version) };
                &older.ok_or_else(missing)?.signer
            }
            _ => &self.signer,
        };
        Ok(Usable { signer: signer.clone(), shared: Arc::clone(&self.shared) })
    }

    pub(crate) fn expect_type(&self, expected: KeyType) -> Result<&Self, KmsError> {
        let found = self.info.key_type;
        if found == expected {
            Ok(self)
        } else {
            Err(KmsError::TypeMismatch { id: self.info.id.clone(), expected, found })
        }
    }
}

/// Whether a backend's answer is the key that `spec` asks for. A backend is trusted with keys, not
/// with saying the truth about them.
pub(crate) fn check_answer(spec: &KeySpec, key: &RegisteredKey) -> Result<(), BackendError> {
    let is_older = |older: &OlderVersion| {
        older.version < key.info.version && older.signer.public_key().key_type() == spec.key_type
    };
    if key.signer.public_key() != &key.info.public_key || !key.older.iter().all(is_older) {
        return Err(another_key(spec));
    }
    check_info(spec, &key.info)
}

/// The same for an answer without a signer.
pub(crate) fn check_info(spec: &KeySpec, info: &KeyInfo) -> Result<(), BackendError> {
    if info.id != spec.id
        || info.key_type != spec.key_type
        || info.public_key.key_type() != spec.key_type
    {
        return Err(another_key(spec));
    }
    match &spec.public_key {
        // The pinned text is not repeated: somebody may have put the secret there.
        Some(pinned) if *pinned != info.public_key => {
            Err(BackendError::WrongSecret(Failure::new(format!(
                "backend {} has the key with public key {}, which is not the one that the settings pin \
                 (`public_key`)",
                info.backend, info.public_key
            ))))
        }
        _ => Ok(()),
    }
}

fn another_key(spec: &KeySpec) -> BackendError {
    BackendError::Corrupt(Failure::new(format!(
        "the backend answered with another key than the {} key {}",
        spec.key_type, spec.id
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::SystemTime;

    use kms_backend::{Callers, KeyState, SoftwareSigner};
    use kms_keys::SecretKey;

    use super::*;

    fn id(text: &str) -> KeyId {
        KeyId::new(text).unwrap()
    }

    fn caller(name: &str) -> Caller {
        Caller::new(name.into())
    }

    fn key(spec: &KeySpec) -> RegisteredKey {
        let signer = SoftwareSigner::new(SecretKey::generate(spec.key_type).unwrap());
        let signer = Signer::Local(Arc::new(signer));
        let info = KeyInfo::new(spec.id.clone(), signer.public_key().clone(), "test");
        RegisteredKey::new(info, signer)
    }

    fn registry(spec: &KeySpec) -> Registry {
        let mut registry = Registry::default();
        registry.admit(spec.clone(), "test".into(), key(spec));
        registry
    }

    #[test]
    fn an_answer_about_another_key_is_found_out() {
        let spec = KeySpec::new(id("a"), KeyType::Ed25519);
        let other_id = key(&KeySpec::new(id("b"), KeyType::Ed25519));
        let other_type = key(&KeySpec::new(id("a"), KeyType::Secp256k1));
        let mut other_signer = key(&spec);
        other_signer.signer = key(&spec).signer;
        for lie in [other_id, other_type, other_signer] {
            let refused = check_answer(&spec, &lie).unwrap_err();
            assert!(matches!(refused, BackendError::Corrupt(_)), "{refused:?}");
        }
        check_answer(&spec, &key(&spec)).unwrap();
    }

    #[test]
    fn a_pinned_public_key_must_be_met() {
        let mut spec = KeySpec::new(id("a"), KeyType::Ed25519);
        let right = key(&spec);
        spec.public_key = Some(right.info.public_key.clone());
        check_answer(&spec, &right).unwrap();
        let refused = check_answer(&spec, &key(&spec)).unwrap_err();
        assert!(matches!(refused, BackendError::WrongSecret(_)), "{refused:?}");
    }

    #[test]
    fn only_listed_callers_may_use_a_key() {
        let mut spec = KeySpec::new(id("a"), KeyType::Ed25519);
        spec.callers = Callers::Only(BTreeSet::from(["Identity".to_owned()]));
        let registry = registry(&spec);
        assert!(registry.usable(&caller("Identity"), &id("a")).is_ok());
        for name in ["Proposer", "identity", ""] {
            let refused = registry.usable(&caller(name), &id("a")).err().unwrap();
            assert!(matches!(refused, KmsError::CallerNotAllowed { .. }), "{refused:?}");
        }
    }

    #[test]
    fn only_listed_schemes_may_sign() {
        let mut spec = KeySpec::new(id("a"), KeyType::Bls12381);
        let signing = |spec: &KeySpec, scheme| {
            registry(spec).for_signing(&caller("X"), &id("a"), scheme, None).map(|(_, s)| s)
        };
        assert_eq!(signing(&spec, None).unwrap(), SigningScheme::BlsPop);
        // The proof of possession belongs to the ciphersuite.
        assert!(signing(&spec, Some(SigningScheme::BlsPopProve)).is_ok());
        assert!(signing(&spec, Some(SigningScheme::BlsBasic)).is_err());
        assert!(signing(&spec, Some(SigningScheme::Ed25519)).is_err());

        spec.schemes = BTreeSet::from([SigningScheme::BlsBasic]);
        assert!(signing(&spec, Some(SigningScheme::BlsBasic)).is_ok());
        for scheme in [None, Some(SigningScheme::BlsPop), Some(SigningScheme::BlsPopProve)] {
            let refused = signing(&spec, scheme).unwrap_err();
            assert!(matches!(refused, KmsError::SchemeNotAllowed { .. }), "{refused:?}");
        }
    }

    #[test]
    fn versions_sign_by_their_number_and_the_current_one_without() {
        let spec = KeySpec::new(id("a"), KeyType::Ed25519);
        let mut registry = registry(&spec);
        let old = registry.get(&id("a")).unwrap().signer.clone();
        let mut rotated = key(&spec).with_older(vec![OlderVersion { version: 1, signer: old }]);
        rotated.info.version = 2;
        let (old, new) = (
            registry.get(&id("a")).unwrap().info.public_key.clone(),
            rotated.info.public_key.clone(),
        );
        registry.rotate(&id("a"), rotated);

        let signer = |version| {
            let signing = registry.for_signing(&caller("X"), &id("a"), None, version);
            signing.map(|(key, _)| key.signer.public_key().clone())
        };
        assert_eq!(signer(None).unwrap(), new);
        assert_eq!(signer(Some(2)).unwrap(), new);
        assert_eq!(signer(Some(1)).unwrap(), old);
        for version in [Some(0), Some(3)] {
            assert!(matches!(signer(version), Err(KmsError::NotFound { .. })));
        }
    }

    #[test]
    fn a_key_that_is_not_active_is_not_usable() {
        let spec = KeySpec::new(id("a"), KeyType::Ed25519);
        let mut registry = registry(&spec);
        let mut info = registry.get(&id("a")).unwrap().info().clone();
        info.state = KeyState::Disabled;
        registry.update(&id("a"), info.clone());
        let refused = registry.usable(&caller("X"), &id("a")).err().unwrap();
        assert!(matches!(refused, KmsError::Disabled { .. }));
        info.state = KeyState::PendingDeletion { not_before: SystemTime::UNIX_EPOCH };
        registry.update(&id("a"), info);
        let refused = registry.usable(&caller("X"), &id("a")).err().unwrap();
        assert!(matches!(refused, KmsError::PendingDeletion { .. }));
        assert!(registry.get(&id("a")).is_ok(), "it is still known");
    }

    #[test]
    fn lists_are_filtered_and_paged() {
        let mut registry = Registry::default();
        for name in ["a/1", "a/2", "a/3", "b/1"] {
            let spec = KeySpec::new(id(name), KeyType::Ed25519);
            registry.admit(spec.clone(), "test".into(), key(&spec));
        }
        let filter = KeyFilter::default().prefix("a/");
        let first = registry.list(&filter, &PageRequest::first(2));
        assert_eq!(first.keys.len(), 2);
        let next = PageRequest { after: first.next, limit: 2 };
        let second = registry.list(&filter, &next);
        assert_eq!(second.keys.len(), 1);
        assert_eq!(second.keys[0].id, id("a/3"));
        assert_eq!(second.next, None);
        let past = PageRequest { after: Some(id("b")), limit: 2 };
        assert!(registry.list(&filter, &past).keys.is_empty());
        let none = KeyFilter::default().key_type(KeyType::Bls12381);
        assert!(registry.list(&none, &PageRequest::first(9)).keys.is_empty());
    }

    #[test]
    fn no_page_keeps_others_waiting_for_long() {
        let mut registry = Registry::default();
        let spec = KeySpec::new(id("z"), KeyType::Ed25519);
        let one = key(&spec);
        for number in 0..2 * LOOKED_AT + 1 {
            let spec = KeySpec::new(id(&format!("{number:05}")), KeyType::Ed25519);
            registry.admit(spec, "test".into(), one.clone());
        }
        for (filter, most) in [
            (KeyFilter::default(), LOOKED_AT),
            (KeyFilter::default().key_type(KeyType::Bls12381), 0),
        ] {
            let mut page = PageRequest::first(usize::MAX);
            let mut pages = Vec::new();
            loop {
                let KeyPage { keys, next } = registry.list(&filter, &page);
                pages.push(keys.len());
                page.after = next;
                if page.after.is_none() {
                    break;
                }
            }
            assert_eq!(pages, [most, most, most.min(1)]);
        }
    }
}
