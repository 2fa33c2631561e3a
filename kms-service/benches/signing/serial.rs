//! What a simple design would do: one task that owns the key and signs inline.

use std::sync::Arc;

use kms_keys::{SecretKey, Signature};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::window::Client;

type Request = ([u8; 32], oneshot::Sender<Signature>);

/// A running actor; it ends with its last client.
pub struct SerialActor(mpsc::Sender<Request>);

pub struct SerialClient(mpsc::Sender<Request>);

impl SerialActor {
    pub fn start(runtime: &Runtime, key: Arc<SecretKey>) -> Self {
        let (sender, mut requests) = mpsc::channel::<Request>(256);
        let scheme = key.key_type().default_scheme();
        runtime.spawn(async move {
            while let Some((message, reply)) = requests.recv().await {
                let _ = reply.send(key.sign(scheme, &message).unwrap());
            }
        });
        Self(sender)
    }

    pub fn client(&self) -> SerialClient {
        SerialClient(self.0.clone())
    }
}

impl Client for SerialClient {
    async fn sign(&self, message: [u8; 32]) {
        let (reply, answer) = oneshot::channel();
        self.0.send((message, reply)).await.unwrap();
        std::hint::black_box(answer.await.unwrap());
    }
}
