//! A running node whose server goes away and comes back, or answers a byte at a time. How the server is asked
//! is as it is where the settings say nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use kms_backend::{BackendError, Health, HealthLevel};
use kms_keys::PublicKey;
use kms_peers::{Bao, Callers, Fault, Ministack, Proxy};
use kms_service::{KmsApi, KmsError};
use kms_tests::{Folder, SETTINGS, id, message, slots, verify, write_secret};
use node_example::attesters::Attesters;
use node_example::identity::Identity;
use node_example::node::Kms;
use node_example::running::RunningNode;

const CALLERS: usize = 64;

/// How long a test waits for what must come. No test is meant to wait so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Far longer than a request has, which are five seconds.
const ANSWERED: Duration = Duration::from_secs(30);

/// The default of `remote.timeout`, which every local signature is made well within.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Far more than a local signature takes, and far less than one try at a server that is away.
const LOCAL: Duration = Duration::from_millis(250);

/// So many local signatures tell.
const ENOUGH: usize = 100;

/// A node with the key `far/key` at the backend `far`, and all others in its own memory.
async fn start(folder: &Folder, far: &str) -> RunningNode {
    let key = "{ id: far/key, type: ed25519, backend: far, if_missing: generate }";
    let text = SETTINGS
        .replace("  keys:\n", &format!("    far: {far}\n  keys:\n    - {key}\n"))
        .replace("source: {", "backend: local, source: {")
        .replace("  limits: { deadline: 10m }\n", "");
    RunningNode::start(folder.settings_of(&text)).await.unwrap()
}

/// What came of the requests to the server.
#[derive(Default)]
struct Tally {
    asked: AtomicUsize,
    signed: AtomicUsize,
    refused: AtomicUsize,
}

/// A key at the server, and who asks for its signatures.
#[derive(Clone)]
struct Far {
    kms: KmsApi,
    public_key: PublicKey,
    tally: Arc<Tally>,
}

impl Far {
    async fn of(node: &RunningNode) -> Self {
        let kms = KmsApi::connect::<Kms, Identity>(node.handle()).await.unwrap();
        let public_key = kms.public_key(&id("far/key")).await.unwrap();
        Self { kms, public_key, tally: Arc::default() }
    }

