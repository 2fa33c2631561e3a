//! Credentials in the environment, which a test program that has threads can't set: this one starts itself
//! again.

#![allow(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use std::process::Command;

use kms_backend::{BackendSettings, OpenContext};
use kms_backend_aws::AwsSettings;
use kms_peers::{Answer, Proxy};
use kms_secrets::environment;

const URL: &str = "KMS_TEST_URL";

fn main() {
    match std::env::var(URL) {
        Ok(url) => node(&url),
        Err(_) => test(),
    }
}

/// As a node does: it takes the credentials, starts threads and opens the backend.
fn node(url: &str) {
    let section = serde_json::json!({ "endpoint_override": url });
    let settings: AwsSettings = serde_json::from_value(section).unwrap();
    environment::take(settings.env_names()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let opened = runtime.block_on(settings.open(&OpenContext::new("cloud", "/")));
    if let Some(refused) = opened.err() {
        eprintln!("{}", kms_backend::ErrorChain(&refused));
        std::process::exit(1);
    }
}

fn test() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let service = runtime.block_on(Proxy::answering(|_| Answer::new(200, r#"{"Aliases": []}"#)));
    let start = |variables: &[(&str, &str)]| {
        let mut node = Command::new(std::env::current_exe().unwrap());
        node.env_clear().env(URL, service.url()).envs(variables.iter().copied());
        let output = node.output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let region = ("AWS_REGION", "eu-north-1");
    let id = ("AWS_ACCESS_KEY_ID", "AKIAENV");
    let secret = ("AWS_SECRET_ACCESS_KEY", "secret-of-the-environment");
    let token = ("AWS_SESSION_TOKEN", "token-of-the-environment");

    let (opened, said) = start(&[region, id, secret, token]);
    assert!(opened, "{said}");
    let asked = service.seen().pop().unwrap();
    let authorization = asked.field("authorization").unwrap();
    assert!(authorization.contains("AKIAENV/"), "{authorization}");
    assert!(authorization.contains("/eu-north-1/kms/"), "{authorization}");
    assert_eq!(asked.field("x-amz-security-token"), Some(token.1));

    let (opened, said) = start(&[region, id, secret]);
    assert!(opened, "{said}");
    assert_eq!(service.seen().pop().unwrap().field("x-amz-security-token"), None);

    let web_identity = [
        ("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/node"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token"),
    ];
    for (variables, expected) in [
        (&[region, id][..], "AWS_SECRET_ACCESS_KEY is not set"),
        (
            &[region, id, ("AWS_SECRET_ACCESS_KEY", "a b")],
            "AWS_SECRET_ACCESS_KEY holds something else",
        ),
        (&[id, secret], "no region is given"),
        (&[region], "no credentials"),
        (&[region, ("HOME", "/nowhere")], "/nowhere/.aws/credentials"),
        (&[region, web_identity[0], web_identity[1]], "/nowhere/token"),
    ] {
        let (opened, said) = start(variables);
        assert!(!opened && said.contains(expected), "{expected}: {said}");
        assert!(!said.contains(secret.1) && !said.contains("a b"), "{said}");
    }
    println!("credentials in the environment: ok");
}
