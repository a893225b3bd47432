//! A small server round [`stream`], on a real socket, and raw HTTP/1.1 to talk to it.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::*;
use crate::bench::serve_connection;

pub(super) struct Server {
    pub(super) addr: SocketAddr,
    pub(super) slots: StreamSlots,
    /// Far longer than any test takes, and short enough to fail with a name.
    pub(super) deadline: Duration,
}

type Shared = (EventLog, StreamSlots);

impl Server {
    pub(super) async fn start(log: &EventLog, write_timeout: Duration) -> Self {
        let slots = StreamSlots::default();
        let app = Router::new()
            .route("/stream", get(answer))
            .with_state((log.clone(), slots.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let tracker = TaskTracker::new();
        tracker.clone().spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tracker.spawn(serve_connection(socket, app.clone(), write_timeout));
            }
        });
        Self {
            addr,
            slots,
            deadline: Duration::from_secs(50),
        }
    }

    /// Sends a request and leaves the answer to be read.
    pub(super) async fn send(&self, method: &str, query: &str, headers: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        let request = format!(
            "{method} /stream{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }

    /// The head and the body of an answer that ends by itself.
    pub(super) async fn fetch(&self, method: &str, query: &str, headers: &str) -> (String, String) {
        let mut socket = self.send(method, query, headers).await;
        let mut answer = Vec::new();
        let reading = socket.read_to_end(&mut answer);
        tokio::time::timeout(self.deadline, reading)
            .await
            .expect("the stream ends")
            .unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let chunked = head.contains("transfer-encoding: chunked");
        (
            head.to_owned(),
            if chunked {
                unchunk(body)
            } else {
                body.to_owned()
            },
        )
    }

    /// Opens a stream and reads until it has begun.
    pub(super) async fn open(&self) -> TcpStream {
        let mut socket = self.send("GET", "", "").await;
        read_until_begun(&mut socket, self.deadline).await;
        socket
    }

    /// Waits until this many streams could start.
    pub(super) async fn slots_free(&self, places: u32) {
        let waiting = self.slots.until_free(places);
        tokio::time::timeout(self.deadline, waiting)
            .await
            .expect("the streams end");
    }
}

async fn answer(State((log, slots)): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    let request = StreamRequest::read(&uri, &headers);
    match stream(&log, &slots, &request, &CancellationToken::new()) {
        Ok(response) => response,
        Err(error @ StreamError::TooManyStreams { retry_after }) => {
            let retry_after = [("retry-after", retry_after.as_secs().to_string())];
            (
                StatusCode::TOO_MANY_REQUESTS,
                retry_after,
                error.to_string(),
            )
                .into_response()
        }
        Err(error @ StreamError::Gap(_)) => {
            (StatusCode::CONFLICT, error.to_string()).into_response()
        }
    }
}

/// Reads until the first bytes of a stream are there.
pub(super) async fn read_until_begun(socket: &mut TcpStream, deadline: Duration) {
    let mut got = Vec::new();
    while !got.windows(12).any(|bytes| bytes == b": ok\nretry: ") {
        let reading = socket.read_buf(&mut got);
        let count = tokio::time::timeout(deadline, reading)
            .await
            .expect("the stream begins")
            .unwrap();
        assert!(count > 0, "{got:?}");
    }
}

/// Joins the chunks; panics unless the last one is there.
fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").expect("a chunk");
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.push_str(
            rest.get(..size)
                .expect("chunks end between characters here"),
        );
        body = rest.get(size + 2..).unwrap();
    }
}
