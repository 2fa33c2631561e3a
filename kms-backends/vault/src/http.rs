//! Requests to the server, and answers of bounded size.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{HOST, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use kms_backend::{BackendError, ErrorChain, Failure};
use kms_backend_remote::{is_distrust, wiped};
use kms_secrets::{SecretBytes, ShieldError, Shielded};

use crate::pool::Pool;
use crate::{Address, VaultSettings, tls};

/// The most bytes of an answer: 1 MiB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Bytes of stack that are wiped after copying a token: more than opening it and copying use.
const STACK: usize = 16 * 1024;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");

/// The way to one server. Connections are kept for the next request; their number is that of the requests
/// under way.
pub(crate) struct Http {
    pool: Pool,
    address: Address,
    namespace: Option<HeaderValue>,
}

/// What the server answered.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    /// May hold a token, so that it is wiped.
    pub(crate) body: SecretBytes,
}

impl Http {
    /// Touches no server. Blocks on the files with certificates.
    pub(crate) fn new(settings: &VaultSettings, base_dir: &Path) -> Result<Self, BackendError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(settings.remote.timeout));
        let ca = settings.tls.ca.as_ref().map(|ca| base_dir.join(ca));
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls::config(ca.as_deref())?);
        let builder = match settings.address.is_plain() {
            true => builder.https_or_http(),
            false => builder.https_only(),
        };
        let connector = builder.enable_http1().wrap_connector(tcp);
        let address = settings.address.clone();
        let pool = Pool::new(connector, address.uri().clone(), settings.remote.concurrency);
        let namespace = settings.namespace.as_ref().map(|namespace| {
            HeaderValue::from_str(&namespace.to_string()).map_err(|cause| {
                BackendError::Misconfigured(Failure::because("the namespace is no name", cause))
            })
        });
        Ok(Self { pool, address, namespace: namespace.transpose()? })
    }

    /// Asks for `path`, which begins behind `/v1/`.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&Shielded>,
        body: Bytes,
    ) -> Result<Reply, BackendError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header(HOST, self.address.host())
            .body(Full::new(body))
            .map_err(|cause| {
                BackendError::Misconfigured(Failure::because("the request can't be made", cause))
            })?;
        // The server's own health is of no namespace, and refused in one.
        if let Some(namespace) = &self.namespace
            && !path.starts_with("sys/health")
        {
            request.headers_mut().insert(NAMESPACE, namespace.clone());
        }
        if let Some(token) = token {
            request.headers_mut().insert(TOKEN, field(token)?);
        }
        // Boxed, so that all the futures around it don't have its size.
        let asked = Box::pin(self.pool.ask(request, |answer| self.reply(answer)));
        let reply = asked.await.map_err(|cause| {
            let class = match is_distrust(&*cause) {
                true => BackendError::Misconfigured,
                false => BackendError::Unavailable,
            };
            // The causes' texts alone: they are of the libraries, and hold nothing that was sent.
            let what = format!("no answer from {}: {}", self.address, ErrorChain(&*cause));
            class(Failure::new(what))
        })??;
        match token {
            Some(token) if !reply.status.is_success() => {
                token.open(|token| reply.without(token)).map_err(unopened)
            }
            _ => Ok(reply),
        }
    }

    async fn reply(&self, answer: Response<Incoming>) -> Result<Reply, BackendError> {
        let (head, body) = answer.into_parts();
        let retry_after = retry_after(&head.headers);
        Ok(Reply { status: head.status, retry_after, body: self.collect(body).await? })
    }

    /// All of an answer, in a buffer of its size that is wiped.
    async fn collect(&self, mut body: Incoming) -> Result<SecretBytes, BackendError> {
        let unusable = |what: String| {
            let what = format!("the answer from {} {what}", self.address);
            BackendError::Unavailable(Failure::new(what))
        };
        let too_large = || unusable(format!("is larger than {MAX_ANSWER_BYTES} bytes"));
        if body.size_hint().lower() > MAX_ANSWER_BYTES as u64 {
            return Err(too_large());
        }
        // Its parts lie in buffers of the HTTP library, which can't be wiped, and a buffer that grows
        // would leave more behind.
        let mut parts: Vec<Bytes> = Vec::new();
        let mut len = 0;
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|cause| unusable(format!("broke off: {}", ErrorChain(&cause))))?;
            let Ok(part) = frame.into_data() else { continue };
            len += part.len();
            if len > MAX_ANSWER_BYTES {
                return Err(too_large());
            }
            parts.push(part);
        }
        Ok(SecretBytes::concat(&parts))
    }
}

