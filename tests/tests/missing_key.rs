//! Services that ask for keys which the settings don't declare.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails in a test fails the test"
)]

use kms_backend::{BackendError, IfMissing};
use kms_keys::KeyType;
use kms_service::{KeyRequest, KmsError};
use kms_tests::{Folder, id, kms_of, slots, start};
use node_example::identity::Identity;

/// Refused with a reason; the services that were there before don't notice.
#[tokio::test(flavor = "multi_thread")]
async fn at_run_time() {
    let folder = Folder::new(1);
    let mut node = start(&folder).await;
    slots(&mut node, 2).await;
    let kms = kms_of::<Identity>(&node).await;

    let extra = || KeyRequest::new("node/extra", KeyType::Ed25519);
    match kms.register(extra()).await.unwrap_err() {
        KmsError::Backend(error @ BackendError::NotFound(_)) => {
            let text = error.to_string();
            assert!(
                text.contains("no source says where the secret of the ed25519 key node/extra is"),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
    let generated = kms.register(extra().if_missing(IfMissing::Generate)).await;
    assert!(matches!(generated, Err(KmsError::Unsupported { .. })), "{generated:?}");
    let signed = kms.sign(&id("node/extra"), "x").await;
    assert!(matches!(signed, Err(KmsError::NotFound { .. })), "{signed:?}");
    let other_type = kms.register(KeyRequest::new("node/peer", KeyType::Bls12381)).await;
    assert!(matches!(other_type, Err(KmsError::TypeMismatch { .. })), "{other_type:?}");
    let no_id = kms.register(KeyRequest::new("node//extra", KeyType::Ed25519)).await;
    assert!(matches!(no_id, Err(KmsError::InvalidKeyId(_))), "{no_id:?}");

    assert_eq!(kms.health().await.unwrap().keys, 7);
    slots(&mut node, 5).await;
    node.stop().await;
}
