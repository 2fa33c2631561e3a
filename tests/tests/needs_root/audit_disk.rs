//! Audit records on a disk that is full.

use std::fs;
use std::os::unix::fs::symlink;

use kms_backend::ErrorChain;
use kms_peers::Bao;
use kms_tests::{AuditedNode, SmallDisk, id, paired_but, slots};
use tempfile::TempDir;

use crate::disk::fill;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, to mount a small file system, and OpenBao: cargo xtask test sets it up"]
async fn a_full_disk_refuses_and_leaves_no_half_of_a_record() {
    let (bao, disk, folder) = (Bao::dev().await, SmallDisk::new(256), TempDir::new().unwrap());
    symlink(disk.path(), folder.path().join("audit")).unwrap();
    let AuditedNode { mut node, kms, log } = AuditedNode::start(&bao, folder.path()).await;
    let far = id("far/key");
    for _ in 0..3 {
        fill(disk.path());
        // There is room to the end of the file's last page.
        let refused = loop {
            if let Err(refused) = kms.sign(&far, "m").await {
                break ErrorChain(&refused).to_string();
            }
        };
        assert!(refused.contains(&log.display().to_string()), "{refused}");
        assert!(refused.contains("No space left"), "{refused}");
        slots(&mut node, 3).await;
        fs::remove_file(disk.path().join("filler")).unwrap();
        while kms.sign(&far, "m").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    node.stop().await;
    // An outcome that didn't fit was given to nobody.
    let (records, open) = paired_but(&[&log]);
    assert!(records.len() > 2 * open.len(), "{open:?}");
}
