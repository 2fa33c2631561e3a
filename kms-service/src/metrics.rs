//! What can be measured: every metric of the service, by name, with its unit and labels.
//!
//! They go through the `metrics` facade. A recorder is installed by whoever puts the node together,
//! before the service starts; without one, all of this does nothing. Labels are texts of closed sets –
//! the callers are the services of the node – and none is the id of a key.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use kms_backend::KeyState;
use kms_keys::KeyType;
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge, describe_histogram};

use crate::{Caller, KmsError};

/// Requests; by `operation`, `key_type`, `caller` and `outcome`.
const REQUESTS: &str = "kms_requests_total";
/// Seconds from the sending of a request to the beginning of its work; by `operation` and `key_type`.
const QUEUE: &str = "kms_queue_seconds";
/// Seconds of the work in which shielded secrets were opened; by `operation` and `key_type`.
const OPEN: &str = "kms_open_seconds";
/// Seconds that the rest of the work took; by `operation` and `key_type`.
const SIGN: &str = "kms_sign_seconds";
/// Jobs that wait; by `lane`: `cheap` or `costly`.
const QUEUE_DEPTH: &str = "kms_queue_depth";
/// Requests under way at a remote backend, or waiting for their turn there; by `backend`.
const AT_BACKEND: &str = "kms_backend_requests";
/// Panics that were caught.
const PANICS: &str = "kms_panics_total";
/// Requests that were dropped unsigned; by `reason`: `abandoned` or `expired`.
const DROPPED: &str = "kms_dropped_total";
/// Requests that were refused for want of room.
const OVERLOADED: &str = "kms_overloaded_total";
/// What the breaker before a backend is: 0 closed, 1 half-open, 2 open; by `backend`.
const BREAKER: &str = "kms_breaker_state";
/// How a backend says that it is: 0 ok, 1 degraded, 2 failed, 3 fatal; by `backend`.
const HEALTH: &str = "kms_backend_health";
/// Keys that are registered; by `state`: `active`, `disabled` or `pending_deletion`.
const KEYS: &str = "kms_keys";

/// The outcome of a request whose caller has gone.
pub(crate) const ABANDONED: &str = "abandoned";

/// The outcome of a request whose deadline has passed.
pub(crate) const DEADLINE_EXCEEDED: &str = "deadline_exceeded";

/// The `key_type` of what is about no key, or about none that there is.
const NO_KEY_TYPE: &str = "none";

/// Tells the recorder what each metric is.
pub(crate) fn describe() {
    describe_counter!(REQUESTS, Unit::Count, "Requests that the service has answered or dropped.");
    describe_histogram!(
        QUEUE,
        Unit::Seconds,
        "From the sending of a request to the beginning of its work, for what uses a secret."
    );
    describe_histogram!(
        OPEN,
        Unit::Seconds,
        "How long opening the shielded secret took, where there is one in this process."
    );
    describe_histogram!(
        SIGN,
        Unit::Seconds,
        "How long the signer or operator took, without opening the shielded secret."
    );
    describe_gauge!(QUEUE_DEPTH, Unit::Count, "Jobs that wait in a lane for a thread.");
    describe_gauge!(
        AT_BACKEND,
        Unit::Count,
        "Requests under way at a remote backend, or waiting for their turn there."
    );
    describe_counter!(PANICS, Unit::Count, "Panics caught in signers, operators and backends.");
    describe_counter!(
        DROPPED,
        Unit::Count,
        "Requests dropped because their caller had gone or their deadline had passed."
    );
    describe_counter!(OVERLOADED, Unit::Count, "Requests refused because a queue was full.");
    describe_gauge!(
        BREAKER,
        "The breaker before a backend: 0 closed, 1 half-open, 2 open. It stands before signing \
         elsewhere; of a backend that signs in this process it stays closed."
    );
    describe_gauge!(
        HEALTH,
        "How a backend said last that it is: 0 ok, 1 degraded, 2 failed, 3 fatal. Asked every 10 s."
    );
    describe_gauge!(KEYS, Unit::Count, "Registered keys.");
}

/// How many jobs wait in this lane.
pub(crate) fn queue_depth(lane: &'static str) -> Gauge {
    gauge!(QUEUE_DEPTH, "lane" => lane)
}

/// How many requests there are at the remote backend called `backend`.
pub(crate) fn at_backend(backend: &str) -> Gauge {
    gauge!(AT_BACKEND, "backend" => backend.to_owned())
}

/// The panics that were caught.
pub(crate) fn panics() -> Counter {
    counter!(PANICS)
}

/// What was dropped unsigned for this reason.
pub(crate) fn dropped(reason: &'static str) -> Counter {
    counter!(DROPPED, "reason" => reason)
}

/// What was refused for want of room.
pub(crate) fn overloaded() -> Counter {
    counter!(OVERLOADED)
}

/// What the breaker before the backend called `backend` is.
pub(crate) fn breaker(backend: &str) -> Gauge {
    gauge!(BREAKER, "backend" => backend.to_owned())
}

/// How the backend called `backend` is.
pub(crate) fn backend_health(backend: &str) -> Gauge {
    gauge!(HEALTH, "backend" => backend.to_owned())
}

