//! Roles that are taken on with a token, and what is never shown.

use std::fs;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use kms_backend::{BackendError, BackendSettings, ErrorChain};
use kms_keys::{KeyType, SigningScheme};
use kms_peers::{Answer, Fault, Proxy, outcomes, paired};
use serde_json::{Value, json};

use crate::scene::{SECRET_ACCESS_KEY, Scene, generated, proved, write_secret};

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.web-identity-token";
const SESSION_SECRET: &str = "secret-of-a-session/+";
const SESSION_TOKEN: &str = "token-of-a-session/+=";

/// A token service that gives sessions which end after the time that `lifetime` holds.
async fn token_service(lifetime: &Arc<Mutex<Duration>>) -> Proxy {
    let (lifetime, given) = (Arc::clone(lifetime), AtomicUsize::new(0));
    Proxy::answering(move |_| {
        let number = given.fetch_add(1, Ordering::SeqCst) + 1;
        let expires = SystemTime::now() + *lifetime.lock().unwrap();
        Answer::new(
            200,
            format!(
                "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                 <AccessKeyId>ASIA{number}</AccessKeyId>\
                 <SecretAccessKey>{SESSION_SECRET}</SecretAccessKey>\
                 <SessionToken>{SESSION_TOKEN}</SessionToken>\
                 <Expiration>{}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
                 </AssumeRoleWithWebIdentityResponse>",
                humantime::format_rfc3339_millis(expires)
            ),
        )
    })
    .await
}

