//! As much of HTTP/1.1 as a test's server needs: one request, one answer.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// A request with all its bytes.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method, for example `POST`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The head: request line and fields, as they were sent.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer to be sent.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// Reads a request; `None` where the client has nothing more to ask.
    pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if from.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut body = bytes.split_off(end);
        let len = field(&head, "content-length").map_or(0, |len| len.parse().expect("a length"));
        while body.len() < len {
            if from.read_buf(&mut body).await? == 0 {
                return Ok(None);
            }
        }
        let mut line = head.split(' ').map(str::to_owned);
        let (method, path) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
        Ok(Some(Self { method, path, head, body }))
    }

    /// A field of the head.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// Whether `part` is in `METHOD path`, or in the operation that AWS' protocol names in a field.
    pub(crate) fn asks_for(&self, part: &str) -> bool {
        format!("{} {}", self.method, self.path).contains(part)
            || self.field("x-amz-target").is_some_and(|target| target.contains(part))
    }

    /// The request for a server that is to end the connection with its answer.
    pub(crate) fn to_last_bytes(&self) -> Vec<u8> {
        let kept = self
            .head
            .trim_end()
            .lines()
            .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        let mut bytes = kept.collect::<Vec<_>>().join("\r\n").into_bytes();
        bytes.extend(b"\r\nConnection: close\r\n\r\n");
        bytes.extend(&self.body);
        bytes
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

impl Answer {
    /// An answer with this status and body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, fields: Vec::new(), body: body.into() }
    }

    /// The same with another field in its head.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut head =
            format!("HTTP/1.1 {} Told\r\nContent-Type: application/json\r\n", self.status);
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n", self.body.len());
        let mut bytes = head.into_bytes();
        bytes.extend(&self.body);
        bytes
    }
}
