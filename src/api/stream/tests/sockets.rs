//! Many readers over real sockets, and readers that stop reading.

use reqwest::Client;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::server::{Server, read_until_begun};
use super::*;
use crate::api::write_timeout::WRITE_TIMEOUT;
use crate::session::log::SseReader;

const EVENTS: u64 = 30_000;

fn http1() -> Client {
    builder().http1_only().build().unwrap()
}

fn h2c() -> Client {
    builder().http2_prior_knowledge().build().unwrap()
}

fn builder() -> reqwest::ClientBuilder {
    // The client wants one even for plain HTTP. Fails if another test of this process was first.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().no_proxy()
}

/// Reads until the session has no more, coming back with its last id after each end. Gives the numbers
/// of all events seen and how many were named as missed.
async fn read_all(client: Client, server: SocketUrl) -> (Vec<u64>, u64) {
    let (mut seqs, mut missed) = (Vec::new(), 0);
    // As the answer to the POST gives it: the place before the first event.
    let mut sse = SseReader::with_cursor("abcdefghij-0");
    loop {
        let request = client
            .get(&server.0)
            .header("last-event-id", sse.last_event_id.clone());
        let mut response = request.send().await.unwrap();
        if response.status() == StatusCode::NO_CONTENT {
            return (seqs, missed);
        }
        while let Some(bytes) = response.chunk().await.unwrap() {
            for event in sse.read(&bytes) {
                if event.kind == "gap" {
                    let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
                    missed += data["missed"].as_u64().unwrap();
                } else {
                    seqs.push(event.id.rsplit_once('-').unwrap().1.parse().unwrap());
                }
            }
        }
        assert!(sse.is_between_blocks(), "a body ends between blocks");
    }
}

struct SocketUrl(String);

async fn everything_arrives(client: fn() -> Client) {
    let log = log_with(Limits::default());
    let server = Server::start(&log, WRITE_TIMEOUT).await;
    let tracker = TaskTracker::new();
    let client = client();
    let url = || SocketUrl(format!("http://{}/stream", server.addr));
    let readers: Vec<_> = (0..10)
        .map(|_| tracker.spawn(read_all(client.clone(), url())))
        .collect();
    let writer = tracker.spawn_blocking(move || {
        for _ in 1..EVENTS {
            log.append("output", r#"{"type":"stdout","text":"Grüße, 世界 🌍"}"#);
        }
        log.end_turn("complete", "{}");
    });
    for reader in readers {
        let (seqs, missed) = timeout(server.deadline, reader)
            .await
            .expect("no reader hangs")
            .unwrap();
        assert!(seqs.is_sorted_by(|a, b| a < b), "in order, none twice");
        assert_eq!(
            seqs.len() as u64 + missed,
            EVENTS,
            "each event was seen or named as missed"
        );
        assert_eq!(seqs.last(), Some(&EVENTS));
    }
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_http1_readers_see_every_event_or_its_gap() {
    everything_arrives(http1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_h2c_readers_on_one_connection_see_every_event_or_its_gap() {
    everything_arrives(h2c).await;
}

/// Resident memory of this process; each test has its own (nextest).
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stop_reading_are_closed_and_cost_no_memory_and_hurt_nobody() {
    const STALLED: usize = 20;
    let log = log_with(Limits {
        events: 4096,
        bytes: 1 << 20,
    });
    let server = Server::start(&log, Duration::from_millis(500)).await;
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(server.open().await);
    }
    let reader = TaskTracker::new().spawn(read_all(
        http1(),
        SocketUrl(format!("http://{}/stream", server.addr)),
    ));
    let before = resident_bytes();
    // 64 MiB, 3 MiB for each of the stalled: far more than the kernel takes for them.
    let data = format!("\"{}\"", "x".repeat(1000));
    for _ in 0..64 {
        for _ in 0..1000 {
            log.append("output", &data);
        }
        tokio::task::yield_now().await;
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(
        grown < 16 << 20,
        "a queue per reader would hold 1 GiB; this grew by {grown}"
    );
    log.end_turn("complete", "{}");
    let (seqs, missed) = timeout(server.deadline, reader)
        .await
        .expect("it is not held up")
        .unwrap();
    assert_eq!(seqs.len() as u64 + missed, 64_001);
    server.slots_free(64).await;
    drop(stalled);
}

/// A request by hand: a client library would read the socket by itself. The windows are as large as
/// they can be, so that only the socket can hold the server up.
async fn h2c_request(server: &Server) -> TcpStream {
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS, INITIAL_WINDOW_SIZE 2^31 - 1
    request.extend(b"\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff");
    // WINDOW_UPDATE of the connection
    request.extend(b"\0\0\x04\x08\0\0\0\0\0\x7f\0\0\0");
    // HEADERS, END_STREAM and END_HEADERS: GET, http, /stream, authority x
    request.extend(b"\0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x04\x07/stream\x01\x01x");
    socket.write_all(&request).await.unwrap();
    read_until_begun(&mut socket, server.deadline).await;
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_h2c_client_that_stops_reading_its_socket_is_closed() {
    let log = log_with(Limits::default());
    let server = Server::start(&log, Duration::from_millis(200)).await;
    let _stalled = h2c_request(&server).await;
    let data = format!("\"{}\"", "x".repeat(100_000));
    for _ in 0..200 {
        log.append("output", &data);
    }
    server.slots_free(64).await;
}
