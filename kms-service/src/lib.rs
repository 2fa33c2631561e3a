//! The key management service: one actor that owns every key of a node. The rest of the node holds
//! key ids.
//!
//! Other services ask it over a relay, through [`KmsApi`]: register a key, give a public key, sign.
//! Where keys live is decided by [backends](kms_backend); what may be done with a secret besides
//! signing, by [operators](Operators) that are named where the node is put together.
//!
//! The path of a request, in file names: `api` makes a `message`, which crosses the relay to the
//! `service` loop; the loop's `engine` asks the `registry` what is allowed, and `sign` hands the work
//! to a `lane` (local signing) or to `remote` (a signer elsewhere). What changes keys takes `turns`. The
//! answer goes straight back through the message's `reply`, where it is counted.
//!
//! What happens is told by `tracing` (a span for each request, with the caller's as its parent) and by
//! the `metrics` facade; every metric stands in `metrics.rs`. A recorder must be installed for the
//! whole process before the service starts.

mod aggregate;
mod api;
mod batch;
mod breaker;
mod check;
mod counters;
mod engine;
mod error;
mod fair;
mod farewell;
mod gate;
mod gathering;
mod handle;
mod health;
mod job;
mod lane;
mod lifecycle;
mod limits;
mod list;
mod message;
mod metrics;
mod operators;
mod outbox;
mod places;
mod registry;
mod remote;
mod remote_batch;
mod reply;
mod request;
mod section;
mod serial;
mod service;
mod settings;
mod sign;
mod startup;
mod sync;
mod turns;
mod worker;

pub use api::{AggregateSignature, DEFAULT_DEADLINE, KmsApi};
pub use breaker::BreakerState;
pub use counters::Counters;
pub use error::KmsError;
pub use handle::KeyHandle;
pub use health::HealthReport;
pub use kms_keys::{Operator, OperatorError, SecretRef};
pub use limits::{Limits, Threads};
pub use list::KeyFilter;
pub use message::{Caller, KmsMessage};
pub use operators::{NoOperators, Operators, ShippedOperators};
pub use request::{KeyRequest, SignRequest};
pub use section::{DerivationSection, KeySection, KmsSection};
pub use service::KmsService;
pub use settings::{DeclaredKey, KmsSettings, SettingsError, SettingsProblem};
pub use startup::{StartupError, StartupFailure};
