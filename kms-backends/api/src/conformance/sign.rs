//! What a key signs, its public key verifies, and nothing else does.

use std::sync::Arc;

use kms_keys::{KeyType, PublicKey, Signature, SigningScheme};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::register::registered;
use super::{CheckKind, Fixture, Suite, Verdict, chain, ensure, open};
use crate::{BackendError, BackendSettings, Failure, KeyCapability, Signer};

pub(super) async fn checks<F: Fixture>(suite: &mut Suite<F>) {
    for capability in suite.fixture.settings().capabilities().keys {
        let key_type = capability.key_type;
        let kind = CheckKind::Sign;
        for &scheme in &capability.schemes {
            let can = capability.clone();
            suite
                .check(kind, format!("{scheme}: verifies"), move |f| async move {
                    signatures_verify(&*f, &can, scheme).await
                })
                .await;
            let can = capability.clone();
            suite
                .check(kind, format!("{scheme}: 64 at once"), move |f| async move {
                    at_once(&*f, &can, scheme).await
                })
                .await;
        }
        suite
            .check(kind, format!("{key_type}: another type's scheme"), move |f| async move {
                other_types_scheme(&*f, key_type).await
            })
            .await;
        if let Some(&scheme) = capability.schemes.iter().find(|s| s.message_len().is_some()) {
            suite
                .check(kind, format!("{scheme}: wrong length"), move |f| async move {
                    wrong_length(&*f, key_type, scheme).await
                })
                .await;
        }
    }
}

/// Signs with either kind of signer. A local one works on a thread of its own that is left behind
/// if it never answers, so that it can't hold up the runtime.
pub(super) async fn sign(
    signer: &Signer,
    scheme: SigningScheme,
    message: &[u8],
) -> Result<Signature, BackendError> {
    match signer {
        Signer::Remote(remote) => remote.sign(scheme, message).await,
        Signer::Local(local) => {
            let (local, message) = (Arc::clone(local), message.to_vec());
            let (sender, answer) = oneshot::channel();
            std::thread::spawn(move || {
                let signed = local.sign(scheme, &message);
                // Before the answer: whoever has it may close the backend, and a signer that is
                // still there would keep it open.
                drop(local);
                drop(sender.send(signed));
            });
            answer.await.unwrap_or_else(|_| {
                Err(BackendError::Unavailable(Failure::new("the signer panicked")))
            })
        }
    }
}

async fn signatures_verify<F: Fixture>(
    fixture: &F,
    can: &KeyCapability,
    scheme: SigningScheme,
) -> Verdict {
    let backend = open(fixture).await?;
    let id = format!("sign/verifies-{scheme}");
    let (_, key) = registered(fixture, &*backend, &id, can.key_type).await?;
    // Sixteen, because a signature that isn't low-S is so only every other time.
    for round in 0..16_u8 {
        for message in messages(can, scheme, round) {
            let answer = sign(&key.signer, scheme, &message).await;
            let signature = answer.map_err(|error| {
                format!("{} bytes were not signed: {}", message.len(), chain(&error))
            })?;
            verify(&key.info.public_key, scheme, &message, &signature)?;
        }
    }
    if let (Some(limits), None) = (&can.message_bytes, scheme.message_len()) {
        for len in limits.start().checked_sub(1).into_iter().chain([limits.end() + 1]) {
            let answer = sign(&key.signer, scheme, &vec![0; len]).await;
            ensure(answer.is_err(), || {
                format!("{len} bytes are beyond its limits and were signed")
            })?;
        }
    }
    Ok(())
}

fn verify(
    public_key: &PublicKey,
    scheme: SigningScheme,
    message: &[u8],
    signature: &Signature,
) -> Verdict {
    let bytes = signature.to_bytes();
    ensure(bytes.len() == scheme.signature_len(), || {
        format!("a signature has {} bytes, expected {}", bytes.len(), scheme.signature_len())
    })?;
    ensure(public_key.verify(scheme, message, signature).is_ok(), || {
        format!("the signature of {} bytes doesn't verify", message.len())
    })?;
    let recoverable = matches!(scheme, SigningScheme::EcdsaSha256 | SigningScheme::EcdsaDigest);
    ensure(signature.recovery_id().is_some() == recoverable, || {
        "the recovery id is missing, or there is one where none belongs".into()
    })?;
    if recoverable {
        ensure(recover(scheme, message, signature).as_ref() == Some(public_key), || {
            "the recovery id gives another public key".into()
        })?;
    }
    if let Some(other) = other_message(scheme, message) {
        ensure(public_key.verify(scheme, &other, signature).is_err(), || {
            "the signature verifies for another message too".into()
        })?;
    }
    Ok(())
}

