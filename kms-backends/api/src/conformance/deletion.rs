//! A key is deleted in two steps, and never comes back as another.

use std::time::{Duration, SystemTime};

use kms_keys::KeyType;

use super::register::{register, registered};
use super::{CheckKind, Fixture, Provisioned, Suite, Verdict, chain, ensure, open};
use crate::{
    Backend, BackendSettings, Derivation, IfMissing, KeySpec, KeyState, Operation, PageRequest,
};

/// A waiting time that is not over while the suite runs.
pub(super) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) async fn checks<F: Fixture>(suite: &mut Suite<F>) {
    let kind = CheckKind::Lifecycle;
    let capabilities = suite.fixture.settings().capabilities();
    let can = |operation| capabilities.operations.contains(&operation);
    let Some(key_type) = capabilities.keys.first().map(|key| key.key_type) else { return };
    let name = "scheduled for deletion, and not";
    if can(Operation::ScheduleDelete) && can(Operation::CancelDelete) {
        suite.check(kind, name, move |f| async move { is_scheduled(&*f, key_type).await }).await;
    } else {
        suite.not_applicable(kind, name);
    }
    let name = "destroyed when its time has come, and for good";
    if can(Operation::ScheduleDelete) && can(Operation::Destroy) {
        suite.check(kind, name, move |f| async move { is_destroyed(&*f, key_type).await }).await;
    } else {
        suite.not_applicable(kind, name);
    }
}

/// A key that nothing keeps from being deleted.
async fn deletable<F: Fixture>(
    fixture: &F,
    id: &str,
    key_type: KeyType,
) -> Result<Provisioned, String> {
    let backend = open(fixture).await?;
    let (provisioned, _) = registered(fixture, &*backend, id, key_type).await?;
    backend.close().await;
    drop(backend);
    fixture.allow_deletion(&provisioned.spec.id).await;
    Ok(provisioned)
}

async fn is_scheduled<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let provisioned = deletable(fixture, "lifecycle/deleted", key_type).await?;
    let id = &provisioned.spec.id;
    let backend = open(fixture).await?;
    let earliest = SystemTime::now() + WEEK - Duration::from_secs(60);
    let answer = backend.schedule_delete(id, WEEK).await;
    let info = answer.map_err(|error| format!("not scheduled: {}", chain(&error)))?;
    let KeyState::PendingDeletion { not_before } = info.state else {
        return Err(format!("scheduled for deletion, it is {}", info.state));
    };
    ensure(not_before >= earliest, || {
        "it may be destroyed before the waiting time is over".into()
    })?;
    ensure(backend.enable(id).await.is_err(), || "it was enabled all the same".into())?;
    backend.close().await;
    drop(backend);

    let backend = open(fixture).await?;
    let again = register(&*backend, &provisioned).await?;
    ensure(again.info.state == info.state, || {
        format!("opened again, a key to be deleted is {}", again.info.state)
    })?;
    let answer = backend.cancel_delete(id).await;
    let info = answer.map_err(|error| format!("not cancelled: {}", chain(&error)))?;
    ensure(matches!(info.state, KeyState::Active | KeyState::Disabled), || {
        format!("its deletion cancelled, it is {}", info.state)
    })
}

async fn is_destroyed<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let provisioned = deletable(fixture, "lifecycle/destroyed", key_type).await?;
    let derivation = fixture.derivation(key_type).await;
    let id = &provisioned.spec.id;
    let backend = open(fixture).await?;
    ensure(backend.destroy(id).await.is_err(), || {
        "it was destroyed without having been scheduled for it".into()
    })?;
    let scheduled = async |wait| {
        let answer = backend.schedule_delete(id, wait).await;
        answer.map_err(|error| format!("not scheduled: {}", chain(&error)))
    };
    scheduled(WEEK).await?;
    ensure(backend.destroy(id).await.is_err(), || {
        "it was destroyed before its waiting time was over".into()
    })?;
    let cancelled = backend.cancel_delete(id).await;
    cancelled.map_err(|error| format!("not cancelled: {}", chain(&error)))?;
    scheduled(Duration::ZERO).await?;
    let destroyed = backend.destroy(id).await;
    destroyed.map_err(|error| format!("not destroyed: {}", chain(&error)))?;

    let derivation = derivation.as_ref();
    is_gone(&*backend, &provisioned.spec, derivation).await?;
    let listed = backend.list(&PageRequest::first(1000)).await;
    let listed = listed.map_err(|error| format!("not listed: {}", chain(&error)))?;
    ensure(listed.keys.iter().all(|key| key.id != *id), || "destroyed, it is listed still".into())?;
    backend.close().await;
    drop(backend);
    let backend = open(fixture).await?;
    let again = is_gone(&*backend, &provisioned.spec, derivation).await;
    again.map_err(|reason| format!("opened again, {reason}"))
}

/// Whether nothing brings a destroyed key back or gives its id to another.
async fn is_gone(
    backend: &dyn Backend,
    spec: &KeySpec,
    derivation: Option<&Derivation>,
) -> Verdict {
    let id = &spec.id;
    let mut spec = KeySpec { if_missing: IfMissing::Fail, ..spec.clone() };
    ensure(backend.register(&spec).await.is_err(), || "destroyed, it is still there".into())?;
    ensure(backend.cancel_delete(id).await.is_err(), || "its deletion was cancelled".into())?;
    ensure(backend.enable(id).await.is_err(), || "it was enabled".into())?;
    ensure(backend.rotate(id).await.is_err(), || "it was rotated".into())?;
    spec.derivation = derivation.cloned();
    ensure(derivation.is_none() || backend.register(&spec).await.is_err(), || {
        "its id was given to a derived key".into()
    })?;
    spec = KeySpec { derivation: None, if_missing: IfMissing::Generate, ..spec };
    ensure(backend.register(&spec).await.is_err(), || "its id was given to a generated key".into())
}
