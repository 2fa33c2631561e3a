//! What crosses the relay: one request with its reply channel.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::{KeyInfo, KeyPage, PageRequest};
use kms_keys::{KeyId, KeyType, Signature, SigningScheme};
use kms_secrets::SecretBytes;
use tracing::Span;

use crate::metrics::Meter;
use crate::reply::Reply;
use crate::{AggregateSignature, HealthReport, KeyFilter, KmsError};
use kms_backend::IfMissing;

/// Who asks: the service's id in this node, as text. For limits and records; within one process it
/// is no security boundary, since any code could claim any name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller(Arc<str>);

impl Caller {
    pub(crate) fn new(name: String) -> Self {
        Self(name.into())
    }

    pub(crate) fn id(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The service's id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One request to the service, as [`KmsApi`](crate::KmsApi) makes it. Its `Debug` shows who asks for
/// what on which key, never a payload.
pub struct KmsMessage {
    pub(crate) caller: Caller,
    pub(crate) deadline: Instant,
    pub(crate) span: Span,
    pub(crate) request: Request,
}

pub(crate) enum Request {
    Register { id: KeyId, key_type: KeyType, if_missing: Option<IfMissing>, reply: Reply<KeyInfo> },
    KeyInfo { id: KeyId, reply: Reply<KeyInfo> },
    List { filter: KeyFilter, page: PageRequest, reply: Reply<KeyPage> },
    Sign(SignOrder, Reply<Signature>),
    SignMany(SignManyOrder, Reply<Vec<Result<Signature, KmsError>>>),
    SignAggregate { ids: Vec<KeyId>, message: Vec<u8>, reply: Reply<AggregateSignature> },
    Execute { id: KeyId, operator: String, input: Vec<u8>, reply: Reply<SecretBytes> },
    Change { id: KeyId, change: Change, reply: Reply<KeyInfo> },
    Health { reply: Reply<HealthReport> },
}

/// One message to be signed.
pub(crate) struct SignOrder {
    pub(crate) id: KeyId,
    pub(crate) scheme: Option<SigningScheme>,
    pub(crate) version: Option<u32>,
    pub(crate) message: Vec<u8>,
}

/// Many messages to be signed by one key.
pub(crate) struct SignManyOrder {
    pub(crate) id: KeyId,
    pub(crate) scheme: Option<SigningScheme>,
    pub(crate) messages: Vec<Vec<u8>>,
}

/// Something that changes a key that is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Rotate,
    Disable,
    Enable,
    ScheduleDelete { wait: Duration },
    CancelDelete,
}

impl Request {
    /// The operation's name, for spans and logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Register { .. } => "register",
            Self::KeyInfo { .. } => "key_info",
            Self::List { .. } => "list",
            Self::Sign(..) => "sign",
            Self::SignMany(..) => "sign_many",
            Self::SignAggregate { .. } => "sign_aggregate",
            Self::Execute { .. } => "execute",
            Self::Change { change, .. } => change.name(),
            Self::Health { .. } => "health",
        }
    }

    /// The keys it is about.
    pub(crate) fn keys(&self) -> &[KeyId] {
        match self {
            Self::Register { id, .. }
            | Self::KeyInfo { id, .. }
            | Self::Sign(SignOrder { id, .. }, _)
            | Self::SignMany(SignManyOrder { id, .. }, _)
            | Self::Execute { id, .. }
            | Self::Change { id, .. } => std::slice::from_ref(id),
            Self::SignAggregate { ids, .. } => ids,
            Self::List { .. } | Self::Health { .. } => &[],
        }
    }

    /// Has the request counted by `meter`.
    pub(crate) fn observe(&mut self, meter: Arc<Meter>) {
        match self {
            Self::Register { reply, .. }
            | Self::KeyInfo { reply, .. }
            | Self::Change { reply, .. } => reply.observe(meter),
            Self::List { reply, .. } => reply.observe(meter),
            Self::Sign(_, reply) => reply.observe(meter),
            Self::SignMany(_, reply) => reply.observe(meter),
            Self::SignAggregate { reply, .. } => reply.observe(meter),
            Self::Execute { reply, .. } => reply.observe(meter),
            Self::Health { reply } => reply.observe(meter),
        }
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Self::Register { reply, .. }
            | Self::KeyInfo { reply, .. }
            | Self::Change { reply, .. } => reply.is_closed(),
            Self::List { reply, .. } => reply.is_closed(),
            Self::Sign(_, reply) => reply.is_closed(),
            Self::SignMany(_, reply) => reply.is_closed(),
            Self::SignAggregate { reply, .. } => reply.is_closed(),
            Self::Execute { reply, .. } => reply.is_closed(),
            Self::Health { reply } => reply.is_closed(),
        }
    }

    /// Answers the request with an error, whatever it asked for.
    pub(crate) fn refuse(self, error: KmsError) {
        match self {
            Self::Register { reply, .. }
            | Self::KeyInfo { reply, .. }
            | Self::Change { reply, .. } => reply.send(Err(error)),
            Self::List { reply, .. } => reply.send(Err(error)),
            Self::Sign(_, reply) => reply.send(Err(error)),
            Self::SignMany(_, reply) => reply.send(Err(error)),
            Self::SignAggregate { reply, .. } => reply.send(Err(error)),
            Self::Execute { reply, .. } => reply.send(Err(error)),
            Self::Health { reply } => reply.send(Err(error)),
        }
    }
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Self::Rotate => "rotate",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::ScheduleDelete { .. } => "schedule_delete",
            Self::CancelDelete => "cancel_delete",
        }
    }
}

impl fmt::Debug for KmsMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsMessage")
            .field("caller", &self.caller)
            .field("operation", &self.request.name())
            .field("keys", &format_args!("[{}]", KeyIds(self.request.keys())))
            .finish_non_exhaustive()
    }
}

/// The ids of the keys that a request is about, as text; of very many, some.
pub(crate) struct KeyIds<'a>(pub(crate) &'a [KeyId]);

impl fmt::Display for KeyIds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        for (at, id) in self.0.iter().take(SHOWN).enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            f.write_str(id.as_str())?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_keys_some_are_shown() {
        let ids: Vec<_> =
            (0..20).map(|number| KeyId::new(format!("key{number}")).unwrap()).collect();
        assert_eq!(KeyIds(&ids[..2]).to_string(), "key0,key1");
        let shown = KeyIds(&ids).to_string();
        assert!(shown.starts_with("key0,key1,") && shown.ends_with(",key15 and 4 more"), "{shown}");
        assert_eq!(KeyIds(&[]).to_string(), "");
    }
}
