//! A WebSocket of a few lines: a test sees and sends exactly what is on the wire, every wait with a deadline.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::TEST_TIMEOUT;
use super::sse::Event;

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// What a server sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Received {
    Event(Event),
    /// An answer to a message: `ack` or `error`.
    Answer(Value),
    Ping,
    Pong(Vec<u8>),
    Close(u16, String),
    /// The end of the connection.
    End,
}

pub(crate) struct Socket {
    wire: BufReader<TcpStream>,
    pub(crate) status: u16,
    pub(crate) head: String,
    /// What came after the head, of an answer that is no switch.
    pub(crate) body: String,
}

/// A frame of a client: masked, whole unless `fin` is false.
pub(crate) fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut out = vec![(u8::from(fin) << 7) | opcode];
    match payload.len() {
        length @ ..126 => out.push(0x80 + u8::try_from(length).unwrap()),
        length @ ..=0xffff => {
            out.push(0x80 + 126);
            out.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            out.push(0x80 + 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    out.extend(masked.map(|(byte, mask)| byte ^ mask));
    out
}

// === impl Socket ===

impl Socket {
    /// Asks for a WebSocket. The answer may be another.
    pub(crate) fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut socket = TcpStream::connect_timeout(&address, TEST_TIMEOUT).unwrap();
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        request.push_str("\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let mut socket = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(socket.read_line(&mut head).unwrap(), 0, "no answer: {head}");
        }
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = String::new();
        if status == 101 {
            // The one that RFC 6455 has for this key.
            assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        } else {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let mut bytes = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            socket.read_exact(&mut bytes).unwrap();
            body = String::from_utf8(bytes).unwrap();
        }
        Self {
            wire: socket,
            status,
            head,
            body,
        }
    }

    pub(crate) fn raw(&self, bytes: &[u8]) {
        // A server that has closed takes nothing more.
        self.wire.get_ref().write_all(bytes).ok();
    }

    pub(crate) fn send(&self, opcode: u8, payload: &[u8]) {
        self.raw(&frame(true, opcode, payload));
    }

    pub(crate) fn say(&self, message: &Value) {
        self.send(TEXT, message.to_string().as_bytes());
    }

    pub(crate) fn next(&mut self) -> Received {
        let mut head = [0; 2];
        if self.wire.read_exact(&mut head).is_err() {
            return Received::End;
        }
        let [first, length] = head;
        assert_eq!(first & 0xf0, 0x80, "whole frames without extensions");
        let mut more = [0; 8];
        let bytes_of_length = match length {
            126 => 2,
            127 => 8,
            _ => {
                assert!(length < 126, "a server does not mask");
                more[7] = length;
                0
            }
        };
        // A proxy may cut anywhere.
        let place = more.get_mut(8 - bytes_of_length..).unwrap();
        if self.wire.read_exact(place).is_err() {
            return Received::End;
        }
        let mut payload = vec![0; usize::try_from(u64::from_be_bytes(more)).unwrap()];
        if self.wire.read_exact(&mut payload).is_err() {
            return Received::End;
        }
        match first & 0xf {
            TEXT => text(&payload),
            CLOSE => {
                let code = payload.split_at(2);
                let number = u16::from_be_bytes(code.0.try_into().unwrap());
                Received::Close(number, String::from_utf8(code.1.to_vec()).unwrap())
            }
            PING => Received::Ping,
            PONG => Received::Pong(payload),
            other => panic!("opcode {other}"),
        }
    }

    /// The next event of the log or gap.
    pub(crate) fn event(&mut self) -> Event {
        loop {
            match self.next() {
                Received::Event(event) if event.kind != "heartbeat" => return event,
                Received::Event(_) | Received::Ping => {}
                other => panic!("no event: {other:?}"),
            }
        }
    }

    /// The answer to a message; events before it are passed.
    pub(crate) fn answer(&mut self) -> Value {
        loop {
            match self.next() {
                Received::Answer(answer) => return answer,
                Received::Event(_) | Received::Ping => {}
                other => panic!("no answer: {other:?}"),
            }
        }
    }

    /// The close that ends it, answered; what came before is passed.
    pub(crate) fn closed(&mut self) -> u16 {
        loop {
            match self.next() {
                Received::Close(code, _) => {
                    self.send(CLOSE, &code.to_be_bytes());
                    assert_eq!(self.next(), Received::End);
                    return code;
                }
                Received::End => panic!("ended without a close"),
                _ => {}
            }
        }
    }
}

fn text(payload: &[u8]) -> Received {
    let message: Value = serde_json::from_slice(payload).unwrap();
    if message.get("type").is_some() {
        return Received::Answer(message);
    }
    assert_eq!(message.as_object().unwrap().len(), 3, "{message}");
    Received::Event(Event {
        id: message["id"].as_str().map(str::to_owned),
        kind: message["event"].as_str().unwrap().to_owned(),
        data: message["data"].clone(),
    })
}
