//! The client: one method per operation, with a deadline of its own.

use std::fmt::{self, Debug, Display};
use std::time::Duration;

use kms_backend::{KeyInfo, KeyPage, PageRequest};
use kms_keys::{KeyId, PublicKey, Signature, SigningScheme};
use kms_secrets::SecretBytes;
use overwatch::overwatch::OverwatchHandle;
use overwatch::services::relay::OutboundRelay;
use overwatch::services::{AsServiceId, ServiceData};

use crate::message::{Caller, Change, KmsMessage, Request, SignManyOrder, SignOrder};
use crate::reply::Reply;
use crate::{HealthReport, KeyFilter, KeyHandle, KeyRequest, KmsError, SignRequest};

/// How long a request may take unless the client says otherwise: 5 s.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// The longest deadline that a request carries; the service's own limit is never longer. Durations
/// beyond what a clock can count mean "no hurry" and must not be the caller's panic.
const LONGEST_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// How much longer than its deadline many signatures are waited for: those that were made by then are on their
/// way.
const ON_ITS_WAY: Duration = Duration::from_millis(50);

/// The way for a service to use keys. Cloneable; several requests may be under way at once.
///
/// Every request carries a deadline that holds on this side too: a service that is stopped, stuck
/// or swamped never hangs its callers. Dropping a request's future gives the request up: what
/// hasn't been signed by then won't be.
#[derive(Clone)]
pub struct KmsApi {
    relay: OutboundRelay<KmsMessage>,
    caller: Caller,
    deadline: Duration,
}

/// One BLS signature of several keys over one message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AggregateSignature {
    /// The aggregate signature, 96 bytes, under the proof-of-possession ciphersuite.
    pub signature: Signature,
    /// The public keys that it verifies with, in the order of the ids that were asked for.
    pub public_keys: Vec<PublicKey>,
}

impl KmsApi {
    /// Connects the service `C` (who asks) to the key management service `S` of the same node. The
    /// service may be stopped: requests then wait for its start, until their deadline.
    ///
    /// # Errors
    /// [`KmsError::Stopped`], when the node gives no relay to `S`.
    pub async fn connect<S, C>(
        handle: &OverwatchHandle<impl AsServiceId<S> + AsServiceId<C> + Debug + Display + Sync>,
    ) -> Result<Self, KmsError>
    where
        S: ServiceData<Message = KmsMessage>,
    {
        let relay = handle.relay::<S>().await.map_err(|_| KmsError::Stopped)?;
        Ok(Self { relay, caller: caller_of::<C, _>(handle), deadline: DEFAULT_DEADLINE })
    }

    /// The same client with another deadline for its requests. The service cuts what it gets to its
    /// own limit (`limits.deadline` of its settings).
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Registers a key: loads it, or generates it if it is missing and the request says so. The same
    /// id and type again give the same key, by however many at once.
    ///
    /// # Errors
    /// [`KmsError::TypeMismatch`] if the id belongs to a key of another type,
    /// [`KmsError::InvalidKeyId`], [`KmsError::CallerNotAllowed`], [`KmsError::Backend`], and what
    /// any request can meet.
    pub async fn register(&self, request: KeyRequest) -> Result<KeyHandle, KmsError> {
        let KeyRequest { id, key_type, if_missing } = request;
        let id = KeyId::new(id)?;
        let send = |reply| Request::Register { id, key_type, if_missing, reply };
        let info = self.change(send).await?;
        Ok(KeyHandle::new(self.clone(), info))
    }

    /// The public key of the key's current version. Open to every service, whatever the key's state.
    ///
    /// # Errors
    /// [`KmsError::NotFound`], and what any request can meet.
    pub async fn public_key(&self, id: &KeyId) -> Result<PublicKey, KmsError> {
        self.key_info(id).await.map(|info| info.public_key)
    }

    /// What may be known of a key. Open to every service, whatever the key's state.
    ///
    /// # Errors
    /// [`KmsError::NotFound`], and what any request can meet.
    pub async fn key_info(&self, id: &KeyId) -> Result<KeyInfo, KmsError> {
        let id = id.clone();
        self.ask(None, |reply| Request::KeyInfo { id, reply }).await
    }

    /// The registered keys that `filter` lets through, a page at a time in the order of their ids. A page may
    /// hold fewer than were asked for, even none, and others follow all the same ([`KeyPage::next`]): the
    /// service looks at 256 keys for each, so that nobody waits long for it.
    ///
    /// # Errors
    /// What any request can meet.
    pub async fn list(&self, filter: KeyFilter, page: PageRequest) -> Result<KeyPage, KmsError> {
        self.ask(None, |reply| Request::List { filter, page, reply }).await
    }