/// How a request ended, as a label.
pub(crate) fn outcome<T>(answer: &Result<T, KmsError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(error) => match error {
            KmsError::Stopped => "stopped",
            KmsError::Overloaded { .. } => "overloaded",
            KmsError::DeadlineExceeded => DEADLINE_EXCEEDED,
            KmsError::TooLarge { .. } => "too_large",
            KmsError::AnswerLost => "answer_lost",
            KmsError::NotFound { .. } => "not_found",
            KmsError::TypeMismatch { .. } => "type_mismatch",
            KmsError::SchemeNotAllowed { .. } => "scheme_not_allowed",
            KmsError::CallerNotAllowed { .. } => "caller_not_allowed",
            KmsError::Disabled { .. } => "disabled",
            KmsError::PendingDeletion { .. } => "pending_deletion",
            KmsError::Unsupported { .. } => "unsupported",
            KmsError::UnknownOperator { .. } => "unknown_operator",
            KmsError::Operator(_) => "operator",
            KmsError::InvalidInput { .. } => "invalid_input",
            KmsError::InvalidKeyId(_) => "invalid_key_id",
            KmsError::Backend(_) => "backend",
            KmsError::Internal => "internal",
        },
    }
}

/// The meters of a service, made when they are first asked for: a request of a kind that was there
/// before costs a look-up and no text.
#[derive(Default)]
pub(crate) struct Meters(HashMap<(Caller, &'static str, Option<KeyType>), Arc<Meter>>);

impl Meters {
    pub(crate) fn of(
        &mut self,
        caller: &Caller,
        operation: &'static str,
        key_type: Option<KeyType>,
    ) -> Arc<Meter> {
        let meter = self.0.entry((caller.clone(), operation, key_type));
        Arc::clone(meter.or_insert_with(|| Arc::new(Meter::new(caller, operation, key_type))))
    }
}

/// Measures the requests of one caller for one operation with keys of one type.
pub(crate) struct Meter {
    operation: &'static str,
    key_type: &'static str,
    caller: Caller,
    ok: Counter,
    /// By outcome.
    others: Mutex<BTreeMap<&'static str, Counter>>,
    // Only what uses a secret has these.
    queue: OnceLock<Histogram>,
    open: OnceLock<Histogram>,
    sign: OnceLock<Histogram>,
}

impl Meter {
    fn new(caller: &Caller, operation: &'static str, key_type: Option<KeyType>) -> Self {
        let key_type = key_type.map_or(NO_KEY_TYPE, KeyType::as_str);
        Self {
            operation,
            key_type,
            caller: caller.clone(),
            ok: requests(operation, key_type, caller, "ok"),
            others: Mutex::default(),
            queue: OnceLock::new(),
            open: OnceLock::new(),
            sign: OnceLock::new(),
        }
    }

    pub(crate) fn answered(&self, outcome: &'static str) {
        if outcome == "ok" {
            return self.ok.increment(1);
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let Self { operation, key_type, caller, .. } = self;
        let counter = || requests(operation, key_type, caller, outcome);
        others.entry(outcome).or_insert_with(counter).increment(1);
    }

    pub(crate) fn queued(&self, time: Duration) {
        self.record(&self.queue, QUEUE, time);
    }

    /// The work took `time`, and `opening` of it was spent on opening secrets.
    pub(crate) fn signed(&self, time: Duration, opening: Duration) {
        if !opening.is_zero() {
            self.record(&self.open, OPEN, opening);
        }
        self.record(&self.sign, SIGN, time.saturating_sub(opening));
    }

    fn record(&self, cell: &OnceLock<Histogram>, name: &'static str, time: Duration) {
        let (operation, key_type) = (self.operation, self.key_type);
        let histogram = || histogram!(name, "operation" => operation, "key_type" => key_type);
        cell.get_or_init(histogram).record(time);
    }
}

fn requests(
    operation: &'static str,
    key_type: &'static str,
    caller: &Caller,
    outcome: &'static str,
) -> Counter {
    counter!(
        REQUESTS,
        "operation" => operation,
        "key_type" => key_type,
        "caller" => caller.as_str().to_owned(),
        "outcome" => outcome
    )
}

/// How many keys there are in each state; none once this is dropped.
pub(crate) struct KeyCount([(i32, Gauge); 3]);

impl Default for KeyCount {
    fn default() -> Self {
        Self(["active", "disabled", "pending_deletion"].map(|state| {
            let gauge = gauge!(KEYS, "state" => state);
            // Shown from the beginning. Several nodes may share a recorder: each adds what is its own.
            gauge.increment(0);
            (0, gauge)
        }))
    }
}

impl KeyCount {
    /// A key has gone from one state to another; `None` if it was not, or will not be, there.
    pub(crate) fn moved(&mut self, from: Option<KeyState>, to: Option<KeyState>) {
        for (state, change) in [(from, -1_i32), (to, 1)] {
            if let Some(state) = state {
                let (count, gauge) = self.of(state);
                *count += change;
                gauge.increment(change);
            }
        }
    }

    fn of(&mut self, state: KeyState) -> &mut (i32, Gauge) {
        let [active, disabled, pending] = &mut self.0;
        match state {
            KeyState::Active => active,
            KeyState::PendingDeletion { .. } => pending,
            _ => disabled,
        }
    }
}

impl Drop for KeyCount {
    fn drop(&mut self) {
        self.0.iter().for_each(|(count, gauge)| gauge.decrement(*count));
    }
}

/// A count as a gauge takes it.
pub(crate) fn as_f64(count: usize) -> f64 {
    // No queue and no registry is longer.
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
