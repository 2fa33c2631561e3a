//! A plain loop with AWS' own client, on what stands in for AWS KMS.

use std::sync::Arc;
use std::time::Instant;

use aws_credential_types::Credentials;
use aws_sdk_kms::config::{BehaviorVersion, Config, Region};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use kms_keys::{Ed25519Signature, KeyId, PublicKey, Signature, SigningScheme};
use kms_peers::Ministack;

use crate::{Loop, completed, digest, message};

pub fn plain(aws: &Ministack, id: &KeyId, public_key: PublicKey) -> Loop {
    let (url, key) = (aws.url(), format!("alias/kms/{id}"));
    let (algorithm, kind) = match &public_key {
        PublicKey::Ed25519(_) => (SigningAlgorithmSpec::Ed25519Sha512, MessageType::Raw),
        _ => (SigningAlgorithmSpec::EcdsaSha256, MessageType::Digest),
    };
    Arc::new(move |end| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = client(&url);
        let mut made = 0;
        while Instant::now() < end {
            let message = message(made);
            let bytes = match &public_key {
                PublicKey::Ed25519(_) => message,
                _ => digest(&message),
            };
            let signing = client
                .sign()
                .key_id(&key)
                .message(Blob::new(bytes))
                .message_type(kind.clone())
                .signing_algorithm(algorithm.clone());
            let signature = runtime.block_on(signing.send()).unwrap().signature.unwrap();
            match &public_key {
                PublicKey::Secp256k1(key) => {
                    let signature = k256::ecdsa::Signature::from_der(signature.as_ref()).unwrap();
                    completed(key, &message, &signature.to_bytes());
                }
                key => {
                    let signature = Ed25519Signature::from_bytes(signature.as_ref()).unwrap();
                    let signature = Signature::Ed25519(signature);
                    key.verify(SigningScheme::Ed25519, &message, &signature).unwrap();
                }
            }
            made += 1;
        }
        made
    })
}

fn client(url: &str) -> aws_sdk_kms::Client {
    let tls = Provider::Rustls(CryptoMode::Ring);
    let http = aws_smithy_http_client::Builder::new().tls_provider(tls).build_https();
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("AKIA", "secret", None, None, "plain"))
        .http_client(http);
    aws_sdk_kms::Client::from_conf(config.build())
}