    /// Signs `message` with the key's current version under its type's default scheme, unless the
    /// returned request is told otherwise. Await it to sign. What each scheme makes of the message
    /// is said by [`SigningScheme`].
    ///
    /// The answer is [`KmsError::NotFound`], [`KmsError::SchemeNotAllowed`],
    /// [`KmsError::CallerNotAllowed`], [`KmsError::Disabled`], [`KmsError::PendingDeletion`],
    /// [`KmsError::InvalidInput`], [`KmsError::Backend`] or what any request can meet, if it isn't
    /// the signature.
    pub fn sign(&self, id: &KeyId, message: impl Into<Vec<u8>>) -> SignRequest<'_> {
        SignRequest::new(self, id, message.into())
    }

    /// Signs many messages with one key, in one request. The answers are in the order of the
    /// messages, each with its own outcome; messages that the deadline cuts off are
    /// [`KmsError::DeadlineExceeded`], for which the answer may come up to 50 ms after it.
    ///
    /// # Errors
    /// As [`KmsApi::sign`]; [`KmsError::TooLarge`] for more messages than the service's `queue`.
    pub async fn sign_many(
        &self,
        id: &KeyId,
        scheme: Option<SigningScheme>,
        messages: Vec<Vec<u8>>,
    ) -> Result<Vec<Result<Signature, KmsError>>, KmsError> {
        let order = SignManyOrder { id: id.clone(), scheme, messages };
        let request = |reply| Request::SignMany(order, reply);
        self.send(None, ON_ITS_WAY, request, KmsError::DeadlineExceeded).await
    }

    /// Signs `message` with each of these BLS keys under the proof-of-possession ciphersuite, and
    /// gives the one aggregate of their signatures.
    ///
    /// # Errors
    /// As [`KmsApi::sign`]; [`KmsError::TypeMismatch`] for a key that isn't BLS,
    /// [`KmsError::InvalidInput`] without any key, [`KmsError::TooLarge`] for more keys than the
    /// service's `queue`.
    pub async fn sign_aggregate(
        &self,
        ids: &[KeyId],
        message: impl Into<Vec<u8>>,
    ) -> Result<AggregateSignature, KmsError> {
        let (ids, message) = (ids.to_vec(), message.into());
        self.ask(None, |reply| Request::SignAggregate { ids, message, reply }).await
    }

    /// Runs the operator called `operator` on the key's secret. The output is at most as long as the
    /// operator promises, and wiped when it is dropped, because an operator's output is often a
    /// secret itself.
    ///
    /// # Errors
    /// [`KmsError::UnknownOperator`], [`KmsError::TypeMismatch`], [`KmsError::Operator`], and as
    /// [`KmsApi::sign`].
    pub async fn execute(
        &self,
        id: &KeyId,
        operator: &str,
        input: impl Into<Vec<u8>>,
    ) -> Result<SecretBytes, KmsError> {
        let (id, operator, input) = (id.clone(), operator.to_owned(), input.into());
        self.ask(None, |reply| Request::Execute { id, operator, input, reply }).await
    }

    /// Makes a new version of the key the current one.
    ///
    /// # Errors
    /// [`KmsError::Unsupported`] where the backend can't, [`KmsError::NotFound`],
    /// [`KmsError::CallerNotAllowed`], [`KmsError::Backend`], and what any request can meet.
    pub async fn rotate(&self, id: &KeyId) -> Result<KeyInfo, KmsError> {
        self.change_key(id, Change::Rotate).await
    }

    /// Stops the key from signing. Once this is answered, no later signature of it is given out.
    ///
    /// # Errors
    /// As [`KmsApi::rotate`].
    pub async fn disable(&self, id: &KeyId) -> Result<KeyInfo, KmsError> {
        self.change_key(id, Change::Disable).await
    }

    /// Lets a disabled key sign again.
    ///
    /// # Errors
    /// As [`KmsApi::rotate`].
    pub async fn enable(&self, id: &KeyId) -> Result<KeyInfo, KmsError> {
        self.change_key(id, Change::Enable).await
    }

    /// Schedules the key's deletion for when `wait` is over. Once this is answered, no later
    /// signature of it is given out.
    ///
    /// # Errors
    /// As [`KmsApi::rotate`].
    pub async fn schedule_delete(&self, id: &KeyId, wait: Duration) -> Result<KeyInfo, KmsError> {
        self.change_key(id, Change::ScheduleDelete { wait }).await
    }

    /// Takes a scheduled deletion back.
    ///
    /// # Errors
    /// As [`KmsApi::rotate`].
    pub async fn cancel_delete(&self, id: &KeyId) -> Result<KeyInfo, KmsError> {
        self.change_key(id, Change::CancelDelete).await
    }

    /// How the service and its backends are.
    ///
    /// # Errors
    /// What any request can meet.
    pub async fn health(&self) -> Result<HealthReport, KmsError> {
        self.ask(None, |reply| Request::Health { reply }).await
    }

    pub(crate) async fn send_sign(
        &self,
        order: SignOrder,
        deadline: Option<Duration>,
    ) -> Result<Signature, KmsError> {
        self.ask(deadline, |reply| Request::Sign(order, reply)).await
    }

    async fn change_key(&self, id: &KeyId, change: Change) -> Result<KeyInfo, KmsError> {
        let id = id.clone();
        self.change(|reply| Request::Change { id, change, reply }).await
    }

    /// Sends what can be repeated without harm: running out of time is just that.
    async fn ask<T>(
        &self,
        deadline: Option<Duration>,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, KmsError> {
        self.send(deadline, Duration::ZERO, request, KmsError::DeadlineExceeded).await
    }

    /// Sends what may change something: once accepted, running out of time leaves the outcome
    /// unknown.
    async fn change<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, KmsError> {
        self.send(None, Duration::ZERO, request, KmsError::AnswerLost).await
    }

    async fn send<T>(
        &self,
        deadline: Option<Duration>,
        longer: Duration,
        request: impl FnOnce(Reply<T>) -> Request,
        accepted_and_late: KmsError,
    ) -> Result<T, KmsError> {
        let time = deadline.unwrap_or(self.deadline).min(LONGEST_DEADLINE);
        let (reply, answer) = Reply::channel();
        let message = KmsMessage {
            caller: self.caller.clone(),
            deadline: reply.sent() + time,
            span: tracing::Span::current(),
            request: request(reply),
        };
        let mut accepted = false;
        let outcome = tokio::time::timeout(time + longer, async {
            if self.relay.send(message).await.is_err() {
                // The node has gone. A caller that tries again and again must not keep its runtime
                // from everything else.
                tokio::task::yield_now().await;
                return Err(KmsError::Stopped);
            }
            accepted = true;
            answer.await.unwrap_or(Err(KmsError::AnswerLost))
        })
        .await;
        match outcome {
            Ok(answer) => answer,
            Err(_) if accepted => Err(accepted_and_late),
            Err(_) => Err(KmsError::DeadlineExceeded),
        }
    }
}

