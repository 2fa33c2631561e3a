//! Connections to one server, which are kept for the next request.

use std::error::Error;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::Instant;
use tower_service::Service;

use crate::connection::{Connection, Question, Unanswered};

/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(60);

/// How often connections are looked for that nobody uses, and that the server has closed.
const SWEEP: Duration = Duration::from_secs(10);

type Connector = HttpsConnector<HttpConnector>;
type Io = <Connector as Service<Uri>>::Response;

/// The connections to one server: as many as there are requests under way, and some that are idle.
pub(crate) struct Pool {
    connector: Connector,
    server: Uri,
    idle: Arc<Idle>,
}

struct Idle {
    most: usize,
    state: Mutex<State>,
}

struct State {
    /// The one that was used last at the end.
    connections: Vec<(Instant, Connection<Io>)>,
    /// Whether there is a task that looks after them.
    is_swept: bool,
}

impl Pool {
    /// Connections to `server`, of which up to `most` are kept while nobody uses them.
    pub(crate) fn new(connector: Connector, server: Uri, most: usize) -> Self {
        let state = Mutex::new(State { connections: Vec::new(), is_swept: false });
        Self { connector, server, idle: Arc::new(Idle { most, state }) }
    }

    /// What `take` makes of the answer. A request is made again if the server has closed an idle connection
    /// before anything was sent over it, and never else.
    pub(crate) async fn ask<T, F>(
        &self,
        mut question: Question,
        take: impl Fn(Response<Incoming>) -> F,
    ) -> Result<T, Box<dyn Error + Send + Sync>>
    where
        F: Future<Output = T>,
    {
        while let Some(connection) = self.idle.pop() {
            match connection.ask(question, &take).await {
                Ok((taken, connection)) => {
                    self.idle.keep(connection);
                    return Ok(taken);
                }
                Err(Unanswered { unsent: Some(unsent), .. }) => question = *unsent,
                Err(Unanswered { cause, .. }) => return Err(cause.into()),
            }
        }
        let connection = self.connect().await?;
        let (taken, connection) =
            connection.ask(question, take).await.map_err(|unanswered| unanswered.cause)?;
        self.idle.keep(connection);
        Ok(taken)
    }

    async fn connect(&self) -> Result<Connection<Io>, Box<dyn Error + Send + Sync>> {
        let mut connector = self.connector.clone();
        poll_fn(|context| connector.poll_ready(context)).await?;
        let io = connector.call(self.server.clone()).await?;
        // Large, and needed for a moment.
        Ok(Box::pin(Connection::over(io)).await?)
    }
}

impl Idle {
    fn pop(&self) -> Option<Connection<Io>> {
        let (since, connection) = self.state().connections.pop()?;
        // What lies below is older still.
        (since.elapsed() < IDLE).then_some(connection)
    }

