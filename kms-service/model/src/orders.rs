//! The gate alone, with what passes it: the real thing, and two that are broken in ways in which the
//! real one could be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::KeyState;
use kms_keys::{KeyType, Signature, SigningScheme};
use tracing::Span;

use crate::asked::Asked;
use crate::counters::CounterSet;
use crate::job::{Job, Keys, Task, Ticket};
use crate::jobs::elsewhere;
use crate::lane::Lanes;
use crate::registry::Usable;
use crate::reply::Reply;
use crate::service::{id, registry};
use crate::{Caller, KmsError, Threads, backend};
use kms_backend::Operation;

/// How a signature is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenOut {
    /// As the service does it.
    Rightly,
    /// As the service does it, for two keys at once, one of them twice.
    ByMany,
    /// Without asking the gate: a mutation.
    Unasked,
    /// After asking the gate, and outside of it: a mutation.
    Outside,
}

/// Signs with key `a` on lanes, disables it meanwhile, and looks at what is given out afterwards.
///
/// # Panics
/// If there is a signature after the key was disabled.
pub fn gate_closes(given_out: GivenOut) {
    let (mut registry, counters) = (registry(false), Arc::new(CounterSet::default()));
    let mut threads = Threads::default();
    (threads.cheap, threads.costly) = (Some(2), Some(1));
    let lanes = Lanes::new(8, threads, &counters, elsewhere());
    let (asked, caller) = (Asked::default(), Caller::new("model".to_owned()));
    for _ in 0..3 {
        let usable = |name| registry.for_signing(&caller, &id(name), None, None);
        let (Ok((a, _)), Ok((b, _))) = (usable("a"), usable("b")) else { return };
        let (reply, answer) = Reply::channel();
        asked.add("a", answer, |_| 1);
        let ticket = |keys, reply| Ticket {
            deadline: Instant::now() + Duration::from_secs(3600),
            span: Span::none(),
            counters: Arc::clone(&counters),
            keys,
            reply,
        };
        let sign = sign(&a);
        let job = match given_out {
            GivenOut::Rightly => Task::boxed(ticket(Keys::One(a), reply), 1, sign),
            GivenOut::ByMany => {
                let keys = Keys::Many(vec![b.clone(), a, b]);
                Task::boxed(ticket(keys, reply), 1, sign)
            }
            GivenOut::Unasked => Task::boxed(ticket(Keys::Many(Vec::new()), reply), 1, sign),
            GivenOut::Outside => Box::new(Outside { key: a, reply, signed: None }),
        };
        lanes.submit(KeyType::Ed25519, caller.clone(), 1, job);
    }
    lanes.call();
    registry.update(&id("a"), backend::info(&id("a"), KeyState::Disabled));
    let before = asked.signed("a");
    lanes.close();
    asked.wait_for_all();
    assert_eq!(asked.signed("a"), before, "given out after the key was disabled");
    asked.all_answered();
}

fn sign(key: &Usable) -> impl FnOnce() -> Result<Signature, KmsError> + Send + 'static {
    let signer = key.local(Operation::Execute);
    move || signer?.sign(SigningScheme::Ed25519, b"a message").map_err(KmsError::Backend)
}

/// Leaves the gate before it gives out what it made.
struct Outside {
    key: Usable,
    reply: Reply<Signature>,
    signed: Option<Result<Signature, KmsError>>,
}

impl Job for Outside {
    fn weight(&self) -> usize {
        usize::from(self.signed.is_none())
    }

    fn run(&mut self, _: usize, _: &dyn Fn() -> bool) {
        self.signed = Some(sign(&self.key)());
    }

    fn answer(self: Box<Self>) {
        let open = self.key.gate.enter(&self.key.id).map(drop);
        let signed = self.signed.unwrap_or(Err(KmsError::Internal));
        self.reply.send(open.and(signed));
    }

    fn refuse(self: Box<Self>, error: KmsError) {
        self.reply.send(Err(error));
    }
}
