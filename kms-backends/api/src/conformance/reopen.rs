//! What was registered is there when the place is opened again.

use kms_keys::KeyType;

use super::register::{register, registered};
use super::{CheckKind, Fixture, Suite, Verdict, chain, ensure, open};
use crate::BackendSettings;
use crate::conformance::sign::sign;

pub(super) async fn checks<F: Fixture>(suite: &mut Suite<F>) {
    for capability in suite.fixture.settings().capabilities().keys {
        let key_type = capability.key_type;
        let kind = CheckKind::Reopen;
        suite
            .check(kind, format!("{key_type}: the same key"), move |f| async move {
                same_key(&*f, key_type).await
            })
            .await;
    }
}

async fn same_key<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let (provisioned, before) = {
        let backend = open(fixture).await?;
        let id = format!("reopen/same-{key_type}");
        let registered = registered(fixture, &*backend, &id, key_type).await?;
        backend.close().await;
        registered
    };
    let public_key = before.info.public_key.clone();
    drop(before);
    for time in 1..=2 {
        let backend = open(fixture).await?;
        let after = register(&*backend, &provisioned).await?;
        ensure(after.info.public_key == public_key, || {
            format!("it is another key after opening again (time {time})")
        })?;
        let scheme = key_type.default_scheme();
        let signature = sign(&after.signer, scheme, b"again")
            .await
            .map_err(|error| format!("it doesn't sign any more: {}", chain(&error)))?;
        ensure(public_key.verify(scheme, b"again", &signature).is_ok(), || {
            "what it signs doesn't verify any more".into()
        })?;
        backend.close().await;
    }
    Ok(())
}
