//! One connection to the server. It has no task of its own: who asks drives it, so that an answer wakes nobody
//! else.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, Write};
use hyper::{Request, Response};
use tokio::task::coop::unconstrained;

/// What is asked.
pub(crate) type Question = Request<Full<Bytes>>;

type Driver<Io> = http1::Connection<Io, Full<Bytes>>;

/// A connection over which one request after the other is made. Nothing happens on it in between.
pub(crate) struct Connection<Io: Read + Write + Unpin> {
    sender: SendRequest<Full<Bytes>>,
    /// `None` at its end.
    driver: Option<Box<Driver<Io>>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) cause: hyper::Error,
    /// The request, if the connection had ended before any of it was sent.
    pub(crate) unsent: Option<Box<Question>>,
}

impl<Io: Read + Write + Unpin> Connection<Io> {
    /// A connection that is open, to be used.
    pub(crate) async fn over(io: Io) -> hyper::Result<Self> {
        let (sender, driver) = http1::Builder::new().handshake(io).await?;
        Ok(Self { sender, driver: Some(Box::new(driver)) })
    }

    /// What `take` makes of the answer, and the connection if it may be used again. `take` waits for nothing
    /// but the answer's body. The connection is closed if this is dropped before.
    pub(crate) async fn ask<T, F>(
        mut self,
        question: Question,
        take: impl FnOnce(Response<Incoming>) -> F,
    ) -> Result<(T, Option<Self>), Unanswered>
    where
        F: Future<Output = T>,
    {
        let answer = self.sender.try_send_request(question);
        let taken = async { Ok::<_, Unanswered>(take(answer.await?).await) };
        let taken = self.driven(taken).await?;
        Ok((taken, self.is_idle().then_some(self)))
    }

    /// Whether a request may be made now. Forgets who has asked, who would be woken otherwise.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.sender.is_ready()
    }

    /// What `work` gives, which waits for this connection alone.
    async fn driven<T>(&mut self, work: impl Future<Output = T>) -> T {
        // Unconstrained, because it is polled for nobody: nobody would hear that it is to be polled again.
        let mut work = pin!(unconstrained(work));
        poll_fn(|context| {
            self.drive(context);
            work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    /// Moves the connection on. At its end it is dropped, whereupon who waits for it gets an error.
    fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && Pin::new(driver).poll(context).is_ready()
        {
            self.driver = None;
        }
    }
}

impl From<TrySendError<Question>> for Unanswered {
    fn from(mut error: TrySendError<Question>) -> Self {
        let unsent = error.take_message().map(Box::new);
        Self { cause: error.into_error(), unsent }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    type Answered = hyper::Result<Bytes>;

    /// A connection, and its other side.
    async fn pair(buffer: usize) -> (Connection<TokioIo<DuplexStream>>, DuplexStream) {
        let (here, there) = tokio::io::duplex(buffer);
        (Connection::over(TokioIo::new(here)).await.unwrap(), there)
    }

    fn question(body: &'static str) -> Question {
        Request::post("/").header("host", "a").body(Full::from(body)).unwrap()
    }

    async fn body(answer: Response<Incoming>) -> Answered {
        answer.into_body().collect().await.map(|body| body.to_bytes())
    }

    /// Reads a request's head, and sends this.
    async fn answer(there: &mut DuplexStream, text: &str) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(there.read_u8().await.unwrap());
        }
        there.write_all(text.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn it_may_be_used_again_when_the_server_says_so() {
        for (text, again) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
            (
                "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                true,
            ),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", false),
            ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more", false),
        ] {
            let (here, mut there) = pair(1000).await;
            let (asked, ()) = tokio::join!(here.ask(question(""), body), answer(&mut there, text));
            let (answered, here) = asked.unwrap();
            assert_eq!(answered.unwrap(), "ok", "{text}");
            assert_eq!(here.is_some(), again, "{text}");
            let Some(here) = here else { continue };
            let (asked, ()) = tokio::join!(here.ask(question(""), body), answer(&mut there, text));
            assert_eq!(asked.unwrap().0.unwrap(), "ok", "{text}");
        }
    }

    #[tokio::test]
    async fn an_answer_comes_in_as_many_parts_as_it_likes() {
        let (here, mut there) = pair(3).await;
        let long = "x".repeat(10_000);
        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n{long}");
        let (asked, ()) = tokio::join!(here.ask(question(""), body), answer(&mut there, &text));
        let (answered, here) = asked.unwrap();
        assert_eq!(answered.unwrap(), long);
        assert!(here.is_some());
    }

    #[tokio::test]
    async fn a_server_that_dies_is_noticed_at_any_time() {
        // Before the request, which can be made elsewhere then.
        let (here, there) = pair(1000).await;
        drop(there);
        let error = here.ask(question("body"), body).await.err().unwrap();
        assert_eq!(error.unsent.unwrap().uri(), "/");
        // When it has got some of it.
        let (here, mut there) = pair(1000).await;
        let dies = async move { there.read_u8().await.unwrap() };
        let (asked, _) = tokio::join!(here.ask(question(""), body), dies);
        assert!(asked.err().unwrap().unsent.is_none());
        // In the midst of the answer, its head or its body.
        for (text, has_head) in
            [("HTTP/1.1 200", false), ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no", true)]
        {
            let (here, mut there) = pair(1000).await;
            let dies = async move { answer(&mut there, text).await };
            match tokio::join!(here.ask(question(""), body), dies).0 {
                Ok((answered, again)) => {
                    assert!(has_head && answered.is_err() && again.is_none(), "{text}");
                }
                Err(error) => assert!(!has_head && error.unsent.is_none(), "{text}"),
            }
        }
    }

    #[tokio::test]
    async fn what_the_server_sends_unasked_is_no_answer() {
        let (here, mut there) = pair(1000).await;
        there.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        let error = here.ask(question(""), body).await.err().unwrap();
        assert!(error.unsent.is_some());
    }

    #[tokio::test]
    async fn one_with_a_request_half_sent_is_not_used_again() {
        let (here, mut there) = pair(100).await;
        let refusal = "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nok";
        let long: &'static str = "x".repeat(10_000).leak();
        let asked = here.ask(question(long), body);
        let (asked, ()) = tokio::join!(asked, answer(&mut there, refusal));
        let (answered, again) = asked.unwrap();
        assert!(answered.unwrap() == "ok" && again.is_none());
    }

    #[tokio::test]
    async fn who_stops_asking_closes_it() {
        let (here, mut there) = pair(1000).await;
        let asking = tokio::spawn(here.ask(question(""), body));
        answer(&mut there, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await;
        asking.abort();
        assert!(asking.await.err().unwrap().is_cancelled());
        assert_eq!(there.read(&mut [0]).await.unwrap(), 0);
    }
}
