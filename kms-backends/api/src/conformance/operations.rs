//! What a backend says it can't do is refused by name; what runs on a secret, runs.

use std::time::Duration;

use kms_keys::{KeyType, Operator, PublicKey, X25519Operator};

use super::register::registered;
use super::{CheckKind, Fixture, Suite, Verdict, ensure, open};
use crate::{Backend, BackendError, BackendSettings, HealthLevel, Operation, Signer};

/// The operations on a key that is there.
const LIFECYCLE: [Operation; 6] = [
    Operation::Rotate,
    Operation::Disable,
    Operation::Enable,
    Operation::ScheduleDelete,
    Operation::CancelDelete,
    Operation::Destroy,
];

pub(super) async fn checks<F: Fixture>(suite: &mut Suite<F>) {
    let capabilities = suite.fixture.settings().capabilities();
    let Some(key_type) = capabilities.keys.first().map(|key| key.key_type) else {
        return;
    };
    let kind = CheckKind::Operation;

    suite.check(kind, "healthy when opened", |f| async move { healthy(&*f).await }).await;
    for operation in LIFECYCLE {
        let name = format!("can't {operation} keys");
        if capabilities.operations.contains(&operation) {
            suite.not_applicable(kind, name);
        } else {
            suite
                .check(kind, name, move |f| async move { refused(&*f, key_type, operation).await })
                .await;
        }
    }
    if capabilities.operations.contains(&Operation::Execute)
        && !capabilities.schemes(KeyType::Ed25519).is_empty()
    {
        suite.check(kind, "x25519: both sides agree", |f| async move { agrees(&*f).await }).await;
    } else {
        suite.not_applicable(kind, "x25519: both sides agree");
    }
}

async fn healthy<F: Fixture>(fixture: &F) -> Verdict {
    let health = open(fixture).await?.health().await;
    ensure(health.level == HealthLevel::Ok, || {
        format!("it is {}: {}", health.level, health.reasons.join("; "))
    })
}

async fn refused<F: Fixture>(fixture: &F, key_type: KeyType, operation: Operation) -> Verdict {
    let backend = open(fixture).await?;
    let id = format!("operation/refused-{operation:?}");
    let (provisioned, _) = registered(fixture, &*backend, &id, key_type).await?;
    match call(&*backend, &provisioned.spec.id, operation).await {
        Ok(()) => Err("it did it, though its capabilities say that it can't".into()),
        Err(BackendError::Unsupported(named)) if named == operation => Ok(()),
        Err(other) => Err(format!("expected Unsupported({operation:?}), got {other:?}")),
    }
}

async fn call(
    backend: &dyn Backend,
    id: &kms_keys::KeyId,
    operation: Operation,
) -> Result<(), BackendError> {
    match operation {
        Operation::Rotate => backend.rotate(id).await.map(drop),
        Operation::Disable => backend.disable(id).await.map(drop),
        Operation::Enable => backend.enable(id).await.map(drop),
        Operation::ScheduleDelete => {
            backend.schedule_delete(id, Duration::from_secs(7 * 24 * 3600)).await.map(drop)
        }
        Operation::CancelDelete => backend.cancel_delete(id).await.map(drop),
        Operation::Destroy => backend.destroy(id).await,
        Operation::Generate | Operation::Derive | Operation::Execute | Operation::Aggregate => {
            Ok(())
        }
    }
}

async fn agrees<F: Fixture>(fixture: &F) -> Verdict {
    let backend = open(fixture).await?;
    let (_, ours) =
        registered(fixture, &*backend, "operation/x25519-ours", KeyType::Ed25519).await?;
    let (_, theirs) =
        registered(fixture, &*backend, "operation/x25519-theirs", KeyType::Ed25519).await?;
    let one = agree(&ours.signer, &theirs.info.public_key)?;
    let other = agree(&theirs.signer, &ours.info.public_key)?;
    ensure(one.len() == 32, || format!("the shared secret has {} bytes", one.len()))?;
    ensure(one == other, || "the two sides don't agree".into())
}

fn agree(signer: &Signer, peer: &PublicKey) -> Result<Vec<u8>, String> {
    let (Signer::Local(signer), PublicKey::Ed25519(peer)) = (signer, peer) else {
        return Err("a remote signer, or another key type: no operator can run there".into());
    };
    let mut out = Vec::with_capacity(X25519Operator.max_output());
    let done = signer.execute(&X25519Operator, &peer.to_x25519(), &mut out);
    done.map(|()| out).map_err(|error| format!("the operator failed: {error}"))
}
