//! A small HTTP/1.1 server for a few pages that are only read. Whoever is slow, or many, costs others
//! nothing: connections are few, short, and closed after one answer.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How many connections there may be at once. More wait until one has ended.
const CONNECTIONS: usize = 32;

/// How long a client may take to send its request.
const REQUEST: Duration = Duration::from_secs(2);

/// How long a connection may last in all.
const CONNECTION: Duration = Duration::from_secs(10);

/// The largest request, in bytes; hyper's smallest bound.
const REQUEST_BYTES: usize = 8192;

/// How much is read, unseen, of what a client still sends once it has its answer, in bytes.
const LEFT_OVER_BYTES: u64 = 64 * 1024;

/// How long to wait when a connection can't be accepted, as a rule for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A page.
pub(crate) struct Page {
    good: bool,
    content_type: &'static str,
    text: String,
}

impl Page {
    /// A page that says that all is well (200), or that it isn't (503).
    pub(crate) fn new(good: bool, content_type: &'static str, text: String) -> Self {
        Self { good, content_type, text }
    }

    #[cfg(test)]
    pub(crate) fn is_good(&self) -> bool {
        self.good
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Serves the pages that `page` gives for a path, until it is dropped, and the connections with it.
pub(crate) async fn serve<P, F>(listener: &TcpListener, page: P)
where
    P: Fn(String) -> F + Clone + Send + 'static,
    F: Future<Output = Option<Page>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, page.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection<P, F>(mut stream: TcpStream, page: P)
where
    P: Fn(String) -> F + Clone + Send + 'static,
    F: Future<Output = Option<Page>> + Send + 'static,
{
    let answer = service_fn(move |request| {
        let page = page.clone();
        async move { Ok::<_, Infallible>(answer(&request, page).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .keep_alive(false)
        .max_buf_size(REQUEST_BYTES)
        .serve_connection(TokioIo::new(&mut stream), answer);
    match tokio::time::timeout(CONNECTION, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection failed"),
        Err(_) => return tracing::debug!("a connection took longer than {CONNECTION:?}"),
    }
    // Closing while something is unread resets the connection, and the client may lose its answer.
    let rest = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LEFT_OVER_BYTES), &mut tokio::io::sink()).await
    };
    drop(tokio::time::timeout(REQUEST, rest).await);
}

async fn answer<P, F>(request: &Request<Incoming>, page: P) -> Response<Full<Bytes>>
where
    P: Fn(String) -> F,
    F: Future<Output = Option<Page>>,
{
    // Hyper leaves the body out where only the head is asked for.
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match page(request.uri().path().to_owned()).await {
        Some(Page { good, content_type, text }) => {
            let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            response(status, content_type, text.into())
        }
        None => plain(StatusCode::NOT_FOUND, "there are /metrics, /health and /ready\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn response(status: StatusCode, content_type: &'static str, text: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
