//! A scripted run, and what its metrics say of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use kms_backend::{BackendError, Failure, HealthLevel};
use kms_keys::KeyType;
use kms_service::{KeyRequest, KmsError};
use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use serde_json::json;
use tokio::sync::MutexGuard;

use crate::support::*;

/// What was recorded since it was last asked for: name and labels, as Prometheus writes them. Counters
/// are what was added, and of histograms there is the number of values. Gauges that count are what they
/// count now.
type Seen = BTreeMap<String, f64>;

/// The one recorder of the process, for one test at a time.
struct Recorder {
    snapshotter: Snapshotter,
    /// The recorder starts anew at each snapshot, what counts doesn't.
    counted: Mutex<Seen>,
    /// All seconds of each histogram in the last snapshot.
    seconds: Mutex<Seen>,
    _alone: MutexGuard<'static, ()>,
}

impl Recorder {
    async fn start() -> Self {
        static SNAPSHOTTER: OnceLock<Snapshotter> = OnceLock::new();
        let alone = crate::ALONE.lock().await;
        let snapshotter = SNAPSHOTTER.get_or_init(|| {
            let recorder = DebuggingRecorder::new();
            let snapshotter = recorder.snapshotter();
            recorder.install().unwrap();
            snapshotter
        });
        let (counted, seconds) = Default::default();
        let this = Self { snapshotter: snapshotter.clone(), counted, seconds, _alone: alone };
        this.take();
        // What a test before left in the recorder.
        this.counted.lock().unwrap().clear();
        this
    }

    fn take(&self) -> Seen {
        self.seconds.lock().unwrap().clear();
        let seen = self.snapshotter.snapshot().into_vec().into_iter();
        let seen = seen.map(|(key, unit, description, value)| {
            let (kind, key) = key.into_parts();
            let name = key.name();
            assert!(description.is_some_and(|text| text.ends_with('.')), "{name} is not described");
            let counts_nothing = ["kms_breaker_state", "kms_backend_health"].contains(&name);
            assert_eq!(unit.is_none(), counts_nothing, "{name} has another unit");
            assert_eq!(kind == MetricKind::Counter, name.ends_with("_total"), "{name}");
            let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
            let labels = labels.collect::<Vec<_>>().join(",");
            let full = format!("{name}{{{labels}}}");
            let value = match value {
                DebugValue::Counter(count) => f64::from(u32::try_from(count).unwrap()),
                DebugValue::Gauge(value) => value.0,
                DebugValue::Histogram(values) => {
                    assert!(values.iter().all(|seconds| (0.0..60.0).contains(&seconds.0)));
                    let sum = values.iter().map(|seconds| seconds.0).sum();
                    self.seconds.lock().unwrap().insert(full.clone(), sum);
                    f64::from(u32::try_from(values.len()).unwrap())
                }
            };
            if ["kms_keys", "kms_queue_depth", "kms_backend_requests"].contains(&name) {
                let mut counted = self.counted.lock().unwrap();
                let counted = counted.entry(full.clone()).or_default();
                *counted += value;
                return (full, *counted);
            }
            (full, value)
        });
        seen.filter(|(_, value)| *value != 0.0).collect()
    }

    /// The same once all of these counters have counted: who has gone is not waited for with that.
    async fn until_counted(&self, counters: &[String]) -> Seen {
        let mut all = self.take();
        within(async {
            while !counters.iter().all(|counter| all.contains_key(counter)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let (before, now) = (std::mem::take(&mut all), self.take());
                all.extend(before.into_iter().filter(|(name, _)| name.contains("_total{")));
                for (name, value) in now {
                    *all.entry(name).or_default() += value;
                }
            }
        })
        .await;
        all
    }
}

#[track_caller]
fn assert_seen(seen: &Seen, expected: &[(&str, f64)]) {
    let expected = expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    assert_eq!(*seen, expected, "{seen:#?}");
}