fn web_identity(service: &Proxy) -> Value {
    json!({ "credentials": { "web_identity": {
        "token_file": "token",
        "role_arn": "arn:aws:iam::000000000000:role/node",
        "endpoint_override": service.url()
    } } })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_role_is_taken_on_with_a_token_and_again_before_its_session_ends() {
    // Five minutes before their end sessions are renewed.
    let lifetime = Arc::new(Mutex::new(Duration::from_secs(308)));
    let (scene, service) = (Scene::new().await, token_service(&lifetime).await);
    let token = scene.folder.path().join("token");
    fs::write(&token, format!("{TOKEN}-1\n")).unwrap();
    let aws = scene.open_with(web_identity(&service)).await;
    let key = aws.register(&generated("node", KeyType::Ed25519)).await.unwrap();
    for _ in 0..5 {
        proved(&key, SigningScheme::Ed25519).await.unwrap();
    }
    let form = |number: usize| String::from_utf8(service.seen()[number].body.clone()).unwrap();
    assert_eq!(
        form(0),
        format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A\
             000000000000%3Arole%2Fnode&RoleSessionName=kms&WebIdentityToken={TOKEN}-1"
        )
    );
    let last = scene.proxy.seen().pop().unwrap();
    assert!(last.field("authorization").unwrap().contains("ASIA1/"), "{}", last.head);
    assert_eq!(last.field("x-amz-security-token"), Some(SESSION_TOKEN));
    assert_eq!(service.seen().len(), 1);

    *lifetime.lock().unwrap() = Duration::from_secs(3600);
    fs::write(&token, format!("{TOKEN}-2")).unwrap();
    tokio::time::sleep(Duration::from_millis(8100)).await;
    let signing = (0..8).map(|_| {
        let key = key.clone();
        tokio::spawn(async move { proved(&key, SigningScheme::Ed25519).await.unwrap() })
    });
    for signed in signing.collect::<Vec<_>>() {
        signed.await.unwrap();
    }
    // Nobody waits for it.
    loop {
        proved(&key, SigningScheme::Ed25519).await.unwrap();
        let last = scene.proxy.seen().pop().unwrap();
        let credentials = last.field("authorization").unwrap();
        if credentials.contains("ASIA2/") {
            break;
        }
        assert!(credentials.contains("ASIA1/"), "{}", last.head);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(form(1).ends_with(&format!("{TOKEN}-2")), "{}", form(1));
    assert_eq!(service.seen().len(), 2, "once is enough");

    // Whom AWS refuses again and again takes the role on once more, and not each time.
    let body = json!({ "__type": "UnrecognizedClientException", "message": "no" });
    scene.proxy.next_at("Sign", Fault::Answer(Answer::new(403, body.to_string())), 1000);
    for _ in 0..5 {
        proved(&key, SigningScheme::Ed25519).await.unwrap_err();
    }
    assert!(service.seen().len() <= 3, "{}", service.seen().len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn a_token_service_that_is_away_is_waited_for_and_one_that_refuses_is_not() {
    const TIMEOUT: Duration = Duration::from_secs(60);
    let lifetime = Arc::new(Mutex::new(Duration::from_secs(60)));
    let (scene, service) = (Scene::new().await, token_service(&lifetime).await);
    let mut section = web_identity(&service);
    section["remote"] = json!({ "timeout": "1m", "retry": { "first": "20ms" } });
    let open = async || {
        let settings = crate::scene::settings(&scene.proxy.url(), section.clone());
        settings.open(&scene.context()).await
    };
    let missing = open().await.err().unwrap();
    assert!(matches!(missing, BackendError::Misconfigured(_)), "{missing:?}");
    fs::write(scene.folder.path().join("token"), TOKEN).unwrap();

    let error = |code: &str| {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{TOKEN}</Message>\
             </Error></ErrorResponse>"
        );
        Fault::Answer(Answer::new(400, body))
    };
    for code in ["InvalidIdentityToken", "ExpiredTokenException", "AccessDenied"] {
        let before = service.seen().len();
        service.next(error(code), 1);
        let refused = open().await.err().unwrap();
        assert!(matches!(refused, BackendError::Denied(_)), "{refused:?}");
        let text = ErrorChain(&refused).to_string();
        assert!(text.contains(code) && text.contains("role/node"), "{text}");
        assert!(!format!("{text} {refused:?}").contains(TOKEN), "{text}");
        assert_eq!(service.seen().len() - before, 1);
    }
    service.next(error("IDPCommunicationError"), 1);
    service.next(error("Throttling"), 1);
    service.next(Fault::Answer(Answer::new(503, "busy")), 1);
    service.next(Fault::Answer(Answer::new(200, "<Credentials/>")), 1);
    service.next(Fault::CutAnswer, 1);
    service.next(Fault::Garbage(10), 1);
    let aws = open().await.unwrap();
    let key = aws.register(&generated("node", KeyType::Ed25519)).await.unwrap();

    // A session that ends soon is used to its end, if there is no other, and no signature waits for one.
    service.next(Fault::Delay(2 * TIMEOUT), 1000);
    let begun = std::time::Instant::now();
    for _ in 0..3 {
        proved(&key, SigningScheme::Ed25519).await.unwrap();
    }
    assert!(begun.elapsed() < TIMEOUT, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn what_is_asked_again_with_other_credentials_has_records_of_its_own() {
    let audit = json!({ "audit": { "file": "audit.log" }, "health_interval": "1h" });
    let scene = Scene::with(json!({ "remote": audit })).await;
    let aws = scene.open().await;
    let key = aws.register(&generated("node", KeyType::Ed25519)).await.unwrap();
    let body = json!({ "__type": "UnrecognizedClientException", "message": "told by the test" });
    let refused = Fault::Answer(Answer::new(400, body.to_string()));
    for (number, (times, expected)) in [
        (1, vec![(1, "denied"), (2, "ok")]),
        // Others that aren't accepted either: that is told, and no third try made.
        (2, vec![(1, "denied"), (2, "denied")]),
    ]
    .into_iter()
    .enumerate()
    {
        let other =
            format!("[node]\naws_access_key_id = AKIA{number}\naws_secret_access_key = s\n");
        write_secret(&scene.folder, "credentials", &other);
        scene.proxy.next_at("Sign", refused.clone(), times);
        let before = scene.proxy.count("Sign");
        assert_eq!(proved(&key, SigningScheme::Ed25519).await.is_ok(), times == 1);
        assert_eq!(scene.proxy.count("Sign") - before, 2);
        let records = paired(&[&scene.folder.path().join("audit.log")]);
        assert_eq!(outcomes(&records, "sign")[2 * number..], expected);
    }
    // The same ones again are not tried.
    scene.proxy.next_at("Sign", refused, 1);
    proved(&key, SigningScheme::Ed25519).await.unwrap_err();
    aws.close().await;
    let records = paired(&[&scene.folder.path().join("audit.log")]);
    assert_eq!(outcomes(&records, "sign")[4..], [(1, "denied")]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn each_request_has_records_of_its_own() {
    let audit = json!({ "audit": { "file": "audit.log" }, "health_interval": "1h" });
    let scene = Scene::with(json!({ "remote": audit })).await;
    let aws = scene.open().await;
    let spec = generated("node", KeyType::Ed25519);
    aws.register(&spec).await.unwrap();
    aws.disable(&spec.id).await.unwrap();
    aws.enable(&spec.id).await.unwrap();
    aws.close().await;
    let records = paired(&[&scene.folder.path().join("audit.log")]);
    let requests = records.iter().filter(|record| record["event"] == "request").count();
    assert_eq!(requests, scene.proxy.count(""));
    for (operation, part) in [("create_alias", "CreateAlias"), ("describe", "DescribeKey")] {
        assert_eq!(outcomes(&records, operation).len(), scene.proxy.count(part), "{operation}");
    }
}

/// What a store's key is in these tests, of 32 bytes 0x5a: in Base64, in hex, as a list and as a text.
const WRAPPED: [&str; 4] = ["WlpaWlpaWlpa", "5a5a5a5a5a5a", "90, 90, 90, 90", "ZZZZZZZZZZZZ"];

/// Whether a secret was told of, and whether anything was.
#[derive(Default)]
struct Told {
    of_a_secret: AtomicBool,
    by_this_backend: AtomicBool,
}

impl Write for &Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let has = |part: &str| text.contains(part);
        let secrets = [TOKEN, SECRET_ACCESS_KEY, SESSION_SECRET, SESSION_TOKEN];
        if secrets.iter().chain(&WRAPPED).any(|it| has(it)) {
            self.of_a_secret.store(true, Ordering::SeqCst);
        }
        self.by_this_backend.fetch_or(has("kms::audit"), Ordering::SeqCst);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs ministack: cargo xtask test sets it up"]
async fn no_secret_is_in_the_log_in_an_error_or_in_settings() {
    static TOLD: Told =
        Told { of_a_secret: AtomicBool::new(false), by_this_backend: AtomicBool::new(false) };
    // Of the whole process, and so of the other tests.
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(|| &TOLD)
        .init();
    let lifetime = Arc::new(Mutex::new(Duration::from_secs(3600)));
    let (scene, service) = (Scene::new().await, token_service(&lifetime).await);
    fs::write(scene.folder.path().join("token"), TOKEN).unwrap();
    // Other credentials are tried where there are some.
    for (more, tries) in [(json!({}), 1), (web_identity(&service), 2)] {
        let settings = crate::scene::settings(&scene.proxy.url(), more);
        let aws = settings.open(&scene.context()).await.unwrap();
        let key = aws.register(&generated("node", KeyType::Ed25519)).await.unwrap();
        proved(&key, SigningScheme::Ed25519).await.unwrap();
        let message = format!("{SECRET_ACCESS_KEY} {SESSION_TOKEN}");
        let body = json!({ "__type": "InvalidSignatureException", "message": message });
        scene.proxy.next_at("Sign", Fault::Answer(Answer::new(403, body.to_string())), tries);
        let refused = proved(&key, SigningScheme::Ed25519).await.unwrap_err();
        scene.proxy.next_at("Sign", Fault::CutAnswer, 8);
        let away = proved(&key, SigningScheme::Ed25519).await.unwrap_err();
        let shown = format!(
            "{settings:?} {refused:?} {away:?} {} {} {:?}",
            ErrorChain(&refused),
            ErrorChain(&away),
            key.signer
        );
        for secret in [TOKEN, SECRET_ACCESS_KEY, SESSION_SECRET, SESSION_TOKEN] {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
    }
    #[cfg(feature = "envelope")]
    for shown in crate::envelope::shown().await {
        for secret in [SECRET_ACCESS_KEY].iter().chain(&WRAPPED) {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
    }
    assert!(TOLD.by_this_backend.load(Ordering::SeqCst));
    assert!(!TOLD.of_a_secret.load(Ordering::SeqCst));
}