fn recover(scheme: SigningScheme, message: &[u8], signature: &Signature) -> Option<PublicKey> {
    let Signature::Ecdsa(signature) = signature else {
        return None;
    };
    let digest = match scheme {
        SigningScheme::EcdsaDigest => message.try_into().ok()?,
        _ => Sha256::digest(message).into(),
    };
    signature.recover(&digest).ok().map(PublicKey::Secp256k1)
}

/// Messages of every length that matters to a scheme.
fn messages(can: &KeyCapability, scheme: SigningScheme, round: u8) -> Vec<Vec<u8>> {
    match scheme.message_len() {
        Some(len) => vec![vec![round.wrapping_add(1); len]],
        None => {
            let fits =
                |len: &usize| can.message_bytes.as_ref().is_none_or(|limits| limits.contains(len));
            let lens = [0, 1, 32, 4096].into_iter().filter(fits);
            lens.map(|len| vec![round; len]).collect()
        }
    }
}

fn other_message(scheme: SigningScheme, message: &[u8]) -> Option<Vec<u8>> {
    let mut other = message.to_vec();
    match other.first_mut() {
        Some(first) => *first ^= 1,
        None if scheme.message_len().is_none() => other.push(0),
        None => return None,
    }
    Some(other)
}

async fn at_once<F: Fixture>(fixture: &F, can: &KeyCapability, scheme: SigningScheme) -> Verdict {
    let backend = open(fixture).await?;
    let id = format!("sign/at-once-{scheme}");
    let (_, key) = registered(fixture, &*backend, &id, can.key_type).await?;
    let answers = (0..64_u8).map(|round| {
        let (signer, message) = (key.signer.clone(), messages(can, scheme, round).remove(0));
        async move { (sign(&signer, scheme, &message).await, message) }
    });
    for (answer, message) in futures::future::join_all(answers).await {
        let signature = answer.map_err(|error| format!("not signed: {}", chain(&error)))?;
        verify(&key.info.public_key, scheme, &message, &signature)?;
    }
    let Signer::Remote(signer) = &key.signer else { return Ok(()) };
    let many: Vec<_> = (0..64_u8).map(|round| messages(can, scheme, round).remove(0)).collect();
    let outcomes = signer.sign_many(scheme, &many).await;
    ensure(outcomes.len() == many.len(), || format!("{} outcomes for 64", outcomes.len()))?;
    for (outcome, message) in outcomes.into_iter().zip(many) {
        let signature = outcome.map_err(|error| format!("not signed: {}", chain(&error)))?;
        verify(&key.info.public_key, scheme, &message, &signature)?;
    }
    Ok(())
}

async fn other_types_scheme<F: Fixture>(fixture: &F, key_type: KeyType) -> Verdict {
    let backend = open(fixture).await?;
    let id = format!("sign/other-type-{key_type}");
    let (_, key) = registered(fixture, &*backend, &id, key_type).await?;
    for other in KeyType::ALL.iter().filter(|other| **other != key_type) {
        let scheme = other.default_scheme();
        ensure(sign(&key.signer, scheme, b"message").await.is_err(), || {
            format!("it signed under {scheme}")
        })?;
    }
    Ok(())
}

async fn wrong_length<F: Fixture>(
    fixture: &F,
    key_type: KeyType,
    scheme: SigningScheme,
) -> Verdict {
    let backend = open(fixture).await?;
    let id = format!("sign/wrong-length-{scheme}");
    let (_, key) = registered(fixture, &*backend, &id, key_type).await?;
    for len in [1, 31, 33] {
        ensure(sign(&key.signer, scheme, &vec![1; len]).await.is_err(), || {
            format!("it signed {len} bytes, which {scheme} doesn't take")
        })?;
    }
    Ok(())
}
