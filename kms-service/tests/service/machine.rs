//! The service against a model of it: any sequence of requests, by two callers, over a few keys, gets
//! the answers that the model gives.

use std::collections::BTreeMap;
use std::time::Duration;

use kms_backend::KeyState;
use kms_keys::KeyType;
use kms_service::{KeyRequest, KmsApi, KmsError};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::support::*;

/// Keys that requests are about: two that are declared, the second for `Proposer` alone, and two that
/// come into being when they are registered.
const IDS: [&str; 4] = ["declared", "private", "new/1", "new/2"];
const TYPES: [KeyType; 2] = [KeyType::Ed25519, KeyType::Secp256k1];

#[derive(Clone, Debug)]
struct Step {
    proposer: bool,
    key: usize,
    request: Request,
}

#[derive(Clone, Debug)]
enum Request {
    Register(usize),
    Sign { version: Option<u32> },
    Rotate,
    Disable,
    Enable,
    ScheduleDelete,
    CancelDelete,
    Restart,
}

/// What the model knows of a registered key.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    key_type: KeyType,
    version: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Active,
    Disabled,
    Pending,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Info(Known),
    /// Signed by this version.
    Signed(u32),
    NotFound,
    TypeMismatch,
    CallerNotAllowed,
    Disabled,
    PendingDeletion,
    Done,
}

#[derive(Default)]
struct Model {
    known: BTreeMap<usize, Known>,
    /// What the backend has kept of every key that was ever registered.
    stored: BTreeMap<usize, (u32, State)>,
}

impl Model {
    fn register(&mut self, key: usize, key_type: KeyType) -> Known {
        let (version, state) = *self.stored.entry(key).or_insert((1, State::Active));
        let known = Known { key_type, version, state };
        self.known.insert(key, known.clone());
        known
    }

    fn start(&mut self) {
        self.known.clear();
        self.register(0, KeyType::Ed25519);
        self.register(1, KeyType::Ed25519);
    }

    fn step(&mut self, Step { proposer, key, request }: &Step) -> Answer {
        if let Request::Restart = request {
            self.start();
            return Answer::Done;
        }
        let Some(known) = self.known.get(key).cloned() else {
            return match request {
                Request::Register(key_type) => Answer::Info(self.register(*key, TYPES[*key_type])),
                _ => Answer::NotFound,
            };
        };
        if *key == 1 && !proposer {
            return Answer::CallerNotAllowed;
        }
        let state = match request {
            Request::Register(key_type) if TYPES[*key_type] != known.key_type => {
                return Answer::TypeMismatch;
            }
            Request::Register(_) => return Answer::Info(known),
            Request::Sign { version } => {
                return match known.state {
                    State::Disabled => Answer::Disabled,
                    State::Pending => Answer::PendingDeletion,
                    State::Active if version.is_some_and(|v| v != known.version) => {
                        Answer::NotFound
                    }
                    State::Active => Answer::Signed(known.version),
                };
            }
            Request::Rotate => known.state,
            Request::Disable => State::Disabled,
            Request::Enable | Request::CancelDelete => State::Active,
            Request::ScheduleDelete => State::Pending,
            Request::Restart => unreachable!("answered above"),
        };
        let version = known.version + u32::from(matches!(request, Request::Rotate));
        self.stored.insert(*key, (version, state));
        Answer::Info(self.register(*key, known.key_type))
    }
}

/// The same step with the real service.
async fn step(node: &TestNode, step: &Step) -> Answer {
    let api = if step.proposer { node.proposer().await } else { node.api().await };
    let key = id(IDS[step.key]);
    let info = match &step.request {
        Request::Restart => {
            node.stop().await;
            node.start().await.unwrap();
            return Answer::Done;
        }
        Request::Sign { version } => return sign(&api, &key, *version).await,
        Request::Register(key_type) => {
            let request = KeyRequest::new(key.as_str(), TYPES[*key_type]);
            api.register(request).await.map(|key| key.info().clone())
        }
        Request::Rotate => api.rotate(&key).await,
        Request::Disable => api.disable(&key).await,
        Request::Enable => api.enable(&key).await,
        Request::ScheduleDelete => api.schedule_delete(&key, Duration::from_secs(1)).await,
        Request::CancelDelete => api.cancel_delete(&key).await,
    };
    match info {
        Ok(info) => {
            assert_eq!(info, api.key_info(&key).await.unwrap());
            assert_eq!(info.public_key, key_of(&key, info.key_type, info.version).public_key());
            let state = match info.state {
                KeyState::Active => State::Active,
                KeyState::Disabled => State::Disabled,
                KeyState::PendingDeletion { .. } => State::Pending,
                other => panic!("{other}"),
            };
            Answer::Info(Known { key_type: info.key_type, version: info.version, state })
        }
        Err(error) => refusal(&error),
    }
}

async fn sign(api: &KmsApi, key: &kms_keys::KeyId, version: Option<u32>) -> Answer {
    let mut request = api.sign(key, "m");
    if let Some(version) = version {
        request = request.version(version);
    }
    match request.await {
        Ok(signature) => {
            let info = api.key_info(key).await.unwrap();
            let scheme = info.key_type.default_scheme();
            info.public_key.verify(scheme, b"m", &signature).unwrap();
            Answer::Signed(info.version)
        }
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &KmsError) -> Answer {
    match error {
        KmsError::NotFound { .. } => Answer::NotFound,
        KmsError::TypeMismatch { .. } => Answer::TypeMismatch,
        KmsError::CallerNotAllowed { .. } => Answer::CallerNotAllowed,
        KmsError::Disabled { .. } => Answer::Disabled,
        KmsError::PendingDeletion { .. } => Answer::PendingDeletion,
        other => panic!("{other:?}"),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let version = prop_oneof![Just(None), (0_u32..4).prop_map(Some)];
    let request = prop_oneof![
        4 => (0..TYPES.len()).prop_map(Request::Register),
        6 => version.prop_map(|version| Request::Sign { version }),
        2 => Just(Request::Rotate),
        1 => Just(Request::Disable),
        2 => Just(Request::Enable),
        1 => Just(Request::ScheduleDelete),
        1 => Just(Request::CancelDelete),
        1 => Just(Request::Restart),
    ];
    let step = (any::<bool>(), 0..IDS.len(), request);
    let step = step.prop_map(|(proposer, key, request)| Step { proposer, key, request });
    prop::collection::vec(step, 1..60)
}

#[test]
fn the_service_answers_as_its_model_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(async {
                let keys = json!([
                    { "id": IDS[0], "type": "ed25519" },
                    { "id": IDS[1], "type": "ed25519", "callers": ["Proposer"] }
                ]);
                let node = TestNode::started(keys).await;
                let mut model = Model::default();
                model.start();
                for (number, wanted) in steps.iter().enumerate() {
                    let (expected, found) = (model.step(wanted), step(&node, wanted).await);
                    prop_assert_eq!(found, expected, "step {}: {:?}", number, wanted);
                }
                let health = node.api().await.health().await.unwrap();
                prop_assert_eq!(health.keys, model.known.len());
                node.stop().await;
                Ok(())
            })
        })
        .unwrap();
}