impl Reply {
    /// The answer; without its body, parts of which are passed on, if that repeats `secret`.
    pub(crate) fn without(mut self, secret: &[u8]) -> Self {
        let repeats = |bytes: &[u8]| bytes.windows(secret.len().max(1)).any(|part| part == secret);
        if repeats(self.body.expose()) {
            self.body = SecretBytes::with_capacity(0);
        }
        self
    }
}

fn unopened(cause: ShieldError) -> BackendError {
    BackendError::Corrupt(Failure::because("the token can't be opened again", cause))
}

/// The token as a field of a request, in memory that is wiped when the request is dropped.
fn field(token: &Shielded) -> Result<HeaderValue, BackendError> {
    let opened = token.open_on::<STACK, _>(SecretBytes::from_slice).map_err(unopened)?;
    let mut value = HeaderValue::from_maybe_shared(wiped(opened)).map_err(|_| {
        BackendError::WrongSecret(Failure::new("the token has letters that no token has"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn retry_after(fields: &HeaderMap) -> Option<Duration> {
    let seconds = fields.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::Act::{Answer, Last};
    use crate::scripted::{GOOD, Scripted};

    fn http(server: &Scripted, fields: serde_json::Value) -> Http {
        let mut section = serde_json::json!({
            "address": format!("http://{}", server.address),
            "allow_http": true,
            "auth": {"token": {"file": "token"}},
        });
        for (name, value) in fields.as_object().unwrap() {
            section[name] = value.clone();
        }
        Http::new(&serde_json::from_value(section).unwrap(), Path::new(".")).unwrap()
    }

    #[tokio::test]
    async fn a_request_has_its_fields_and_no_more() {
        let server = Scripted::start(&[Answer(GOOD)]).await;
        let token = Shielded::seal(b"s.hunter2").unwrap();
        let http = http(&server, serde_json::json!({"namespace": "team"}));
        for (path, token) in [("a/b?c=d", Some(&token)), ("sys/health", None)] {
            let reply = http.send(Method::GET, path, token, Bytes::new()).await.unwrap();
            assert_eq!((reply.status, reply.body.expose()), (StatusCode::OK, &b"ok"[..]));
        }
        let host = format!("host: {}\r\n", server.address);
        let fields = "x-vault-namespace: team\r\nx-vault-token: s.hunter2\r\n";
        assert_eq!(
            server.requests(),
            [
                format!("GET /v1/a/b?c=d HTTP/1.1\r\n{host}{fields}\r\n"),
                format!("GET /v1/sys/health HTTP/1.1\r\n{host}\r\n"),
            ]
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_refused_whether_it_says_so_or_not() {
        let announced = "HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\n\r\n";
        let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MAX_ANSWER_BYTES + 1));
        let longest = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MAX_ANSWER_BYTES));
        let acts = [Answer(announced), Last(long.leak()), Last(longest.leak())];
        let server = Scripted::start(&acts).await;
        let http = http(&server, serde_json::json!({}));
        let ask = || http.send(Method::GET, "a", None, Bytes::new());
        for _ in 0..2 {
            let error = ask().await.err().unwrap();
            assert!(error.is_retryable() && error.to_string().contains("larger"), "{error}");
        }
        assert_eq!(ask().await.unwrap().body.len(), MAX_ANSWER_BYTES);
        assert_eq!(server.connections(), 3, "one was used again with an answer on its way");
    }
}