fn request(operation: &str, key_type: &str, caller: &str, outcome: &str) -> String {
    format!(
        "kms_requests_total{{operation={operation},key_type={key_type},caller={caller},\
         outcome={outcome}}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_counted_as_it_was() {
    let recorder = Recorder::start().await;
    let script = Script::default();
    script.remote(&id("far"));
    let keys = json!([
        { "id": "ed", "type": "ed25519" },
        { "id": "ec", "type": "secp256k1", "callers": ["Proposer"] },
        { "id": "bls", "type": "bls12-381" },
        { "id": "far", "type": "ed25519" }
    ]);
    let node = TestNode::started_with(keys, json!({ "message_bytes": 64 }), &script).await;
    let (identity, proposer) = (node.api().await, node.proposer().await);
    assert_seen(&recorder.take(), &[("kms_keys{state=active}", 4.0)]);

    for _ in 0..3 {
        identity.sign(&id("ed"), "m").await.unwrap();
    }
    proposer.sign(&id("ec"), "m").await.unwrap();
    identity.sign(&id("ec"), "m").await.unwrap_err();
    identity.sign(&id("ed"), [0; 65]).await.unwrap_err();
    identity.sign(&id("far"), "m").await.unwrap();
    identity.sign(&id("nobody"), "m").await.unwrap_err();
    identity.sign_many(&id("bls"), None, vec![vec![1]; 5]).await.unwrap().pop().unwrap().unwrap();
    identity.sign_aggregate(&ids(["bls"]), "m").await.unwrap();
    identity.execute(&id("ed"), REFUSES, "").await.unwrap_err();
    identity.execute(&id("ed"), "unheard-of", "").await.unwrap_err();
    identity.key_info(&id("bls")).await.unwrap();
    identity.health().await.unwrap();
    identity.register(KeyRequest::new("ed", KeyType::Ed25519)).await.unwrap();
    identity.disable(&id("ed")).await.unwrap();
    identity.sign(&id("ed"), "m").await.unwrap_err();
    identity.schedule_delete(&id("bls"), Duration::from_secs(60)).await.unwrap();
    identity.rotate(&id("far")).await.unwrap();

    let mut expected = Seen::new();
    for (operation, key_type, caller, outcome, count) in [
        ("sign", "ed25519", "Identity", "ok", 4),
        ("sign", "ed25519", "Identity", "too_large", 1),
        ("sign", "ed25519", "Identity", "disabled", 1),
        ("sign", "secp256k1", "Proposer", "ok", 1),
        ("sign", "secp256k1", "Identity", "caller_not_allowed", 1),
        ("sign", "none", "Identity", "not_found", 1),
        ("sign_many", "bls12-381", "Identity", "ok", 1),
        ("sign_aggregate", "bls12-381", "Identity", "ok", 1),
        ("execute", "ed25519", "Identity", "operator", 1),
        ("execute", "ed25519", "Identity", "unknown_operator", 1),
        ("key_info", "bls12-381", "Identity", "ok", 1),
        ("health", "none", "Identity", "ok", 1),
        ("register", "ed25519", "Identity", "ok", 1),
        ("disable", "ed25519", "Identity", "ok", 1),
        ("schedule_delete", "bls12-381", "Identity", "ok", 1),
        ("rotate", "ed25519", "Identity", "ok", 1),
    ] {
        expected.insert(request(operation, key_type, caller, outcome), f64::from(count));
    }
    for (operation, key_type, count) in [
        ("sign", "ed25519", 4),
        ("sign", "secp256k1", 1),
        ("sign_many", "bls12-381", 1),
        ("sign_aggregate", "bls12-381", 1),
        ("execute", "ed25519", 1),
    ] {
        // The one that is signed elsewhere opens nothing here.
        let opened = if (operation, key_type) == ("sign", "ed25519") { count - 1 } else { count };
        for (name, count) in [
            ("kms_queue_seconds", count),
            ("kms_open_seconds", opened),
            ("kms_sign_seconds", count),
        ] {
            let name = format!("{name}{{operation={operation},key_type={key_type}}}");
            expected.insert(name, f64::from(count));
        }
    }
    // The recorder takes gauges back to zero when they are asked for.
    for (state, count) in [("active", 2), ("disabled", 1), ("pending_deletion", 1)] {
        expected.insert(format!("kms_keys{{state={state}}}"), f64::from(count));
    }
    assert_eq!(recorder.take(), expected);

    node.stop().await;
    assert_seen(&recorder.take(), &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_refused_and_caught_is_counted() {
    let recorder = Recorder::start().await;
    let script = Script::default();
    let keys = json!([{ "id": "good", "type": "ed25519" }, { "id": "slow", "type": "ed25519" }]);
    let limits = json!({ "queue": 2, "threads": { "cheap": 1 } });
    let node = TestNode::started_with(keys, limits, &script).await;
    let api = node.api().await;
    recorder.take();

    let slow = Act::Sign(id("slow"));
    script.when(slow.clone(), Does::Stuck);
    let running = sent(api.sign(&id("slow"), "m")).await;
    script.seen(slow, 1).await;
    let given_up = sent(api.sign(&id("good"), "m")).await;
    let late = sent(api.sign(&id("good"), "m").deadline(Duration::from_secs(1))).await;
    assert_refused!(api.sign(&id("good"), "m").await, KmsError::Overloaded { .. });
    let seen = recorder.take();
    assert_eq!(seen["kms_queue_depth{lane=cheap}"], 2.0);
    assert_eq!(seen["kms_overloaded_total{}"], 1.0);
    assert_eq!(seen[&request("sign", "ed25519", "Identity", "overloaded")], 1.0);

    drop(given_up);
    assert_refused!(late.await, KmsError::DeadlineExceeded);
    script.all_right();
    running.await.unwrap();
    // Until both were dropped, there is no room.
    while api.health().await.unwrap().counters.expired == 0 {}
    works(&api).await;
    let signed = |outcome| request("sign", "ed25519", "Identity", outcome);
    let gone = ["abandoned", "deadline_exceeded"].map(signed);
    let seen = recorder.until_counted(&gone).await;
    assert_eq!(seen["kms_dropped_total{reason=abandoned}"], 1.0);
    assert_eq!(seen["kms_dropped_total{reason=expired}"], 1.0);
    for (outcome, count) in [("abandoned", 1.0), ("deadline_exceeded", 1.0), ("ok", 2.0)] {
        assert_eq!(seen[&signed(outcome)], count, "{outcome}");
    }
    assert!(!seen.contains_key("kms_queue_depth{lane=cheap}"), "{seen:#?}");

    script.when(Act::Sign(id("good")), Does::Panic);
    api.sign(&id("good"), "m").await.unwrap_err();
    let seen = recorder.take();
    assert_eq!(seen["kms_panics_total{}"], 1.0);
    assert_eq!(seen[&request("sign", "ed25519", "Identity", "internal")], 1.0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_shows_how_it_is() {
    let recorder = Recorder::start().await;
    let script = Script::default();
    script.when(Act::Health, Does::Fail(|| BackendError::Unavailable(Failure::new("scripted"))));
    let node = TestNode::started_with(json!([]), json!({}), &script).await;
    let health = "kms_backend_health{backend=fake}";
    let mut seen = recorder.take();
    while !seen.contains_key(health) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        seen = recorder.take();
    }
    assert_eq!(seen[health], 1.0, "degraded");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_at_a_remote_backend_is_counted_and_has_not_begun() {
    let recorder = Recorder::start().await;
    let script = Script::default();
    let far = id("far");
    script.remote(&far);
    let keys = json!([{ "id": "far", "type": "ed25519" }]);
    let node = TestNode::started_with(keys, json!({}), &script).await;
    let api = node.api().await;

    let signing = Act::Sign(far.clone());
    script.when(signing.clone(), Does::Stuck);
    let asked = Instant::now();
    let waiting = sent(api.sign(&far, "m")).await;
    let given_up = sent(api.sign(&far, "m")).await;
    script.seen(signing, 2).await;
    assert_eq!(recorder.take()["kms_backend_requests{backend=fake}"], 2.0);
    drop(given_up);
    let gone = [request("sign", "ed25519", "Identity", "abandoned")];
    let seen = recorder.until_counted(&gone).await;
    assert_eq!(seen["kms_backend_requests{backend=fake}"], 1.0);
    let moment = Duration::from_millis(200);
    tokio::time::sleep(moment).await;
    script.all_right();
    waiting.await.unwrap();
    let took = asked.elapsed().as_secs_f64();
    assert!(!recorder.take().contains_key("kms_backend_requests{backend=fake}"));
    let seconds = recorder.seconds.lock().unwrap().clone();
    let of = |name| seconds[&format!("{name}{{operation=sign,key_type=ed25519}}")];
    assert!(of("kms_queue_seconds") >= moment.as_secs_f64(), "{seconds:?}");
    // No time is in both.
    let both = of("kms_queue_seconds") + of("kms_sign_seconds");
    assert!(both <= took, "{took}: {seconds:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_shows_what_it_is() {
    let recorder = Recorder::start().await;
    let script = Script::default();
    let far = id("far");
    script.remote(&far);
    let keys = json!([{ "id": "far", "type": "ed25519" }]);
    let node = TestNode::started_with(keys, json!({}), &script).await;
    let api = node.api().await;
    recorder.take();
    let breaker = "kms_breaker_state{backend=fake}";

    let signing = Act::Sign(far.clone());
    script
        .when(signing.clone(), Does::Fail(|| BackendError::Unavailable(Failure::new("scripted"))));
    for _ in 0..5 {
        api.sign(&far, "m").await.unwrap_err();
    }
    let seen = recorder.take();
    assert_eq!(seen[breaker], 2.0, "{seen:#?}");
    assert_eq!(seen[&request("sign", "ed25519", "Identity", "backend")], 5.0);

    let asked = script.count(&signing);
    script.when(signing.clone(), Does::Stuck);
    // Until it may be asked again.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let health = api.health().await.unwrap();
    assert_eq!(health.backends["fake"].level, HealthLevel::Degraded, "{health:?}");
    assert_eq!(recorder.take()[breaker], 1.0, "half-open before anybody has asked");
    let probe = sent(api.sign(&far, "m")).await;
    script.seen(signing, asked + 1).await;
    assert_eq!(recorder.take()[breaker], 1.0);
    script.all_right();
    probe.await.unwrap();
    assert!(!recorder.take().contains_key(breaker), "it is not closed");
    node.stop().await;
}
