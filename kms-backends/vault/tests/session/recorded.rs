//! Records of what is asked again with another token.

use kms_peers::{outcomes, paired};
use serde_json::json;

use super::fake::FakeVault;

#[tokio::test]
async fn what_is_asked_again_with_another_token_has_records_of_its_own() {
    let vault = FakeVault::start(3600).await;
    let backend =
        vault.open(json!({ "remote": { "audit": { "file": "audit.log" } } })).await.unwrap();
    let signer = vault.signer(&*backend).await;
    vault.with(|state| state.good_tokens.clear());
    vault.sign_by(&signer, b"m").await.unwrap();
    vault.with(|state| state.may_sign = false);
    for _ in 0..2 {
        vault.sign_by(&signer, b"m").await.unwrap_err();
    }
    backend.close().await;

    let records = paired(&[&vault.path("audit.log")]);
    // The last one's token is known to be good: that it lacks a right is told at once.
    let expected = [(1, "denied"), (2, "ok"), (1, "denied"), (2, "denied"), (1, "denied")];
    assert_eq!(outcomes(&records, "sign"), expected);
    assert_eq!(outcomes(&records, "login"), [(1, "ok"); 3]);
    let asked = records.iter().filter(|record| record["event"] == "request").count();
    assert_eq!(asked, vault.count(""), "there is not one pair for each request");
}
