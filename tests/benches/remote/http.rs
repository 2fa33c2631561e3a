//! The least that a plain loop needs of HTTP: one connection, one request after the other.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

/// A connection that stays open.
pub struct Connection {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    head: String,
}

impl Connection {
    /// A connection for requests like `POST /path`, all with these fields, each ended by `\r\n`.
    pub fn open(address: SocketAddr, line: &str, fields: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let answers = BufReader::new(stream.try_clone().unwrap());
        let head = format!("{line} HTTP/1.1\r\nHost: {address}\r\n{fields}");
        Self { stream, answers, head }
    }

    /// Sends `body` and reads the JSON of the answer.
    pub fn ask(&mut self, body: &str) -> Value {
        let head = &self.head;
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut len = 0;
        loop {
            let mut line = String::new();
            self.answers.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                len = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; len];
        self.answers.read_exact(&mut answer).unwrap();
        serde_json::from_slice(&answer).unwrap()
    }
}
