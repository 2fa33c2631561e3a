//! What is made with keys: signatures one by one, in batches and aggregated, and what operators make.

use kms_keys::{KeyType, PublicKey, Signature, SigningScheme};
use kms_service::{KmsApi, KmsError};
use serde_json::{Value, json};

use crate::support::*;

/// A key for each type that may sign under everything, here and elsewhere.
fn keys() -> Value {
    let keys = SigningScheme::ALL.iter().filter(|scheme| **scheme != SigningScheme::BlsPopProve);
    let mut schemes = std::collections::BTreeMap::<_, Vec<_>>::new();
    for scheme in keys {
        schemes.entry(scheme.key_type()).or_default().push(scheme.as_str());
    }
    let mut keys = Vec::new();
    for (key_type, schemes) in schemes {
        for place in ["here", "far"] {
            let id = format!("{place}/{key_type}");
            keys.push(json!({ "id": id, "type": key_type.as_str(), "schemes": schemes }));
        }
    }
    for number in 0..3 {
        keys.push(json!({ "id": format!("bls/{number}"), "type": "bls12-381" }));
    }
    keys.extend([
        json!({ "id": "alice", "type": "ed25519" }),
        json!({ "id": "bob", "type": "ed25519" }),
    ]);
    keys.into()
}

async fn node() -> (TestNode, KmsApi) {
    let script = Script::default();
    for key_type in KeyType::ALL {
        script.remote(&id(&format!("far/{key_type}")));
    }
    let node = TestNode::started_with(keys(), json!({}), &script).await;
    let api = node.api().await;
    (node, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scheme_signs_what_verifies() {
    let (_node, api) = node().await;
    for scheme in SigningScheme::ALL {
        for place in ["here", "far"] {
            let key = id(&format!("{place}/{}", scheme.key_type()));
            let message = vec![7; scheme.message_len().unwrap_or(100)];
            let signature = api.sign(&key, message.clone()).scheme(*scheme).await.unwrap();
            let public_key = api.public_key(&key).await.unwrap();
            public_key.verify(*scheme, &message, &signature).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_signs_under_its_default_scheme_unless_told_otherwise() {
    let (_node, api) = node().await;
    for key_type in KeyType::ALL {
        let key = id(&format!("here/{key_type}"));
        let signature = api.sign(&key, "m").version(1).await.unwrap();
        let public_key = api.public_key(&key).await.unwrap();
        public_key.verify(key_type.default_scheme(), b"m", &signature).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_get_their_own_signatures() {
    let (node, api) = node().await;
    let public_key = api.public_key(&id("alice")).await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..16_u32 {
        let (api, public_key) = (node.api().await, public_key.clone());
        callers.spawn(async move {
            for number in 0..200_u32 {
                let message = [caller.to_be_bytes(), number.to_be_bytes()].concat();
                let signature = api.sign(&id("alice"), message.clone()).await.unwrap();
                public_key.verify(SigningScheme::Ed25519, &message, &signature).unwrap();
            }
        });
    }
    within(callers.join_all()).await;
    let counters = api.health().await.unwrap().counters;
    assert_eq!(counters, kms_service::Counters::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_are_signed_in_order_around_a_bad_one() {
    let (_node, api) = node().await;
    let digest = SigningScheme::EcdsaDigest;
    for place in ["here/secp256k1", "far/secp256k1"] {
        let public_key = api.public_key(&id(place)).await.unwrap();
        let mut messages: Vec<_> = (0..9).map(|number| vec![number; 32]).collect();
        messages[4] = vec![4; 31];
        let outcomes = api.sign_many(&id(place), Some(digest), messages.clone()).await.unwrap();
        assert_eq!(outcomes.len(), 9);
        for (number, (outcome, message)) in outcomes.into_iter().zip(&messages).enumerate() {
            if number == 4 {
                assert_refused!(outcome, KmsError::InvalidInput { .. });
            } else {
                public_key.verify(digest, message, &outcome.unwrap()).unwrap();
            }
        }
    }
    assert!(api.sign_many(&id("alice"), None, vec![]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_verifies_with_the_public_keys_in_order() {
    let (_node, api) = node().await;
    for order in [&["bls/0", "bls/1", "bls/2"][..], &["bls/2", "bls/0"], &["bls/1", "bls/1"]] {
        let ids: Vec<_> = order.iter().map(|text| id(text)).collect();
        let made = api.sign_aggregate(&ids, "one message").await.unwrap();
        let mut expected = Vec::new();
        for key in &ids {
            expected.push(api.public_key(key).await.unwrap());
        }
        assert_eq!(made.public_keys, expected);
        let bls = |key: &PublicKey| match key {
            PublicKey::Bls12381(key) => *key,
            other => panic!("{other}"),
        };
        let public_keys: Vec<_> = made.public_keys.iter().map(bls).collect();
        let Signature::Bls12381(signature) = made.signature else {
            panic!("{:?}", made.signature);
        };
        signature.fast_aggregate_verify(&public_keys, b"one message").unwrap();
        signature.fast_aggregate_verify(&public_keys, b"another").unwrap_err();
    }
}

/// More keys than are found in one go.
#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_of_many_keys_is_made_of_all_or_not_at_all() {
    let (_node, api) = node().await;
    let places = ["bls/0", "bls/1", "bls/2"];
    let mut many: Vec<_> = places.iter().map(|place| id(place)).cycle().take(700).collect();
    let (made, meanwhile) =
        tokio::join!(api.sign_aggregate(&many, "m"), api.sign(&id("alice"), "meanwhile"));
    meanwhile.unwrap();
    let made = made.unwrap();
    assert_eq!(made.public_keys.len(), 700);
    let Signature::Bls12381(signature) = made.signature else { panic!("{:?}", made.signature) };
    let public_keys = made.public_keys.iter().map(|key| match key {
        PublicKey::Bls12381(key) => *key,
        other => panic!("{other}"),
    });
    signature.fast_aggregate_verify(&public_keys.collect::<Vec<_>>(), b"m").unwrap();

    for at in [0, 255, 256, 600, 699] {
        let here = std::mem::replace(&mut many[at], id("none"));
        assert_refused!(api.sign_aggregate(&many, "m").await, KmsError::NotFound { .. });
        many[at] = here;
    }
    api.sign(&id("alice"), "m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_key_agreement_agree() {
    let (_node, api) = node().await;
    let agree = async |ours: &str, theirs: &str| {
        let PublicKey::Ed25519(theirs) = api.public_key(&id(theirs)).await.unwrap() else {
            panic!("not Ed25519");
        };
        api.execute(&id(ours), "x25519", theirs.to_x25519()).await.unwrap()
    };
    let one = agree("alice", "bob").await;
    let other = agree("bob", "alice").await;
    let alone = agree("alice", "alice").await;
    assert_eq!(one.expose(), other.expose());
    assert_eq!(one.len(), 32);
    assert_ne!(one.expose(), alone.expose());
}
