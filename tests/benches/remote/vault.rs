//! A plain loop on OpenBao: one connection, one request after the other.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use base64ct::{Base64, Encoding};
use kms_keys::{Ed25519Signature, KeyId, PublicKey, Signature, SigningScheme};
use kms_peers::Bao;
use serde_json::Value;

use crate::{Loop, message};

pub fn plain(bao: &Bao, id: &KeyId, public_key: PublicKey) -> Loop {
    let (address, token) = (bao.address(), bao.root_token().to_owned());
    let path = format!("/v1/transit/sign/{id}");
    Arc::new(move |end| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let mut made = 0;
        while Instant::now() < end {
            let body = format!("{{\"input\":\"{}\"}}", Base64::encode_string(&message(made)));
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: {address}\r\nX-Vault-Token: {token}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(request.as_bytes()).unwrap();
            let answer: Value = serde_json::from_slice(&body_of(&mut answers)).unwrap();
            let signature = answer["data"]["signature"].as_str().unwrap();
            let signature = Base64::decode_vec(signature.rsplit(':').next().unwrap()).unwrap();
            let signature = Signature::Ed25519(Ed25519Signature::from_bytes(&signature).unwrap());
            public_key.verify(SigningScheme::Ed25519, &message(made), &signature).unwrap();
            made += 1;
        }
        made
    })
}

fn body_of(answers: &mut impl BufRead) -> Vec<u8> {
    let mut len = 0;
    loop {
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            len = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; len];
    answers.read_exact(&mut body).unwrap();
    body
}
