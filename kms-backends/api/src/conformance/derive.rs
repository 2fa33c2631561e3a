//! A derived key is the same from the same master and path, and no other.

use kms_keys::KeyType;

use super::lifecycle::signs;
use super::register::key_id;
use super::{CheckKind, Fixture, Suite, Verdict, chain, ensure, open};
use crate::{Backend, BackendError, BackendSettings, Derivation, KeyInfo, KeySpec, Operation};

pub(super) async fn checks<F: Fixture>(suite: &mut Suite<F>) {
    let kind = CheckKind::Lifecycle;
    let capabilities = suite.fixture.settings().capabilities();
    for key_type in capabilities.keys.iter().map(|key| key.key_type) {
        if capabilities.operations.contains(&Operation::Derive) {
            let name = format!("{key_type}: derived from a master");
            suite.check(kind, name, move |f| async move { derives(&*f, key_type).await }).await;
        } else {
            let name = format!("{key_type}: a derivation is refused");
            suite.check(kind, name, move |f| async move { refuses(&*f, key_type).await }).await;
        }
    }
}

async fn derives<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let derivation = fixture.derivation(key_type).await;
    let derivation = derivation.ok_or("the fixture has no master to derive from")?;
    let name = |case: &str| format!("derived/{case}-{key_type}");
    let other = {
        let path = format!("{}/7{}", derivation.path, mark(key_type));
        let path = path.parse().map_err(|error| format!("{path}: {error}"))?;
        Derivation { path, ..derivation.clone() }
    };
    let backend = open(fixture).await?;
    let first = derived(&*backend, &name("first"), key_type, &derivation).await?;
    let twin = derived(&*backend, &name("First"), key_type, &derivation).await?;
    ensure(first.public_key == twin.public_key && first.id != twin.id, || {
        "the same master and path gave another key".into()
    })?;
    let sibling = derived(&*backend, &name("sibling"), key_type, &other).await?;
    ensure(sibling.public_key != first.public_key, || "another path gave the same key".into())?;
    let mut absent = derivation.clone();
    absent.master = key_id("derived/no-such-master")?;
    ensure(derived(&*backend, &name("orphan"), key_type, &absent).await.is_err(), || {
        "a master that isn't there gave a key".into()
    })?;
    ensure(derived(&*backend, &name("first"), key_type, &other).await.is_err(), || {
        "a key was taken for one derived by another path".into()
    })?;
    backend.close().await;
    drop(backend);
    let backend = open(fixture).await?;
    let again = derived(&*backend, &name("first"), key_type, &derivation).await?;
    ensure(again == first, || "opened again, it is another key".into())?;
    ensure(derived(&*backend, &name("first"), key_type, &other).await.is_err(), || {
        "opened again, a key was taken for one derived by another path".into()
    })
}

async fn refuses<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let id = key_id(&format!("derived/refused-{key_type}"))?;
    let mut spec = fixture.provision(id.clone(), key_type).await.spec;
    let path = match key_type {
        KeyType::Bls12381 => "m/0",
        _ => "m/0'",
    };
    let path = path.parse().map_err(|error| format!("{path}: {error}"))?;
    spec.derivation = Some(Derivation { master: id, path });
    match open(fixture).await?.register(&spec).await {
        Err(BackendError::Unsupported(Operation::Derive)) => Ok(()),
        other => Err(format!("expected Unsupported(Derive), got {other:?}")),
    }
}

async fn derived(
    backend: &dyn Backend,
    id: &str,
    key_type: KeyType,
    derivation: &Derivation,
) -> Result<KeyInfo, String> {
    let mut spec = KeySpec::new(key_id(id)?, key_type);
    spec.derivation = Some(derivation.clone());
    let answer = backend.register(&spec).await;
    let key = answer.map_err(|error| format!("{id} was not derived: {}", chain(&error)))?;
    signs(&key.signer, &key.info).await?;
    Ok(key.info)
}

/// What every step of a path has where only hardened ones are allowed.
fn mark(key_type: KeyType) -> &'static str {
    if key_type == KeyType::Ed25519 { "'" } else { "" }
}
