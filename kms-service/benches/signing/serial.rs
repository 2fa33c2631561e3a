//! What a simple design would do: one task that owns the keys and signs inline.

use std::sync::Arc;

use kms_keys::{KeyType, SecretKey, Signature};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::load::Client;

struct Request {
    key_type: KeyType,
    message: [u8; 32],
    reply: oneshot::Sender<Signature>,
}

/// A running actor; it ends with its last client.
pub struct SerialActor(mpsc::Sender<Request>);

pub struct SerialClient {
    actor: mpsc::Sender<Request>,
    key_type: KeyType,
}

impl SerialActor {
    pub fn start(runtime: &Runtime, keys: [Arc<SecretKey>; 3]) -> Self {
        let (sender, mut requests) = mpsc::channel::<Request>(256);
        runtime.spawn(async move {
            while let Some(Request { key_type, message, reply }) = requests.recv().await {
                let key = keys.iter().find(|key| key.key_type() == key_type).unwrap();
                let _ = reply.send(key.sign(key_type.default_scheme(), &message).unwrap());
            }
        });
        Self(sender)
    }

    pub fn client(&self, key_type: KeyType) -> SerialClient {
        SerialClient { actor: self.0.clone(), key_type }
    }
}

impl Client for SerialClient {
    async fn sign(&self, message: [u8; 32]) {
        let (reply, answer) = oneshot::channel();
        let request = Request { key_type: self.key_type, message, reply };
        assert!(self.actor.send(request).await.is_ok());
        std::hint::black_box(answer.await.unwrap());
    }
}
