//! Many messages for one remote signer.

use std::time::Instant;

use kms_backend::RemoteSigner;
use kms_keys::SigningScheme;
use tokio::time;

use crate::KmsError;
use crate::batch::Outcomes;

/// An outcome for each message, in order. As many are asked for at once as the signer takes; what the
/// deadline cuts off doesn't take the outcomes before with it.
pub(crate) async fn sign_each(
    signer: &dyn RemoteSigner,
    scheme: SigningScheme,
    messages: Vec<Result<Vec<u8>, KmsError>>,
    deadline: Instant,
) -> Outcomes {
    let size = signer.batch().max(1);
    let mut outcomes = Vec::with_capacity(messages.len());
    let mut messages = messages.into_iter().peekable();
    while let Some(message) = messages.next() {
        let mut batch = match message {
            Ok(message) => vec![message],
            Err(error) => {
                outcomes.push(Err(error));
                continue;
            }
        };
        while batch.len() < size
            && let Some(Ok(message)) = messages.next_if(Result::is_ok)
        {
            batch.push(message);
        }
        outcomes.extend(sign_batch(signer, scheme, &batch, deadline).await);
    }
    outcomes
}

/// As many outcomes as messages, whatever the signer says.
async fn sign_batch(
    signer: &dyn RemoteSigner,
    scheme: SigningScheme,
    messages: &[Vec<u8>],
    deadline: Instant,
) -> Outcomes {
    let late = || Err(KmsError::DeadlineExceeded);
    let deadline = time::Instant::from(deadline);
    if deadline <= time::Instant::now() {
        return messages.iter().map(|_| late()).collect();
    }
    let signed = signer.sign_many(scheme, messages);
    let Ok(signed) = time::timeout_at(deadline, signed).await else {
        return messages.iter().map(|_| late()).collect();
    };
    if signed.len() != messages.len() {
        tracing::error!("a remote signer gave another number of outcomes than there were messages");
        return messages.iter().map(|_| Err(KmsError::Internal)).collect();
    }
    signed.into_iter().map(|outcome| outcome.map_err(KmsError::Backend)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use kms_backend::{BackendError, Failure, LocalSigner, SoftwareSigner, async_trait};
    use kms_keys::{KeyType, PublicKey, SecretKey, Signature};

    use super::*;

    const SCHEME: SigningScheme = SigningScheme::Ed25519;

    /// Takes three at once, and notes what it was asked for.
    struct ByThrees {
        signer: SoftwareSigner,
        asked: Mutex<Vec<Vec<Vec<u8>>>>,
    }

    impl ByThrees {
        fn new() -> Self {
            let signer = SoftwareSigner::new(SecretKey::generate(KeyType::Ed25519).unwrap());
            Self { signer, asked: Mutex::default() }
        }
    }

    #[async_trait]
    impl RemoteSigner for ByThrees {
        fn public_key(&self) -> &PublicKey {
            self.signer.public_key()
        }

        async fn sign(&self, scheme: SigningScheme, m: &[u8]) -> Result<Signature, BackendError> {
            match m {
                b"slow" => std::future::pending().await,
                b"bad" => Err(BackendError::Denied(Failure::new("no"))),
                good => self.signer.sign(scheme, good),
            }
        }

        fn batch(&self) -> usize {
            3
        }

        async fn sign_many(
            &self,
            scheme: SigningScheme,
            messages: &[Vec<u8>],
        ) -> Vec<Result<Signature, BackendError>> {
            self.asked.lock().unwrap().push(messages.to_vec());
            let mut outcomes = Vec::new();
            for message in messages {
                match &message[..] {
                    b"forgotten" => {}
                    message => outcomes.push(self.sign(scheme, message).await),
                }
            }
            outcomes
        }
    }

    async fn outcomes(signer: &ByThrees, messages: &[&str]) -> Outcomes {
        let checked = |message: &&str| match *message {
            "refused" => Err(KmsError::Internal),
            message => Ok(message.as_bytes().to_vec()),
        };
        let deadline = Instant::now() + Duration::from_millis(100);
        sign_each(signer, SCHEME, messages.iter().map(checked).collect(), deadline).await
    }

    #[tokio::test(start_paused = true)]
    async fn each_message_has_its_outcome_in_order_and_batches_are_full() {
        let signer = ByThrees::new();
        let messages = ["a", "b", "bad", "c", "refused", "d", "e", "f", "g"];
        let outcomes = outcomes(&signer, &messages).await;
        assert_eq!(outcomes.len(), messages.len());
        for (message, outcome) in messages.iter().zip(&outcomes) {
            match (*message, outcome) {
                ("bad", Err(KmsError::Backend(BackendError::Denied(_)))) => {}
                ("refused", Err(KmsError::Internal)) => {}
                (good, Ok(signature)) => {
                    signer.signer.public_key().verify(SCHEME, good.as_bytes(), signature).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
        let sizes: Vec<_> = signer.asked.lock().unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes, [3, 1, 3, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_cut_off_does_not_take_what_was_done_with_it() {
        let signer = ByThrees::new();
        let outcomes = outcomes(&signer, &["a", "b", "c", "slow", "d", "e", "f"]).await;
        assert!(outcomes[..3].iter().all(Result::is_ok), "{outcomes:?}");
        for late in &outcomes[3..] {
            assert!(matches!(late, Err(KmsError::DeadlineExceeded)), "{late:?}");
        }
        assert_eq!(signer.asked.lock().unwrap().len(), 2, "the rest was not begun");
    }

    #[tokio::test(start_paused = true)]
    async fn a_signer_that_miscounts_is_not_believed() {
        let outcomes = outcomes(&ByThrees::new(), &["a", "forgotten", "b", "c"]).await;
        for outcome in &outcomes[..3] {
            assert!(matches!(outcome, Err(KmsError::Internal)), "{outcome:?}");
        }
        assert!(outcomes[3].is_ok());
    }
}
