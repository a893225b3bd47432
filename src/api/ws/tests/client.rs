//! A client over a pipe: it sends what it is told to, right or wrong, and reads frames.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

/// What the server sent.
#[derive(Debug, PartialEq)]
pub(super) enum Got {
    Text(Value),
    Ping,
    Pong(Vec<u8>),
    Close(u16),
    End,
}

pub(super) struct Client {
    pub(super) pipe: DuplexStream,
}

pub(super) const CONTINUE: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// A frame as a client has to send it, with a mask that changes nothing.
pub(super) fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
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
    out.extend([0; 4]);
    out.extend(payload);
    out
}

impl Client {
    pub(super) fn new(pipe: DuplexStream) -> Self {
        Self { pipe }
    }

    /// A server that has gone takes nothing.
    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        self.pipe.write_all(bytes).await.ok();
    }

    pub(super) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.raw(&frame(true, opcode, payload)).await;
    }

    pub(super) async fn say(&mut self, message: &Value) {
        self.send(TEXT, message.to_string().as_bytes()).await;
    }

    pub(super) async fn next(&mut self) -> Got {
        let Ok(first) = self.pipe.read_u8().await else {
            return Got::End;
        };
        let length = match self.pipe.read_u8().await.unwrap() {
            126 => self.pipe.read_u16().await.unwrap().into(),
            127 => self.pipe.read_u64().await.unwrap(),
            length => length.into(),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.pipe.read_exact(&mut payload).await.unwrap();
        match first {
            0x81 => Got::Text(serde_json::from_slice(&payload).unwrap()),
            0x88 => Got::Close(u16::from_be_bytes([payload[0], payload[1]])),
            0x89 => Got::Ping,
            0x8a => Got::Pong(payload),
            other => panic!("{other:x}"),
        }
    }

    /// The number of the next event.
    pub(super) async fn seq(&mut self) -> u64 {
        let Got::Text(event) = self.next().await else {
            panic!("an event");
        };
        let id = event["id"].as_str().unwrap_or_else(|| panic!("{event}"));
        id.strip_prefix("abcdefghij-").unwrap().parse().unwrap()
    }

    /// The next answer to a message.
    pub(super) async fn answer(&mut self) -> Value {
        loop {
            match self.next().await {
                Got::Text(text) if text.get("type").is_some() => return text,
                Got::Text(_) | Got::Ping | Got::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads to the close, answers it, and reads the end. Gives the code.
    pub(super) async fn closed(&mut self) -> u16 {
        loop {
            match self.next().await {
                Got::Close(code) => {
                    self.send(CLOSE, &code.to_be_bytes()).await;
                    assert_eq!(self.next().await, Got::End);
                    return code;
                }
                Got::End => panic!("ended without a close"),
                _ => {}
            }
        }
    }
}
