//! The log, its cursors and a server round them, for `benches/stream.rs`.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::place::Place;
use crate::api::protocol::{self, Version};
use crate::api::stream::{StreamRequest, stream};
use crate::api::write_timeout::{WRITE_TIMEOUT, WriteTimeout};
use crate::api::ws::handshake::Upgrade;
use crate::api::ws::{Sockets, bench};
use crate::event::Encoded;
use crate::journal::Order;
use crate::session::limits::StreamSlots;
use crate::session::log::{
    Addition, Cursor, Epoch, EventLog, Limits, MemoryBudget, Opening, Reader, Requested, Step,
    Storage, StoredRange, View,
};

/// A log that keeps everything.
#[derive(Clone)]
pub struct StreamLog(EventLog);

/// A reader in the same process.
pub struct StreamReader(Cursor<Reader>);

// === impl StreamLog ===

impl StreamLog {
    #[must_use]
    pub fn new() -> Self {
        let limits = Limits {
            events: 1 << 20,
            bytes: 1 << 30,
        };
        let extent = StoredRange::empty(0, Epoch::random());
        let budget = MemoryBudget::new(1 << 40);
        let order = Order::in_memory(Epoch::random().to_string());
        let storage = Storage::Memory(Arc::new(order));
        Self(EventLog::new(extent, limits, &budget, storage))
    }

    pub fn append(&self, data: &str) {
        self.append_one("output", data, false);
    }

    pub fn end_turn(&self) {
        self.append_one("complete", "{}", true);
    }

    fn append_one(&self, kind: &'static str, data: &str, terminal: bool) {
        let piece = Encoded {
            kind,
            data: data.to_owned(),
            terminal,
            reasoning: false,
        };
        self.0.add(Addition {
            ends: terminal,
            ..Addition::of(vec![piece])
        });
    }

    /// What the log itself counts for its memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// A reader of everything, or none if there is nothing.
    #[must_use]
    pub fn reader(&self) -> Option<StreamReader> {
        match Cursor::open(&self.0, &Requested::Earliest, View::default()) {
            Opening::Reading { cursor, .. } => Some(StreamReader(cursor)),
            Opening::UpToDate { .. } => None,
        }
    }
}

impl Default for StreamLog {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for StreamLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StreamLog").finish_non_exhaustive()
    }
}

// === impl StreamReader ===

impl StreamReader {
    /// The next frames; none at the end.
    ///
    /// # Panics
    /// If the reader was overtaken, which makes a figure worthless.
    pub async fn next(&mut self) -> Option<Bytes> {
        match self.0.next().await {
            Step::Frames(bytes) => Some(bytes),
            Step::End(_) => None,
            Step::Gap(gap) => panic!("overtaken: {gap:?}"),
        }
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StreamReader").finish_non_exhaustive()
    }
}

/// Serves the log to any number of readers until the listener fails.
pub async fn serve_stream(listener: TcpListener, log: StreamLog) -> io::Result<()> {
    let tracker = TaskTracker::new();
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned();
    let permit = permit.map_err(io::Error::other)?;
    // One for all connections: what goes on after a switch is spawned on its tracker.
    let place = Arc::new(Place::new(
        permit,
        tracker.clone(),
        CancellationToken::new(),
    ));
    let state = Arc::new((log.0, StreamSlots::new(1 << 20), Sockets::default()));
    let app = Router::new()
        .route("/stream", get(answer))
        .route("/ws", get(socket))
        .layer(Extension(place))
        .with_state(state);
    loop {
        let (socket, _) = listener.accept().await?;
        tracker.spawn(serve_connection(socket, app.clone(), WRITE_TIMEOUT));
    }
}

/// Serves one connection as the accept loop will: see [`protocol`] and [`WriteTimeout`].
pub(crate) async fn serve_connection(
    socket: TcpStream,
    app: Router,
    patience: Duration,
) -> io::Result<()> {
    let version = protocol::peek(&socket, patience).await?;
    let socket = TokioIo::new(WriteTimeout::accept(socket, patience)?);
    let app = TowerToHyperService::new(app);
    let served = match version {
        Version::Http1 => {
            http1::Builder::new()
                .max_buf_size(64 * 1024)
                .serve_connection(socket, app)
                .with_upgrades()
                .await
        }
        Version::Http2 => {
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(socket, app)
                .await
        }
    };
    served.map_err(io::Error::other)
}

type Shared = Arc<(EventLog, StreamSlots, Sockets)>;

async fn socket(State(state): State<Shared>, upgrade: Upgrade) -> Response {
    bench::answer(upgrade, &state.0, &state.2)
        .unwrap_or_else(|| StatusCode::TOO_MANY_REQUESTS.into_response())
}

async fn answer(State(state): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    let (log, slots, _) = state.as_ref();
    let request = StreamRequest::read(&uri, &headers);
    stream(log, slots, &request, &CancellationToken::new()).unwrap_or_else(|error| {
        (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
    })
}
