//! Over HTTP/2: an extended `CONNECT` (RFC 8441), by hand.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::*;
use crate::support::TEST_TIMEOUT;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;

struct Client(TcpStream);

/// A header that is in no table, neither Huffman nor longer than 126 bytes.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        out.push(u8::try_from(text.len()).unwrap());
        out.extend(text.as_bytes());
    }
    out
}

impl Client {
    fn connect(sidecar: &Sidecar) -> Self {
        let mut socket = TcpStream::connect(sidecar.address).unwrap();
        socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        socket
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        let mut client = Self(socket);
        client.send(SETTINGS, 0, 0, b"");
        client
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length.get(1..).unwrap().to_vec();
        frame.extend([kind, flags, 0, 0, 0, stream]);
        frame.extend(payload);
        self.0.write_all(&frame).unwrap();
    }

    /// The next frame of this kind.
    fn next(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).unwrap();
            if head[3] == kind {
                return payload;
            }
        }
    }

    fn ask(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let block: Vec<u8> = headers
            .iter()
            .flat_map(|(name, value)| literal(name, value))
            .collect();
        self.send(HEADERS, 4, 1, &block);
        self.next(HEADERS)
    }
}

const CONNECT: [(&str, &str); 6] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "127.0.0.1"),
    ("sec-websocket-version", "13"),
];

/// `:status: 200` and others of the static table.
const OK: u8 = 0x88;

#[test]
fn a_socket_over_http2_tells_the_events_and_takes_messages() {
    let sidecar = running(Options::stub());
    let mut client = Client::connect(&sidecar);
    let settings = client.next(SETTINGS);
    let allowed = settings.chunks(6).any(|one| one == [0, 8, 0, 0, 0, 1]);
    assert!(allowed, "the server says that it takes such a CONNECT");
    assert_eq!(client.ask(&CONNECT).first(), Some(&OK));
    let first = String::from_utf8_lossy(&client.next(DATA)).into_owned();
    assert!(first.contains(r#""event":"status""#), "{first}");
    client.send(
        DATA,
        0,
        1,
        &frame(true, TEXT, br#"{"type":"cancel","ref":"x"}"#),
    );
    let mut all = String::new();
    while !(all.contains(r#""type":"ack""#) && all.contains("cancelled")) {
        all.push_str(&String::from_utf8_lossy(&client.next(DATA)));
    }
    assert_eq!(figure(&sidecar, OPEN), 1);
    drop(client);
    all_gone(&sidecar);
}

#[test]
fn what_is_no_such_connect_is_refused() {
    let sidecar = running(Options::stub());
    for (name, value) in [
        (":protocol", "tcp"),
        ("sec-websocket-version", "8"),
        (":path", "/sessions/nope/ws"),
    ] {
        let mut headers = CONNECT;
        for header in headers.iter_mut().filter(|header| header.0 == name) {
            header.1 = value;
        }
        let answer = Client::connect(&sidecar).ask(&headers);
        assert_ne!(answer.first(), Some(&OK), "{name}: {value}");
    }
    let get: Vec<_> = CONNECT
        .into_iter()
        .filter(|(name, _)| *name != ":protocol")
        .map(|(name, value)| (name, if name == ":method" { "GET" } else { value }))
        .collect();
    assert_ne!(Client::connect(&sidecar).ask(&get).first(), Some(&OK));
    let foreign: Vec<_> = CONNECT
        .into_iter()
        .chain([("origin", "https://evil.example")])
        .collect();
    assert_ne!(Client::connect(&sidecar).ask(&foreign).first(), Some(&OK));
    assert_eq!(figure(&sidecar, OPEN), 0);
}
