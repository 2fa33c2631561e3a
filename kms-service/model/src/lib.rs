//! The service's own source – the very files, not copies – under shuttle, a scheduler that runs all
//! threads on one and decides at each lock, wait and atomic who goes on: thousands of orders of events
//! in a few seconds, and the order that failed can be run again.
//!
//! What it puts below the source is `sync`. The tests in `tests/` say what must hold in every order.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "the service's source is here for its engine; who else calls it is not"
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

#[path = "../../src/aggregate.rs"]
mod aggregate;
#[path = "../../src/api.rs"]
mod api;
#[path = "../../src/batch.rs"]
mod batch;
#[path = "../../src/breaker.rs"]
mod breaker;
#[path = "../../src/counters.rs"]
mod counters;
#[path = "../../src/engine.rs"]
mod engine;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/fair.rs"]
mod fair;
#[path = "../../src/farewell.rs"]
mod farewell;
#[path = "../../src/gate.rs"]
mod gate;
#[path = "../../src/gathering.rs"]
mod gathering;
#[path = "../../src/handle.rs"]
mod handle;
#[path = "../../src/health.rs"]
mod health;
#[path = "../../src/job.rs"]
mod job;
#[path = "../../src/lane.rs"]
mod lane;
#[path = "../../src/lifecycle.rs"]
mod lifecycle;
#[path = "../../src/limits.rs"]
mod limits;
#[path = "../../src/list.rs"]
mod list;
#[path = "../../src/message.rs"]
mod message;
#[path = "../../src/metrics.rs"]
mod metrics;
#[path = "../../src/operators.rs"]
mod operators;
#[path = "../../src/outbox.rs"]
mod outbox;
#[path = "../../src/places.rs"]
mod places;
#[path = "../../src/registry.rs"]
mod registry;
#[path = "../../src/remote.rs"]
mod remote;
#[path = "../../src/remote_batch.rs"]
mod remote_batch;
#[path = "../../src/reply.rs"]
mod reply;
#[path = "../../src/request.rs"]
mod request;
#[path = "../../src/serial.rs"]
mod serial;
#[path = "../../src/sign.rs"]
mod sign;
#[path = "../../src/turns.rs"]
mod turns;
#[path = "../../src/worker.rs"]
mod worker;

mod asked;
mod backend;
mod explore;
pub mod jobs;
mod orders;
mod service;
mod sync;

pub use api::{AggregateSignature, KmsApi};
pub use asked::Asked;
pub use breaker::BreakerState;
pub use counters::Counters;
pub use error::KmsError;
pub use explore::explore;
pub use handle::KeyHandle;
pub use health::HealthReport;
pub use kms_keys::{Operator, OperatorError, SecretRef};
pub use limits::{Limits, Threads};
pub use list::KeyFilter;
pub use message::{Caller, KmsMessage};
pub use operators::{NoOperators, Operators, ShippedOperators};
pub use orders::{GivenOut, gate_closes};
pub use request::{KeyRequest, SignRequest};
pub use service::{Closing, Service};
pub use sync::thread::{without_replacement, without_threads};