    fn keep(self: &Arc<Self>, connection: Option<Connection<Io>>) {
        let Some(connection) = connection else { return };
        let mut state = self.state();
        if state.connections.len() >= self.most {
            return;
        }
        state.connections.push((Instant::now(), connection));
        if !std::mem::replace(&mut state.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what is idle for long, or closed by the server, until there is nothing left.
async fn sweep(idle: Weak<Idle>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut state = idle.state();
        state
            .connections
            .retain_mut(|(since, connection)| since.elapsed() < IDLE && connection.is_idle());
        if state.connections.is_empty() {
            state.is_swept = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use http_body_util::{BodyExt, Full};
    use hyper::Request;
    use hyper_rustls::HttpsConnectorBuilder;

    use super::*;
    use crate::scripted::Act::{Answer, Last, Silence};
    use crate::scripted::{GOOD, Scripted};
    use crate::tls;

    fn pool(server: &Scripted, most: usize) -> Pool {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(None).unwrap())
            .https_or_http()
            .enable_http1()
            .build();
        Pool::new(connector, format!("http://{}", server.address).parse().unwrap(), most)
    }

    async fn ask(pool: &Pool) -> Result<(), Box<dyn Error + Send + Sync>> {
        let question = Request::get("/").header("host", "a").body(Full::default()).unwrap();
        let body = |answer: Response<Incoming>| answer.into_body().collect();
        let body = pool.ask(question, body).await??;
        assert_eq!(body.to_bytes(), "ok");
        Ok(())
    }

    fn idle(pool: &Pool) -> usize {
        pool.idle.state().connections.len()
    }

    #[tokio::test]
    async fn one_request_after_the_other_is_made_over_one_connection() {
        let server = Scripted::start(&[Answer(GOOD)]).await;
        let pool = pool(&server, 1);
        for _ in 0..3 {
            ask(&pool).await.unwrap();
        }
        assert_eq!((server.connections(), server.requests().len()), (1, 3));
    }

    #[tokio::test]
    async fn there_are_as_many_connections_as_requests_and_no_more_are_kept_than_may_be() {
        let server = Scripted::start(&[Answer(GOOD)]).await;
        let pool = pool(&server, 2);
        for outcome in join_all((0..5).map(|_| ask(&pool))).await {
            outcome.unwrap();
        }
        assert_eq!((server.connections(), idle(&pool)), (5, 2));
        server.open(2).await;
        for outcome in join_all((0..2).map(|_| ask(&pool))).await {
            outcome.unwrap();
        }
        assert_eq!(server.connections(), 5);
    }

    #[tokio::test]
    async fn a_connection_that_the_server_has_closed_is_not_used() {
        let server = Scripted::start(&[Last(GOOD)]).await;
        let pool = pool(&server, 2);
        for outcome in join_all((0..2).map(|_| ask(&pool))).await {
            outcome.unwrap();
        }
        server.open(0).await;
        // The runtime hears of it.
        tokio::time::sleep(Duration::from_millis(1)).await;
        ask(&pool).await.unwrap();
        assert_eq!((server.connections(), server.requests().len()), (3, 3));
    }

    #[tokio::test]
    async fn what_has_been_sent_is_not_sent_again() {
        for half in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no"] {
            // Over a new connection, and over one that was used before.
            for before in 0..2 {
                let mut acts = vec![Answer(GOOD); before];
                acts.extend([Last(half), Answer(GOOD)]);
                let server = Scripted::start(&acts).await;
                let pool = pool(&server, 1);
                for _ in 0..before {
                    ask(&pool).await.unwrap();
                }
                ask(&pool).await.unwrap_err();
                assert_eq!((server.requests().len(), idle(&pool)), (before + 1, 0), "{half}");
                ask(&pool).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn who_has_gone_leaves_no_connection_behind() {
        let server = Scripted::start(&[Answer(GOOD), Silence, Answer(GOOD)]).await;
        let pool = Arc::new(pool(&server, 1));
        ask(&pool).await.unwrap();
        let asking = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { ask(&pool).await.is_ok() }
        });
        server.asked(2).await;
        asking.abort();
        assert!(asking.await.err().unwrap().is_cancelled());
        server.open(0).await;
        ask(&pool).await.unwrap();
        assert_eq!((server.connections(), server.requests().len()), (2, 3));
    }

    #[tokio::test]
    async fn what_nobody_uses_is_closed_after_a_while() {
        let server = Scripted::start(&[Answer(GOOD)]).await;
        let pool = pool(&server, 1);
        ask(&pool).await.unwrap();
        tokio::time::pause();
        tokio::time::sleep(IDLE - SWEEP).await;
        assert_eq!(idle(&pool), 1);
        tokio::time::sleep(SWEEP * 2).await;
        assert_eq!(idle(&pool), 0);
        server.open(0).await;
        tokio::time::resume();
        // It is looked after again.
        ask(&pool).await.unwrap();
        assert!(pool.idle.state().is_swept);
    }

    #[tokio::test]
    async fn what_the_server_has_closed_is_not_kept() {
        let server = Scripted::start(&[Last(GOOD)]).await;
        let pool = pool(&server, 1);
        ask(&pool).await.unwrap();
        server.open(0).await;
        tokio::time::pause();
        tokio::time::sleep(SWEEP * 2).await;
        assert_eq!(idle(&pool), 0);
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_an_error() {
        let server = Scripted::start(&[Silence]).await;
        let mut pool = pool(&server, 1);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        pool.server = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        ask(&pool).await.unwrap_err();
    }
}
