//! Callers: such as wait, such as go away, such as keep a lane busy.

use std::future::{IntoFuture, poll_fn};
use std::num::NonZero;
use std::pin::Pin;
use std::task::Poll;

use kms_keys::{KeyId, SigningScheme};
use kms_service::{KmsApi, KmsError};

use super::{Act, Does, TestNode};

/// A request that is on its way.
pub type Sent<'a, T> = Pin<Box<dyn Future<Output = Result<T, KmsError>> + Send + 'a>>;

/// Sends a request that will have no answer for now: what is sent next comes behind it. One poll puts
/// the message into the relay.
pub async fn sent<'a, T>(
    request: impl IntoFuture<IntoFuture: Future<Output = Result<T, KmsError>> + Send + 'a>,
) -> Sent<'a, T> {
    let mut request: Sent<'a, T> = Box::pin(request.into_future());
    poll_fn(|context| {
        let answered = request.as_mut().poll(context).is_ready();
        assert!(!answered, "there was to be no answer yet");
        Poll::Ready(())
    })
    .await;
    request
}

/// Sends a request and gives it up at once.
pub async fn give_up<'a, T>(
    request: impl IntoFuture<IntoFuture: Future<Output = Result<T, KmsError>> + Send + 'a>,
) {
    drop(sent(request).await);
}

/// Keeps all threads of a lane busy with signatures of `key` that are stuck.
pub async fn occupy<'a>(
    node: &TestNode,
    api: &'a KmsApi,
    key: &KeyId,
) -> Vec<Sent<'a, kms_keys::Signature>> {
    let signing = Act::Sign(key.clone());
    node.script.when(signing.clone(), Does::Stuck);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let before = node.script.count(&signing);
    let mut busy = Vec::new();
    for number in 1..=threads {
        busy.push(sent(api.sign(key, "busy")).await);
        node.script.seen(signing.clone(), before + number).await;
    }
    busy
}

/// A good request, for after a bad one: the key `good` signs.
pub async fn works(api: &KmsApi) {
    let good = super::id("good");
    let signature = api.sign(&good, "all is well").await.unwrap();
    let public_key = api.public_key(&good).await.unwrap();
    public_key.verify(SigningScheme::Ed25519, b"all is well", &signature).unwrap();
}
