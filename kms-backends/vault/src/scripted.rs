//! A server for tests that answers what it is told to, and says which connections and requests it got.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What happens to a request.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// This is sent, and the next request is waited for.
    Answer(&'static str),
    /// This is sent, and the connection closed.
    Last(&'static str),
    /// Nothing is sent as long as the connection is open.
    Silence,
}

/// Ends with the test's runtime.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    acts: Vec<Act>,
    connections: AtomicUsize,
    open: watch::Sender<usize>,
    requests: Mutex<Vec<String>>,
}

impl Scripted {
    /// The first request gets the first of `acts` and so on, all that follow the last.
    pub(crate) async fn start(acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            acts: acts.to_vec(),
            connections: AtomicUsize::new(0),
            open: watch::Sender::new(0),
            requests: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::Relaxed);
                serving.open.send_modify(|open| *open += 1);
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        Self { address, shared }
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Waits until this many requests have come.
    pub(crate) async fn asked(&self, number: usize) {
        while self.requests().len() < number {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until this many connections are open.
    pub(crate) async fn open(&self, number: usize) {
        self.shared.open.subscribe().wait_for(|open| *open == number).await.unwrap();
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        while let Some(act) = self.request(&mut stream).await {
            let (Act::Answer(text) | Act::Last(text)) = act else { continue };
            if stream.write_all(text.as_bytes()).await.is_err() || matches!(act, Act::Last(_)) {
                break;
            }
        }
        drop(stream);
        self.open.send_modify(|open| *open -= 1);
    }

    /// Reads a request without a body, and says what happens to it. `None` if the client has gone.
    async fn request(&self, stream: &mut TcpStream) -> Option<Act> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let mut requests = self.requests.lock().unwrap();
        let act = self.acts[requests.len().min(self.acts.len() - 1)];
        requests.push(String::from_utf8(head).unwrap());
        Some(act)
    }
}
