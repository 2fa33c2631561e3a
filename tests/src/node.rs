//! A node in this process.

use std::time::Duration;

use kms_keys::{KeyId, PublicKey, Signature};
use kms_service::KmsApi;
use node_example::event::SlotReport;
use node_example::node::{Kms, RuntimeServiceId};
use node_example::running::RunningNode;
use overwatch::overwatch::OverwatchHandle;
use overwatch::services::AsServiceId;

use crate::Folder;

/// How long a test waits for what must come, before it fails. No test is meant to wait so long.
const PATIENCE: Duration = Duration::from_secs(300);

/// A node on the secrets of `folder`.
pub async fn start(folder: &Folder) -> RunningNode {
    RunningNode::start(folder.settings()).await.unwrap()
}

/// The next `count` slots, all of which must verify, one after another.
pub async fn slots(node: &mut RunningNode, count: usize) -> Vec<SlotReport> {
    let mut reports: Vec<SlotReport> = Vec::with_capacity(count);
    while reports.len() < count {
        let slot = tokio::time::timeout(PATIENCE, node.next_slot()).await;
        let slot = slot.expect("slots stay away").unwrap();
        assert!(slot.verified, "{slot:?}");
        assert_eq!(slot.attesters, 4);
        assert!(
            reports.last().is_none_or(|last| last.slot + 1 == slot.slot),
            "{slot:?} after {reports:?}"
        );
        reports.push(slot);
    }
    reports
}

/// The key management service of `node`, as the service `C` sees it, without any hurry.
pub async fn kms_of<C>(node: &RunningNode) -> KmsApi
where
    RuntimeServiceId: AsServiceId<C>,
{
    KmsApi::connect::<Kms, C>(node.handle()).await.unwrap().with_deadline(PATIENCE)
}

/// Starts the key management service again.
pub async fn start_kms(handle: &OverwatchHandle<RuntimeServiceId>) {
    handle.start_service::<Kms>().await.unwrap();
}

/// Stops the key management service alone.
pub async fn stop_kms(handle: &OverwatchHandle<RuntimeServiceId>) {
    handle.stop_service::<Kms>().await.unwrap();
}

/// A key id.
#[must_use]
pub fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

/// A message of its own for every number.
#[must_use]
pub fn message(number: usize) -> Vec<u8> {
    format!("message {number}").into_bytes()
}

/// Expects `signature` to be the key's, under its type's default scheme.
#[track_caller]
pub fn verify(key: &PublicKey, message: &[u8], signature: &Signature) {
    let scheme = key.key_type().default_scheme();
    key.verify(scheme, message, signature).expect("a signature that verifies");
}
