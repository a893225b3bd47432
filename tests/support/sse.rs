//! An event stream read as a browser reads it, a block at a time, every wait with a deadline.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::Value;

use super::TEST_TIMEOUT;

/// One event that a client would be given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

/// An answer that is being read.
pub(crate) struct Stream {
    socket: BufReader<TcpStream>,
    pub(crate) status: u16,
    pub(crate) head: String,
    /// Decoded from chunks and not parsed yet.
    text: Vec<u8>,
    ended: bool,
}

// === impl Event ===

impl Event {
    /// Whether a turn ends with it.
    pub(crate) fn is_terminal(&self) -> bool {
        match self.kind.as_str() {
            "complete" => true,
            "error" => self.data["fatal"] == true,
            "status" => self.data["status"] == "cancelled",
            _ => false,
        }
    }

    /// The number in its id.
    pub(crate) fn seq(&self) -> u64 {
        let id = self.id.as_deref().unwrap_or_default();
        let (_, seq) = id.split_once('-').unwrap_or_default();
        seq.parse()
            .unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn parse(block: &str) -> Option<Self> {
        let (mut id, mut kind, mut data) = (None, String::from("message"), None);
        for line in block.lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("id", value) => id = Some(value.to_owned()),
                ("event", value) => value.clone_into(&mut kind),
                ("data", value) => {
                    assert!(data.is_none(), "data takes one line: {block}");
                    data = Some(serde_json::from_str(value).unwrap());
                }
                ("" | "retry", _) => {}
                other => panic!("{other:?} is no field of the contract: {block}"),
            }
        }
        data.map(|data| Self { id, kind, data })
    }
}

// === impl Stream ===

impl Stream {
    pub(crate) fn open(
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Self {
        let mut socket = TcpStream::connect_timeout(&address, TEST_TIMEOUT).unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n");
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        write!(request, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let mut socket = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(socket.read_line(&mut head).unwrap(), 0, "no answer: {head}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            socket,
            status,
            head,
            text: Vec::new(),
            ended: status != 200 && status != 201,
        }
    }

    /// The next event, or `None` at a clean end of the body.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let block = String::from_utf8(self.block()?).unwrap();
            if let Some(event) = Event::parse(&block) {
                return Some(event);
            }
        }
    }

    /// The next block as it came, or `None` at a clean end of the body.
    pub(crate) fn block(&mut self) -> Option<Vec<u8>> {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            if let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                return Some(self.text.drain(..end + 2).collect());
            }
            if self.ended {
                assert!(self.text.is_empty(), "cut in the middle of an event");
                return None;
            }
            assert!(Instant::now() < deadline, "no event in {TEST_TIMEOUT:?}");
            self.chunk();
        }
    }

    fn chunk(&mut self) {
        let mut line = String::new();
        self.socket.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim(), 16)
            .unwrap_or_else(|_| panic!("the body broke off: {line:?}"));
        let mut chunk = vec![0; size + 2];
        self.socket.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        self.ended = size == 0;
        self.text.extend_from_slice(&chunk);
    }

    /// Everything up to the first event that is looked for, that one included.
    pub(crate) fn until(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut seen = Vec::new();
        loop {
            let Some(event) = self.next() else {
                panic!("the stream ended before {what}: {seen:#?}");
            };
            let found = is_it(&event);
            seen.push(event);
            if found {
                return seen;
            }
        }
    }

    /// Every block up to the clean end, as it came.
    pub(crate) fn blocks(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.block()).collect()
    }

    /// Everything up to the clean end, without heartbeats.
    pub(crate) fn rest(&mut self) -> Vec<Event> {
        let mut seen: Vec<Event> = std::iter::from_fn(|| self.next()).collect();
        seen.retain(|event| event.kind != "heartbeat");
        seen
    }
}
