//! Nothing that the service shows holds a secret or what is to be signed: no `Debug`, no error, and no
//! line of the log of a whole run at its most talkative.

use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex};

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use kms_backend::ErrorChain;
use kms_keys::KeyType;
use kms_service::{KeyRequest, KmsError};
use serde_json::json;
use tokio::runtime::{Handle, Runtime};
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::*;

/// What is to be signed; like nothing else that is printed.
pub const PAYLOAD: &[u8] = &[
    0xfa, 0x1e, 0x5e, 0xc3, 0xe7, 0x0d, 0xd1, 0xce, 0xba, 0x11, 0xca, 0x5e, 0xf0, 0x0d, 0xfe, 0xed,
    0xac, 0xed, 0xbe, 0xad, 0xde, 0xca, 0xde, 0xfa, 0xce, 0xdb, 0xea, 0xd5, 0xc0, 0xff, 0xee, 0x99,
];

/// So many bytes in a row count as a leak.
const WINDOW: usize = 6;

fn spellings(bytes: &[u8]) -> Vec<String> {
    let mut spellings = Vec::new();
    for window in bytes.windows(WINDOW) {
        spellings.push(base16ct::lower::encode_string(window));
        spellings.push(base16ct::upper::encode_string(window));
        let numbers: Vec<_> = window.iter().map(u8::to_string).collect();
        spellings.push(numbers.join(", "));
        spellings.push(numbers.join(","));
        let hex: Vec<_> = window.iter().map(|byte| format!("{byte:#04x}")).collect();
        spellings.push(hex.join(", "));
    }
    for text in [Base64::encode_string(bytes), Base64UrlUnpadded::encode_string(bytes)] {
        // Without what depends on the bytes around it.
        spellings.push(text[..8].to_owned());
        spellings.push(text[8..16].to_owned());
    }
    spellings.push(bs58::encode(bytes).into_string());
    spellings
}

fn hidden() -> Vec<Vec<u8>> {
    let secrets = KEYS.iter().flat_map(|key| [1, 2].map(|version| secret_of(&id(key), version)));
    secrets.map(Vec::from).chain([PAYLOAD.to_vec()]).collect()
}

#[track_caller]
pub fn silent(text: &str) {
    // A list that is printed with {:#?} has one number a line.
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for hidden in hidden() {
        for spelling in spellings(&hidden) {
            assert!(!text.contains(&spelling) && !joined.contains(&spelling), "{spelling}: {text}");
        }
    }
}

#[track_caller]
fn silent_debug(value: &impl Debug) {
    silent(&format!("{value:?}"));
    silent(&format!("{value:#?}"));
}

#[test]
#[should_panic(expected = "fa1e5ec3e70d")]
fn a_leak_would_be_found() {
    silent("sign(fa1e5ec3e70dd1ce)");
}

const KEYS: [&str; 4] = ["good", "bls", "far", "new"];

/// Everything once, with errors and panics.
async fn run(node: &TestNode) {
    node.start().await.unwrap();
    let api = node.api().await;
    silent_debug(&api);
    let key = api.register(KeyRequest::new("new", KeyType::Secp256k1)).await.unwrap();
    silent_debug(&key);
    silent_debug(&key.sign(PAYLOAD).await.unwrap());
    for name in ["good", "bls", "far"] {
        let key = id(name);
        let each = api.sign_many(&key, None, vec![PAYLOAD.to_vec(); 2]).await.unwrap();
        silent_debug(&each);
        for does in [Does::Panic, Does::Fail(Does::CLASSES[0])] {
            node.script.when(Act::Sign(key.clone()), does);
            refused(api.sign(&key, PAYLOAD).await);
        }
    }
    node.script.all_right();
    silent_debug(&api.sign_aggregate(&ids(["bls"]), PAYLOAD).await.unwrap());
    silent_debug(&api.execute(&id("good"), "x25519", PAYLOAD).await.unwrap());
    refused(api.execute(&id("good"), PANICS, PAYLOAD).await);
    refused(api.execute(&id("good"), REFUSES, PAYLOAD).await);
    refused(api.execute(&id("good"), OVERFLOWS, PAYLOAD).await);
    refused(api.execute(&id("good"), "none", PAYLOAD).await);
    refused(api.sign(&id("good"), PAYLOAD.repeat(2)).await);
    refused(api.sign(&id("none"), PAYLOAD).await);
    silent_debug(&api.rotate(&id("good")).await.unwrap());
    silent_debug(&api.disable(&id("good")).await.unwrap());
    refused(api.sign(&id("good"), PAYLOAD).await);
    silent_debug(&api.health().await.unwrap());
    node.script.when(Act::Sign(id("far")), Does::Stuck);
    let far = id("far");
    let stuck = sent(api.sign(&far, PAYLOAD)).await;
    node.script.seen(Act::Sign(far.clone()), 5).await;
    node.stop().await;
    refused(stuck.await);

    node.script.all_right();
    node.script.when(Act::Register(id("good")), Does::Lie(Lie::PublicKey));
    let refusal = node.start().await.unwrap_err();
    silent_debug(&refusal);
    silent(&ErrorChain(&refusal).to_string());
}

#[track_caller]
fn refused<T: Debug>(result: Result<T, KmsError>) {
    let error = result.unwrap_err();
    silent_debug(&error);
    silent(&ErrorChain(&error).to_string());
}

#[test]
fn neither_values_nor_the_log_of_a_run_show_what_is_hidden() {
    // Of a log that is alone, who comes to a line first decides whether anybody gets it: a thread of a test
    // beside this one, which has no log, would decide for all. Of two, both are asked.
    let _other = Dispatch::new(
        tracing_subscriber::fmt().with_max_level(LevelFilter::OFF).with_writer(io::sink).finish(),
    );
    let log = Log::default();
    let runtime = log.runtime();
    runtime.block_on(async {
        let script = Script::default();
        script.remote(&id("far"));
        let keys = json!([
            { "id": "good", "type": "ed25519" },
            { "id": "bls", "type": "bls12-381" },
            { "id": "far", "type": "ed25519" }
        ]);
        let limits = json!({ "message_bytes": 32 });
        let settings = settings(keys, limits, &script);
        silent_debug(&settings);
        let node = TestNode::run(settings, &script, Some(Handle::current()));
        tokio::spawn(async move { run(&node).await }).await.unwrap();
    });
    drop(runtime);
    let text = log.text();
    for line in ["operation=\"sign\"", "a signer or operator panicked", "can't start"] {
        assert!(text.contains(line), "this is no log of that run, it lacks {line}: {text}");
    }
    silent(&text);
}

/// A log of everything that happens in a runtime, and in no other: tests run side by side.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn runtime(&self) -> Runtime {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(self.clone())
            .finish();
        let dispatch = Dispatch::new(subscriber);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.enable_all().on_thread_start(move || {
            // For as long as the thread lives.
            std::mem::forget(tracing::dispatcher::set_default(&dispatch));
        });
        runtime.build().unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
