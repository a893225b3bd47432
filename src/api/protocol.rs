//! Which HTTP a new connection speaks, found without reading from it.
//!
//! hyper-util's `auto` server reads the start of the connection and hands it on as a first, short read.
//! hyper then doubles its read buffer: 8 KiB more for every open stream, most of what an idle one
//! costs. Peeking leaves the bytes where they are.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// The version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// The first bytes every HTTP/2 client sends, as far as no method we serve begins like this.
const HTTP2: &[u8] = b"PRI";

/// Waits for the first bytes of a connection, no longer than `limit`.
///
/// A client that sends fewer than three bytes at first is taken for HTTP/1.1: no real HTTP/2 client
/// cuts the start of its connection there.
pub(crate) async fn peek(socket: &TcpStream, limit: Duration) -> io::Result<Version> {
    let mut start = [0; HTTP2.len()];
    let count = timeout(limit, socket.peek(&mut start)).await??;
    Ok(if start.get(..count) == Some(HTTP2) {
        Version::Http2
    } else {
        Version::Http1
    })
}

/// How a request for a probe begins. `/healthz` is in it.
const PROBES: [&[u8]; 4] = [
    b"GET /health",
    b"GET /ready",
    b"HEAD /health",
    b"HEAD /ready",
];

/// Whether the first request of a connection is for a probe, as far as one look at it tells.
pub(crate) async fn is_probe(socket: &TcpStream, limit: Duration) -> bool {
    let mut start = [0; 16];
    let Ok(Ok(count)) = timeout(limit, socket.peek(&mut start)).await else {
        return false;
    };
    let start = start.get(..count).unwrap_or_default();
    PROBES.iter().any(|probe| start.starts_with(probe))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn the_version_is_seen_and_nothing_is_taken_away() {
        for (start, version) in [
            ("PRI * HTTP/2.0\r\n", Version::Http2),
            ("GET / HTTP/1.1\r\n", Version::Http1),
            ("POST / HTTP/1.1\r\n", Version::Http1),
            ("P", Version::Http1),
        ] {
            let (mut client, mut server) = pair().await;
            client.write_all(start.as_bytes()).await.unwrap();
            assert_eq!(peek(&server, LIMIT).await.unwrap(), version, "{start}");
            drop(client);
            let mut got = String::new();
            server.read_to_string(&mut got).await.unwrap();
            assert_eq!(got, start);
        }
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_is_not_waited_for_beyond_the_limit() {
        let (_client, server) = pair().await;
        let error = peek(&server, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