impl Debug for KmsApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsApi")
            .field("caller", &self.caller)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

fn caller_of<C, Id: AsServiceId<C> + Display>(_: &OverwatchHandle<Id>) -> Caller {
    Caller::new(<Id as AsServiceId<C>>::SERVICE_ID.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// What comes of many signatures, and of one, that are answered so long after their deadline.
    async fn answered_late(late: Duration) -> [Result<(), KmsError>; 2] {
        let (sender, mut requests) = mpsc::channel(1);
        let (caller, deadline) = (Caller::new("test".into()), Duration::from_secs(1));
        let api = KmsApi { relay: OutboundRelay::new(sender), caller, deadline };
        let id = KeyId::new("a").unwrap();
        let answering = async {
            for _ in 0..2 {
                let KmsMessage { request, .. } = requests.recv().await.unwrap();
                tokio::time::sleep(deadline + late).await;
                match request {
                    Request::SignMany(_, reply) => reply.send(Ok(Vec::new())),
                    _ => request.refuse(KmsError::Internal),
                }
            }
        };
        let asking = async {
            let many = api.sign_many(&id, None, vec![vec![1]]).await;
            [many.map(drop), api.sign(&id, "m").await.map(drop)]
        };
        tokio::join!(asking, answering).0
    }

    #[tokio::test(start_paused = true)]
    async fn many_signatures_are_waited_for_while_they_are_on_their_way() {
        use KmsError::DeadlineExceeded;
        let moment = Duration::from_millis(2);
        let [many, one] = answered_late(ON_ITS_WAY - moment).await;
        assert!(matches!((&many, &one), (Ok(()), Err(DeadlineExceeded))), "{many:?}, {one:?}");
        let [many, one] = answered_late(ON_ITS_WAY + moment).await;
        let late = (&many, &one);
        assert!(matches!(late, (Err(DeadlineExceeded), Err(DeadlineExceeded))), "{late:?}");
    }
}
