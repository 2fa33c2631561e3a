//! What a backend says it can do to a key, it does, and the key stays changed when the place is opened
//! again.

use kms_keys::{KeyId, KeyType};

use super::deletion::WEEK;
use super::register::{key_id, register, registered};
use super::sign::sign;
use super::{CheckKind, Fixture, Suite, Verdict, chain, ensure, open};
use crate::{
    Backend, BackendError, BackendSettings, IfMissing, KeyInfo, KeyState, Operation, RegisteredKey,
    Signer,
};

pub(super) async fn checks<F: Fixture>(suite: &mut Suite<F>) {
    let kind = CheckKind::Lifecycle;
    let capabilities = suite.fixture.settings().capabilities();
    let can = |operation| capabilities.operations.contains(&operation);
    for capability in &capabilities.keys {
        let key_type = capability.key_type;
        let name = format!("{key_type}: generated where it is missing");
        if can(Operation::Generate) {
            suite.check(kind, name, move |f| async move { generates(&*f, key_type).await }).await;
        } else {
            suite.not_applicable(kind, name);
        }
        let name = format!("{key_type}: rotated, with its older versions");
        if can(Operation::Rotate) {
            suite.check(kind, name, move |f| async move { rotates(&*f, key_type).await }).await;
        } else {
            suite.not_applicable(kind, name);
        }
    }
    let Some(key_type) = capabilities.keys.first().map(|key| key.key_type) else { return };
    let name = "disabled and enabled";
    if can(Operation::Disable) && can(Operation::Enable) {
        suite.check(kind, name, move |f| async move { is_disabled(&*f, key_type).await }).await;
    } else {
        suite.not_applicable(kind, name);
    }
    let name = "nothing is done to a key that isn't there";
    suite.check(kind, name, move |f| async move { absent(&*f).await }).await;
}

async fn generates<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let mut spec = fixture.absent(key_id(&format!("lifecycle/new-{key_type}"))?, key_type);
    spec.if_missing = IfMissing::Generate;
    let mut seen = None;
    for time in 1..=2 {
        let backend = open(fixture).await?;
        let answer = backend.register(&spec).await;
        let key = answer.map_err(|error| format!("time {time}: {}", chain(&error)))?;
        signs(&key.signer, &key.info).await?;
        let public_key = seen.get_or_insert_with(|| key.info.public_key.clone());
        ensure(*public_key == key.info.public_key, || "it is another key each time".into())?;
        backend.close().await;
    }
    Ok(())
}

async fn rotates<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let id = format!("lifecycle/rotated-{key_type}");
    let backend = open(fixture).await?;
    let (provisioned, first) = registered(fixture, &*backend, &id, key_type).await?;
    let rotate = async |backend: &dyn Backend| {
        let answer = backend.rotate(&provisioned.spec.id).await;
        answer.map_err(|error| format!("not rotated: {}", chain(&error)))
    };
    let second = rotate(&*backend).await?;
    let third = rotate(&*backend).await?;
    backend.close().await;
    let history = [&first, &second, &third].map(|key| key.info.clone());
    // Signers may keep the place open.
    drop((first, second, backend));
    versions(&third, &history).await?;
    drop(third);

    let backend = open(fixture).await?;
    let again = register(&*backend, &provisioned).await?;
    ensure(again.info == history[2], || "opened again, it is another version".into())?;
    versions(&again, &history).await
}

/// Whether `key` is the last of `history` and signs as each of the versions before.
async fn versions(key: &RegisteredKey, history: &[KeyInfo; 3]) -> Verdict {
    signs(&key.signer, &history[2]).await?;
    for (before, after) in history.iter().zip(&history[1..]) {
        ensure(after.id == before.id, || "it has another id".into())?;
        ensure(after.version > before.version, || format!("version {} again", after.version))?;
        ensure(after.public_key != before.public_key, || "the public key is the same".into())?;
        let older = key.older.iter().find(|older| older.version == before.version);
        let older = older.ok_or_else(|| format!("version {} is gone", before.version))?;
        signs(&older.signer, before).await?;
    }
    Ok(())
}

pub(super) async fn signs(signer: &Signer, info: &KeyInfo) -> Verdict {
    let scheme = info.key_type.default_scheme();
    let signature = sign(signer, scheme, b"version")
        .await
        .map_err(|error| format!("version {} doesn't sign: {}", info.version, chain(&error)))?;
    ensure(info.public_key.verify(scheme, b"version", &signature).is_ok(), || {
        format!("version {} signs with another key", info.version)
    })
}

async fn is_disabled<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let backend = open(fixture).await?;
    let (provisioned, _) = registered(fixture, &*backend, "lifecycle/state", key_type).await?;
    let id = &provisioned.spec.id;
    for operation in [Operation::Disable, Operation::Disable, Operation::Enable] {
        let expected = match operation {
            Operation::Disable => KeyState::Disabled,
            _ => KeyState::Active,
        };
        let answer = match operation {
            Operation::Disable => backend.disable(id).await,
            _ => backend.enable(id).await,
        };
        let info = answer.map_err(|error| format!("it can't {operation} it: {}", chain(&error)))?;
        ensure(info.state == expected, || format!("told to {operation} it: {}", info.state))?;
        let again = register(&*backend, &provisioned).await?;
        ensure(again.info == info, || format!("told to {operation} it, it says otherwise"))?;
    }
    let disabled = backend.disable(id).await;
    disabled.map_err(|error| format!("it can't disable it: {}", chain(&error)))?;
    backend.close().await;
    drop(backend);
    let again = register(&*open(fixture).await?, &provisioned).await?;
    ensure(again.info.state == KeyState::Disabled, || {
        format!("opened again, a disabled key is {}", again.info.state)
    })
}

async fn absent<F: Fixture>(fixture: &F) -> Verdict {
    let backend = open(fixture).await?;
    let id: KeyId = key_id("lifecycle/absent")?;
    let answers = [
        (Operation::Rotate, backend.rotate(&id).await.map(drop)),
        (Operation::Disable, backend.disable(&id).await.map(drop)),
        (Operation::Enable, backend.enable(&id).await.map(drop)),
        (Operation::ScheduleDelete, backend.schedule_delete(&id, WEEK).await.map(drop)),
        (Operation::CancelDelete, backend.cancel_delete(&id).await.map(drop)),
        (Operation::Destroy, backend.destroy(&id).await),
    ];
    for (operation, answer) in answers {
        match answer {
            Err(BackendError::NotFound(_) | BackendError::Unsupported(_)) => {}
            other => return Err(format!("to {operation} it: {other:?}")),
        }
    }
    Ok(())
}