    /// Asks once. The answer comes in time: a signature that verifies, or an error after which it makes sense
    /// to ask again.
    async fn signs(&self) -> bool {
        let number = self.tally.asked.fetch_add(1, Ordering::SeqCst);
        let far = id("far/key");
        let asked = async { self.kms.sign(&far, message(number)).await };
        match tokio::time::timeout(ANSWERED, asked).await.unwrap() {
            Ok(signature) => {
                verify(&self.public_key, &message(number), &signature);
                self.tally.signed.fetch_add(1, Ordering::SeqCst);
                true
            }
            Err(KmsError::Backend(BackendError::Unavailable(_)) | KmsError::DeadlineExceeded) => {
                self.tally.refused.fetch_add(1, Ordering::SeqCst);
                false
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    async fn signs_again(&self) {
        while !self.signs().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the backend is seen to be so.
    async fn is(&self, so: impl Fn(&Health) -> bool) {
        let begun = Instant::now();
        loop {
            let health = self.kms.health().await.unwrap().backends["far"].clone();
            if so(&health) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "not so: {health:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for so many signatures more.
    async fn signed(&self, more: usize) {
        let (begun, before) = (Instant::now(), self.tally.signed.load(Ordering::SeqCst));
        while self.tally.signed.load(Ordering::SeqCst) < before + more {
            assert!(begun.elapsed() < PATIENCE, "nothing is signed any more");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A caller of local keys, and how long its signatures took.
struct Local {
    callers: Callers,
    times: Arc<Mutex<Vec<Duration>>>,
}

impl Local {
    async fn start(node: &RunningNode) -> Self {
        let kms = KmsApi::connect::<Kms, Attesters>(node.handle()).await.unwrap();
        let keys = ["node/identity", "proposer/main", "attester/0"].map(id);
        let mut public_keys = Vec::new();
        for key in &keys {
            public_keys.push(kms.public_key(key).await.unwrap());
        }
        let times = Arc::new(Mutex::new(Vec::new()));
        let (own, keys) = (Arc::clone(&times), Arc::new((keys, public_keys)));
        let callers = Callers::start(3, move |caller| {
            let (kms, times, keys) = (kms.clone(), Arc::clone(&own), Arc::clone(&keys));
            async move {
                let begun = Instant::now();
                let signature = kms.sign(&keys.0[caller], "local").await.unwrap();
                times.lock().unwrap().push(begun.elapsed());
                verify(&keys.1[caller], b"local", &signature);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { callers, times }
    }

    /// How long those took that were made since the last time this was asked for: in the middle, and at most.
    async fn took(&self) -> (Duration, Duration) {
        let begun = Instant::now();
        while self.times.lock().unwrap().len() < ENOUGH {
            assert!(begun.elapsed() < PATIENCE, "no local signatures");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut times = std::mem::take(&mut *self.times.lock().unwrap());
        times.sort_unstable();
        (times[times.len() / 2], times[times.len() - 1])
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_server_that_is_killed_and_comes_back_while_64_sign_delays_no_local_key() {
    let mut bao = Bao::raft().await;
    bao.must(&["secrets", "enable", "transit"]);
    let folder = Folder::new(1);
    write_secret(&folder.path("token"), bao.root_token());
    let section = format!(
        "{{ type: vault, address: \"{}\", tls: {{ ca: {} }}, auth: {{ token: {{ file: token }} }} }}",
        bao.url(),
        bao.certificate().display()
    );
    let mut node = start(&folder, &section).await;
    let (far, local) = (Far::of(&node).await, Local::start(&node).await);
    let callers = {
        let far = far.clone();
        Callers::start(CALLERS, move |_| {
            let far = far.clone();
            async move { far.signs_again().await }
        })
    };
    far.signed(2 * CALLERS).await;
    let before = local.took().await;

    bao.kill();
    local.took().await;
    far.is(|health| health.reasons.concat().contains("left alone")).await;
    slots(&mut node, 3).await;
    let during = local.took().await;
    println!("local keys before: {before:?}, with the server away: {during:?}");
    assert!(during.0 < LOCAL && during.1 < TIMEOUT, "{during:?}, before: {before:?}");

    // Nobody does anything but the server.
    bao.start_again().await;
    far.signed(2 * CALLERS).await;
    far.is(|health| health.level == HealthLevel::Ok).await;
    callers.end().await;
    local.callers.end().await;
    let Tally { asked, signed, refused } = &*far.tally;
    let [asked, signed, refused] = [asked, signed, refused].map(|it| it.load(Ordering::SeqCst));
    assert_eq!(asked, signed + refused);
    assert!(refused >= CALLERS, "{refused}");
    assert!(far.signs().await);
    assert_eq!(far.kms.health().await.unwrap().counters.panics, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn signatures_that_drip_are_given_up_in_time_and_come_again() {
    let aws = Ministack::start().await;
    let proxy = Proxy::before(aws.address()).await;
    let folder = Folder::new(2);
    let credentials = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n";
    write_secret(&folder.path("credentials"), credentials);
    let section = format!(
        "{{ type: aws, region: us-east-1, endpoint_override: \"{}\", \
         credentials: {{ profile: {{ file: credentials, name: default }} }} }}",
        proxy.url()
    );
    let mut node = start(&folder, &section).await;
    let (far, local) = (Far::of(&node).await, Local::start(&node).await);
    // An answer has hundreds of bytes.
    let drip = Fault::Drip(Duration::from_millis(100));
    proxy.next_at("Sign", drip.clone(), 1);
    assert!(far.signs().await, "it was not asked for again");
    assert_eq!(proxy.count("Sign"), 2);

    local.took().await;
    proxy.next_at("Sign", drip, 100_000);
    let asked = join_all((0..8).map(|_| far.signs())).await;
    assert_eq!(asked, [false; 8]);
    // The first pause of those that leave it alone may be over.
    far.is(|health| health.reasons.concat().contains("it failed")).await;
    assert!(proxy.count("Sign") >= 2 + 8);
    slots(&mut node, 3).await;
    let during = local.took().await;
    assert!(during.0 < LOCAL && during.1 < TIMEOUT, "{during:?}");

    proxy.all_right();
    tokio::time::timeout(PATIENCE, far.signs_again()).await.unwrap();
    far.is(|health| health.level == HealthLevel::Ok).await;
    assert!(join_all((0..CALLERS).map(|_| far.signs())).await.into_iter().all(|signed| signed));
    local.callers.end().await;
    node.stop().await;
}
