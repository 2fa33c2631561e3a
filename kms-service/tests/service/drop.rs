//! A node that is dropped without being stopped: nothing hangs, and the service lets go of all it has.

use kms_keys::KeyType;
use kms_service::KeyRequest;
use serde_json::{Value, json};

use crate::support::*;

/// How often the backend is asked how it is, where a test does so once: the metrics ask as well, when the service
/// starts.
const HEALTH: usize = 2;

fn keys() -> Value {
    json!([
        { "id": "good", "type": "ed25519" },
        { "id": "slow", "type": "ed25519" },
        { "id": "far", "type": "ed25519" }
    ])
}

/// Starts a node in a runtime of its own, has `busy` keep it busy, and drops it. Returns when the
/// backend is closed and dropped.
fn dropped_while(busy: impl AsyncFnOnce(&TestNode)) {
    let script = Script::default();
    script.remote(&id("far"));
    let node = TestNode::run(settings(keys(), json!({}), &script), &script, None);
    let here = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    here.block_on(async {
        node.start().await.unwrap();
        busy(&node).await;
    });
    let watched = node.script.clone();
    node.let_go();
    here.block_on(async {
        watched.seen(Act::Close, 1).await;
        watched.seen(Act::Drop, 1).await;
        for key in ids(["good", "slow", "far"]) {
            watched.seen(Act::SignerDrop(key), 1).await;
        }
    });
}

#[test]
fn an_idle_node_is_dropped() {
    dropped_while(async |node| works(&node.api().await).await);
}

#[test]
fn a_node_is_dropped_while_others_are_asked() {
    for _ in 0..10 {
        dropped_while(async |node| {
            let api = node.api().await;
            let far = Act::Sign(id("far"));
            node.script.when(far.clone(), Does::Stuck);
            node.script.when(Act::Health, Does::Stuck);
            give_up_later(api.sign(&id("far"), "m")).await;
            give_up_later(api.health()).await;
            node.script.seen(far, 1).await;
            node.script.seen(Act::Health, HEALTH).await;
        });
    }
}

#[test]
fn a_node_is_dropped_while_keys_are_changed() {
    for _ in 0..10 {
        dropped_while(async |node| {
            let api = node.api().await;
            node.script.when(Act::Change(id("good")), Does::Stuck);
            node.script.when(Act::Register(id("new")), Does::Stuck);
            give_up_later(api.rotate(&id("good"))).await;
            give_up_later(api.disable(&id("good"))).await;
            give_up_later(api.register(KeyRequest::new("new", KeyType::Ed25519))).await;
            node.script.seen(Act::Change(id("good")), 1).await;
            node.script.seen(Act::Register(id("new")), 1).await;
        });
    }
}

#[test]
fn a_node_is_dropped_while_it_signs() {
    dropped_while(async |node| {
        for _ in 0..20 {
            let api = node.api().await;
            tokio::spawn(async move { api.sign_many(&id("slow"), None, vec![vec![]; 1000]).await });
        }
        node.script.seen(Act::Sign(id("slow")), 1).await;
    });
}

#[test]
fn a_runtime_of_one_thread_is_dropped_with_the_node_in_it() {
    for act in [Act::Sign(id("far")), Act::Health, Act::Change(id("good"))] {
        let script = Script::default();
        script.remote(&id("far"));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let node = runtime.block_on(async {
            let node = TestNode::new(keys(), json!({}), &script);
            node.start().await.unwrap();
            let api = node.api().await;
            script.when(act.clone(), Does::Stuck);
            match act {
                Act::Sign(_) => give_up_later(api.sign(&id("far"), "m")).await,
                Act::Health => give_up_later(api.health()).await,
                _ => give_up_later(api.rotate(&id("good"))).await,
            }
            let times = if act == Act::Health { HEALTH } else { 1 };
            script.seen(act.clone(), times).await;
            node
        });
        drop(runtime);
        assert_eq!((script.count(&Act::Close), script.count(&Act::Drop)), (1, 1), "{act:?}");
        drop(node);
    }
}

/// Sends a request, whose caller goes only after the service has it.
async fn give_up_later<'a, T>(
    request: impl IntoFuture<IntoFuture: Future<Output = Result<T, kms_service::KmsError>> + Send + 'a>,
) {
    std::mem::forget(sent(request).await);
}
