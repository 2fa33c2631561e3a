//! What stands between a client and a server, or in a server's place, and misbehaves when it is told to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::{Answer, Request};

/// What happens to one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection is closed when the request has begun, which nobody gets to see.
    CutRequest,
    /// The server gets the request and answers, and the connection is closed instead.
    CutAnswer,
    /// Half of the answer comes, and no more.
    HalfAnswer,
    /// The answer comes this much later.
    Delay(Duration),
    /// The answer comes a byte at a time, with a pause before each.
    Drip(Duration),
    /// The server never sees the request; this is the answer.
    Answer(Answer),
    /// The server never sees the request; the answer is so many bytes that are no HTTP.
    Garbage(usize),
}

/// A listener on a loopback port that passes requests on, each on a connection of its own. Ends when it
/// is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    behind: Behind,
    faults: Mutex<VecDeque<(Option<String>, Fault)>>,
    seen: Mutex<Vec<Request>>,
}

/// What is answered instead.
type Alter = Box<dyn Fn(&Request) -> Option<Answer> + Send + Sync>;

/// What gets the requests.
enum Behind {
    Server(SocketAddr),
    Altered(SocketAddr, Alter),
    Function(Box<dyn Fn(&Request) -> Answer + Send + Sync>),
}

impl Proxy {
    /// In front of the server at `address`, which speaks HTTP without TLS.
    pub async fn before(address: SocketAddr) -> Self {
        Self::start(Behind::Server(address)).await
    }

    /// In front of the server at `address`, as [`Proxy::before`]. `alter` says what the client gets instead of
    /// the server's answer, if anything.
    pub async fn altering(
        address: SocketAddr,
        alter: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        Self::start(Behind::Altered(address, Box::new(alter))).await
    }

    /// In a server's place: `answer` says what each request is answered with.
    pub async fn answering(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(Behind::Function(Box::new(answer))).await
    }

    async fn start(behind: Behind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared { behind, faults: Mutex::default(), seen: Mutex::default() });
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        // A client that goes away, or that is cut off, is what the test wants.
                        drop(shared.serve(client).await);
                    });
                }
            }
        });
        Self { address, shared, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as `http://…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has `fault` happen to the next request that nothing else happens to, `times` times.
    pub fn next(&self, fault: Fault, times: usize) {
        let mut faults = self.shared.faults.lock().unwrap();
        faults.extend(std::iter::repeat_n((None, fault), times));
    }

    /// The same for the next requests with `part` in their path, or in the operation that AWS' protocol
    /// names in a field. Others pass.
    pub fn next_at(&self, part: &str, fault: Fault, times: usize) {
        let mut faults = self.shared.faults.lock().unwrap();
        faults.extend(std::iter::repeat_n((Some(part.to_owned()), fault), times));
    }

    /// Nothing happens to requests any more.
    pub fn all_right(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// Every request so far, in order, also those that something happened to.
    #[must_use]
    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests so far had `part` in `METHOD path`, or in the operation that AWS' protocol names
    /// in a field.
    #[must_use]
    pub fn count(&self, part: &str) -> usize {
        let seen = self.shared.seen.lock().unwrap();
        seen.iter().filter(|it| it.asks_for(part)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let Some(request) = Request::read(&mut client).await? else { return Ok(()) };
        self.seen.lock().unwrap().push(request.clone());
        match self.fault(&request) {
            None => client.write_all(&self.answer(&request).await?).await?,
            Some(Fault::CutRequest) => {}
            Some(Fault::CutAnswer) => drop(self.answer(&request).await?),
            Some(Fault::HalfAnswer) => {
                let answer = self.answer(&request).await?;
                client.write_all(&answer[..answer.len() - answer.len() / 4]).await?;
            }
            Some(Fault::Delay(delay)) => {
                let answer = self.answer(&request).await?;
                tokio::time::sleep(delay).await;
                client.write_all(&answer).await?;
            }
            Some(Fault::Drip(pause)) => {
                for byte in self.answer(&request).await? {
                    tokio::time::sleep(pause).await;
                    client.write_all(&[byte]).await?;
                }
            }
            Some(Fault::Answer(answer)) => client.write_all(&answer.to_bytes()).await?,
            Some(Fault::Garbage(len)) => client.write_all(&vec![0xa5; len]).await?,
        }
        client.shutdown().await
    }

    fn fault(&self, request: &Request) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let fits = |part: &Option<String>| part.as_ref().is_none_or(|part| request.asks_for(part));
        let index = faults.iter().position(|(part, _)| fits(part))?;
        faults.remove(index).map(|(_, fault)| fault)
    }

    async fn answer(&self, request: &Request) -> std::io::Result<Vec<u8>> {
        match &self.behind {
            Behind::Function(answer) => Ok(answer(request).to_bytes()),
            Behind::Server(address) => forward(*address, request).await,
            Behind::Altered(address, alter) => {
                let bytes = forward(*address, request).await?;
                Ok(alter(request).map_or(bytes, |answer| answer.to_bytes()))
            }
        }
    }
}

async fn forward(address: SocketAddr, request: &Request) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(address).await?;
    server.write_all(&request.to_last_bytes()).await?;
    let mut bytes = Vec::new();
    server.read_to_end(&mut bytes).await?;
    Ok(bytes)
}
