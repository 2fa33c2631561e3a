//! A running node whose required audit records can't be written, or are late.

#![allow(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use std::fs::{self, File};
use std::thread;
use std::time::Duration;

use kms_backend::{ErrorChain, HealthLevel};
use kms_peers::{Bao, Fault, Proxy};
use kms_tests::{AuditedNode, id, message, paired, paired_but, slots, verify};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn what_cannot_be_recorded_is_refused_and_local_keys_go_on() {
    let bao = Bao::dev().await;
    let folder = tempfile::TempDir::new().unwrap();
    let AuditedNode { mut node, kms, log } = AuditedNode::start(&bao, folder.path()).await;
    let (far, near) = (id("far/key"), id("node/identity"));
    let keys = (kms.public_key(&far).await.unwrap(), kms.public_key(&near).await.unwrap());
    verify(&keys.0, &message(0), &kms.sign(&far, message(0)).await.unwrap());
    slots(&mut node, 1).await;
    // Looks at how the server is are recorded too.
    while fs::read_to_string(&log).unwrap().matches(r#""operation":"health""#).count() < 6 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // Somebody moves the file away and puts something else in its place.
    let rotated = log.with_extension("1");
    fs::rename(&log, &rotated).unwrap();
    fs::create_dir(&log).unwrap();
    // More than it takes for the backend to be left alone.
    for number in 0..20 {
        let refused = kms.sign(&far, message(number)).await.unwrap_err();
        assert!(refused.is_retryable(), "{refused:?}");
        let text = ErrorChain(&refused).to_string();
        assert!(text.contains(&format!("audit file {}", log.display())), "{text}");
        verify(&keys.1, &message(number), &kms.sign(&near, message(number)).await.unwrap());
    }
    let many = kms.sign_many(&far, None, vec![message(1)]).await;
    let many = many.and_then(|mut many| many.remove(0)).unwrap_err();
    assert!(ErrorChain(&many).to_string().contains(&log.display().to_string()), "{many:?}");
    slots(&mut node, 3).await;
    loop {
        let health = kms.health().await.unwrap().backends["vault"].clone();
        assert_eq!(health.level, HealthLevel::Failed);
        if health.reasons.concat().contains(&log.display().to_string()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    fs::remove_dir(&log).unwrap();
    let signature = loop {
        match kms.sign(&far, message(2)).await {
            Ok(signature) => break signature,
            Err(refused) => assert!(refused.is_retryable(), "{refused:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    verify(&keys.0, &message(2), &signature);
    node.stop().await;
    // A look at the server may have been under way, whose outcome had no place to go to.
    let (records, open) = paired_but(&[&rotated, &log]);
    assert!(open.len() <= 1 && open.iter().all(|it| it["operation"] == "health"), "{open:?}");
    let signed = |it: &&Value| it["outcome"] == "ok" && it["operation"] == "sign";
    assert_eq!(records.iter().filter(signed).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_file_that_is_moved_away_takes_no_record_with_it() {
    let bao = Bao::dev().await;
    let folder = tempfile::TempDir::new().unwrap();
    let AuditedNode { node, kms, log } = AuditedNode::start(&bao, folder.path()).await;
    let far = id("far/key");
    let (mut logs, mut number) = (Vec::new(), 0);
    for round in 1..=5 {
        for _ in 0..20 {
            kms.sign(&far, message(number)).await.unwrap();
            number += 1;
        }
        let rotated = log.with_extension(round.to_string());
        fs::rename(&log, &rotated).unwrap();
        logs.push(rotated);
    }
    kms.sign(&far, message(number)).await.unwrap();
    node.stop().await;
    logs.push(log);
    let logs: Vec<_> = logs.iter().map(|log| &**log).collect();
    let records = paired(&logs);
    let signed = |it: &&Value| it["outcome"] == "ok" && it["operation"] == "sign";
    assert_eq!(records.iter().filter(signed).count(), number + 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_stop_waits_for_the_records_of_what_it_gives_up() {
    let bao = Bao::dev().await;
    let proxy = Proxy::before(bao.address()).await;
    let folder = tempfile::TempDir::new().unwrap();
    let started = AuditedNode::start_behind(&proxy.url(), &bao, folder.path()).await;
    let AuditedNode { node, kms, log } = started;
    proxy.next_at("/sign/", Fault::Delay(Duration::from_secs(600)), 1000);
    let far = id("far/key");
    let asked = tokio::spawn(async move { kms.sign(&far, message(0)).await });
    while !fs::read_to_string(&log).unwrap().contains(r#""operation":"sign""#) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Somebody else has the file for a moment: what is to be written is late.
    let held = File::open(&log).unwrap();
    held.lock().unwrap();
    let late = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        held.unlock().unwrap();
    });
    node.stop().await;
    let records = paired(&[&log]);
    late.join().unwrap();
    let given_up = |it: &Value| it["outcome"] == "given_up" && it["operation"] == "sign";
    assert!(records.iter().any(given_up), "{records:?}");
    assert!(asked.await.unwrap().is_err());
}
