//! A key that isn't there, or is damaged, is an error – never another key.

use kms_keys::KeyType;

use super::register::{key_id, registered};
use super::{CheckKind, Fixture, Suite, Verdict, chain, ensure, open};
use crate::{BackendError, BackendSettings};

pub(super) async fn checks<F: Fixture>(suite: &mut Suite<F>) {
    for capability in suite.fixture.settings().capabilities().keys {
        let key_type = capability.key_type;
        let kind = CheckKind::Missing;
        suite
            .check(kind, format!("{key_type}: an absent key"), move |f| async move {
                absent(&*f, key_type).await
            })
            .await;

        let reachable = {
            let id = key_id(&format!("missing/reachable-{key_type}"));
            match id {
                Ok(id) => {
                    let provisioned = suite.fixture.provision(id, key_type).await;
                    suite.fixture.damage(&provisioned.spec).await
                }
                Err(_) => false,
            }
        };
        let name = format!("{key_type}: a damaged key");
        if reachable {
            suite.check(kind, name, move |f| async move { damaged(&*f, key_type).await }).await;
        } else {
            suite.not_applicable(kind, name);
        }
    }
}

async fn absent<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let backend = open(fixture).await?;
    let spec = fixture.absent(key_id(&format!("missing/absent-{key_type}"))?, key_type);
    match backend.register(&spec).await {
        Ok(_) => Err("it was registered all the same".into()),
        Err(BackendError::NotFound(_)) => Ok(()),
        Err(other) => Err(format!("expected NotFound, got {other:?}")),
    }?;
    // The refusal leaves nothing behind that would make the next try succeed.
    ensure(backend.register(&spec).await.is_err(), || "the second try succeeded".into())
}

async fn damaged<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let id = format!("missing/damaged-{key_type}");
    let (provisioned, neighbour) = {
        let backend = open(fixture).await?;
        // Registered first: it must be stored before it can be damaged.
        let (provisioned, _) = registered(fixture, &*backend, &id, key_type).await?;
        let id = format!("missing/neighbour-{key_type}");
        let (neighbour, _) = registered(fixture, &*backend, &id, key_type).await?;
        backend.close().await;
        (provisioned, neighbour)
    };
    fixture.damage(&provisioned.spec).await;
    // A place that can't be opened any more is an error that says so, too.
    let Ok(backend) = open(fixture).await else {
        return Ok(());
    };
    match backend.register(&provisioned.spec).await {
        Ok(_) => Err("it was registered all the same".into()),
        Err(error) if error.is_retryable() => {
            Err(format!("the error promises that a retry can help: {}", chain(&error)))
        }
        Err(_) => Ok(()),
    }?;
    let answer = backend.register(&neighbour.spec).await;
    answer.map(drop).map_err(|error| format!("its neighbour went with it: {}", chain(&error)))
}
