//! A plain loop on OpenBao.

use std::sync::Arc;
use std::time::Instant;

use base64ct::{Base64, Encoding};
use kms_keys::{Ed25519Signature, KeyId, PublicKey, Signature, SigningScheme};
use kms_peers::Bao;

use crate::http::Connection;
use crate::{Loop, message};

pub fn plain(bao: &Bao, id: &KeyId, public_key: PublicKey) -> Loop {
    let (address, token) = (bao.address(), bao.root_token());
    let line = format!("POST /v1/transit/sign/{id}");
    let fields = format!("X-Vault-Token: {token}\r\nContent-Type: application/json\r\n");
    Arc::new(move |end| {
        let mut bao = Connection::open(address, &line, &fields);
        let mut made = 0;
        while Instant::now() < end {
            let body = format!("{{\"input\":\"{}\"}}", Base64::encode_string(&message(made)));
            let answer = bao.ask(&body);
            let signature = answer["data"]["signature"].as_str().unwrap();
            let signature = Base64::decode_vec(signature.rsplit(':').next().unwrap()).unwrap();
            let signature = Signature::Ed25519(Ed25519Signature::from_bytes(&signature).unwrap());
            public_key.verify(SigningScheme::Ed25519, &message(made), &signature).unwrap();
            made += 1;
        }
        made
    })
}
