//! Registering a key gives that key, however often and by how many at once.

use std::sync::Arc;

use kms_keys::{KeyId, KeyType};

use super::{CheckKind, Fixture, Provisioned, Suite, Verdict, chain, ensure, open};
use crate::{Backend, BackendSettings, KeyState, RegisteredKey};

pub(super) async fn checks<F: Fixture>(suite: &mut Suite<F>) {
    for capability in suite.fixture.settings().capabilities().keys {
        let key_type = capability.key_type;
        let kind = CheckKind::Register;
        suite
            .check(kind, format!("{key_type}: the answer is true"), move |f| async move {
                answer_is_true(&*f, key_type).await
            })
            .await;
        suite
            .check(kind, format!("{key_type}: twice gives one key"), move |f| async move {
                twice_gives_one_key(&*f, key_type).await
            })
            .await;
        suite
            .check(kind, format!("{key_type}: eight at once give one key"), move |f| async move {
                at_once_give_one_key(f, key_type).await
            })
            .await;
        suite
            .check(kind, format!("{key_type}: two ids give two keys"), move |f| async move {
                two_ids_give_two_keys(&*f, key_type).await
            })
            .await;
        suite
            .check(kind, format!("{key_type}: the longest id"), move |f| async move {
                longest_id(&*f, key_type).await
            })
            .await;
    }
}

/// Provisions and registers a key of its own for a check.
pub(super) async fn registered<F: Fixture>(
    fixture: &F,
    backend: &dyn Backend,
    id: &str,
    key_type: KeyType,
) -> Result<(Provisioned, RegisteredKey), String> {
    let provisioned = fixture.provision(key_id(id)?, key_type).await;
    let key = register(backend, &provisioned).await?;
    Ok((provisioned, key))
}

pub(super) async fn register(
    backend: &dyn Backend,
    provisioned: &Provisioned,
) -> Result<RegisteredKey, String> {
    let answer = backend.register(&provisioned.spec).await;
    answer.map_err(|error| format!("a provisioned key was refused: {}", chain(&error)))
}

pub(super) fn key_id(id: &str) -> Result<KeyId, String> {
    KeyId::new(id).map_err(|error| format!("the suite's own id {id}: {error}"))
}

async fn answer_is_true<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let backend = open(fixture).await?;
    let id = format!("register/true-{key_type}");
    let (provisioned, key) = registered(fixture, &*backend, &id, key_type).await?;
    let info = &key.info;
    ensure(info.id == provisioned.spec.id, || format!("it has the id {}", info.id))?;
    ensure(info.key_type == key_type, || format!("it has the type {}", info.key_type))?;
    ensure(info.public_key.key_type() == key_type, || {
        format!("its public key is of type {}", info.public_key.key_type())
    })?;
    ensure(info.state == KeyState::Active, || format!("it is {}", info.state))?;
    ensure(info.version >= 1, || "its version is 0".into())?;
    ensure(info.backend == fixture.context().name, || {
        format!("it lives in {:?}, not in the backend of this name", info.backend)
    })?;
    ensure(key.signer.public_key() == &info.public_key, || {
        "the signer has another public key than the answer".into()
    })?;
    ensure(provisioned.public_key.is_none_or(|expected| expected == info.public_key), || {
        "it isn't the key that was put there".into()
    })
}

async fn twice_gives_one_key<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let backend = open(fixture).await?;
    let id = format!("register/twice-{key_type}");
    let (provisioned, first) = registered(fixture, &*backend, &id, key_type).await?;
    let second = register(&*backend, &provisioned).await?;
    ensure(first.info == second.info, || "the second answer differs from the first".into())
}

async fn at_once_give_one_key<F: Fixture>(fixture: Arc<F>, key_type: KeyType) -> Verdict {
    let backend = open(&*fixture).await?;
    let id = key_id(&format!("register/at-once-{key_type}"))?;
    let provisioned = fixture.provision(id, key_type).await;
    let answers = (0..8).map(|_| {
        let (backend, provisioned) = (Arc::clone(&backend), provisioned.clone());
        tokio::spawn(async move { register(&*backend, &provisioned).await })
    });
    let mut first = None;
    for answer in futures::future::join_all(answers).await {
        let key = answer.map_err(|error| error.to_string())??;
        let public_key = first.get_or_insert_with(|| key.info.public_key.clone());
        ensure(*public_key == key.info.public_key, || "two of them gave two keys".into())?;
    }
    Ok(())
}

async fn two_ids_give_two_keys<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let backend = open(fixture).await?;
    // Ids that differ in case alone, or in where a segment ends, are different ids.
    let mut seen = Vec::new();
    for name in ["register/two/key", "register/two/Key", "register/two-key"] {
        let id = format!("{name}-{key_type}");
        let (_, key) = registered(fixture, &*backend, &id, key_type).await?;
        ensure(!seen.contains(&key.info.public_key), || format!("{id} is another id's key"))?;
        seen.push(key.info.public_key);
    }
    Ok(())
}

async fn longest_id<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let backend = open(fixture).await?;
    let mut id = format!("register/longest-{key_type}/");
    id.extend(std::iter::repeat_n('x', 128 - id.len()));
    let (_, key) = registered(fixture, &*backend, &id, key_type).await?;
    ensure(key.info.id.as_str() == id, || format!("it has the id {}", key.info.id))
}
