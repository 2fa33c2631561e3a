//! The peers themselves: a server starts, and the proxy does what it is told.

#![allow(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use std::time::{Duration, Instant};

use kms_peers::{Answer, Bao, Fault, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn get(proxy: &Proxy, path: &str) -> String {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_proxy_does_what_it_is_told_once_and_counts() {
    let proxy = Proxy::answering(|request| {
        assert_eq!(request.field("host"), Some("x"));
        Answer::new(200, request.body.clone())
    })
    .await;
    assert!(get(&proxy, "/a").await.ends_with("\r\n\r\nhi"));
    proxy.next_at("/c", Fault::Answer(Answer::new(429, "").field("Retry-After", "7")), 1);
    proxy.next(Fault::CutRequest, 1);
    proxy.next(Fault::CutAnswer, 1);
    proxy.next(Fault::HalfAnswer, 1);
    proxy.next(Fault::Garbage(3), 1);
    proxy.next(Fault::Drip(Duration::from_millis(1)), 1);
    assert_eq!(get(&proxy, "/b").await, "");
    assert!(get(&proxy, "/c").await.contains("Retry-After: 7"));
    assert_eq!(get(&proxy, "/b").await, "");
    let half = get(&proxy, "/b").await;
    assert!(half.starts_with("HTTP/1.1 200") && !half.ends_with("hi"), "{half}");
    assert_eq!(get(&proxy, "/b").await.chars().count(), 3);
    let begun = Instant::now();
    assert!(get(&proxy, "/b").await.ends_with("hi"));
    assert!(begun.elapsed() > Duration::from_millis(80));
    assert_eq!((proxy.count("GET /b"), proxy.seen().len()), (5, 7));
}

#[tokio::test]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_server_in_earnest_survives_being_killed() {
    let mut bao = Bao::raft().await;
    bao.must(&["secrets", "enable", "transit"]);
    bao.kill();
    bao.start_again().await;
    assert!(bao.must(&["secrets", "list"]).contains("transit/"));
}

#[tokio::test]
#[ignore = "needs OpenBao: cargo xtask test sets it up"]
async fn a_development_server_is_sealed_and_unsealed() {
    let bao = Bao::dev().await;
    let token = bao.token(&["default"], "1h");
    assert!(!token.is_empty());
    bao.seal();
    assert!(bao.run(&["secrets", "list"]).is_err());
    bao.unseal();
    bao.must(&["secrets", "list"]);
    let proxy = Proxy::before(bao.address()).await;
    assert!(get(&proxy, "/v1/sys/health").await.contains("\"sealed\":false"));
}
