//! The listener: which requests are taken, and from whom.
//!
//! ```text
//! POST /compat/v1/chat/completions   POST /openai/v1/responses   POST /anthropic/v1/messages
//! GET  /compat/v1/models             GET  /openai/v1/models      GET  /anthropic/v1/models
//! ```
//!
//! Everything else is 404, and these without the bearer of the present child 403, before any body is read. A
//! connection that has not shown the bearer counts against no limit of those that have. One connection
//! carries one call: over loopback a new connection costs microseconds, and a kept one could be closed by us
//! at the moment the child writes to it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::{self, Answer};
use super::error::{self, ForwardError};
use super::forward;
use super::generic_model::GENERIC_MODELS;
use super::shared::Shared;
use crate::provider::Dialect;
use crate::unauthenticated::{Connection, Unauthenticated};

/// Calls at one time, those of subagents included. Further ones wait before their bodies are read.
const MAX_CALLS: usize = 512;
/// How long a call waits for its permit.
const PERMIT_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest a connection may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// After an error of `accept`, as when file descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until `cancelled`, then cuts what is open.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    tracker: TaskTracker,
    cancelled: CancellationToken,
) {
    let calls = Arc::new(Semaphore::new(MAX_CALLS));
    let unauthenticated = Unauthenticated::default();
    loop {
        // Both futures may be dropped at any time without loss.
        let accepted = tokio::select! {
            () = cancelled.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let admission = Arc::new(Admission {
                    connection: unauthenticated.add(),
                    calls: Arc::clone(&calls),
                    permit: Mutex::default(),
                });
                let evicted = admission.connection.evicted();
                let connection = connection(stream, Arc::clone(&shared), admission);
                let cancelled = cancelled.clone();
                tracker.spawn(async move {
                    tokio::select! {
                        () = cancelled.cancelled() => {}
                        () = evicted.cancelled() => {}
                        () = connection => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the model gateway cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What a connection needs to become a call. It lives as long as the connection.
struct Admission {
    connection: Connection,
    calls: Arc<Semaphore>,
    /// Of one call, once it is admitted.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

// === impl Admission ===

impl Admission {
    /// Takes a permit for a call that has shown the bearer.
    async fn admit(&self) -> Result<(), ForwardError> {
        self.connection.authenticated();
        let permit = timeout(PERMIT_TIMEOUT, Arc::clone(&self.calls).acquire_owned())
            .await
            .map_err(|_| ForwardError::Crowded)?
            .map_err(|_| ForwardError::Crowded)?;
        *self.permit.lock() = Some(permit);
        Ok(())
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, admission: Arc<Admission>) {
    // Best effort: without it a small chunk may wait for an acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "set TCP_NODELAY");
    }
    let service = service_fn(move |request| {
        let (shared, admission) = (Arc::clone(&shared), Arc::clone(&admission));
        async move { Ok::<_, Infallible>(answer(&shared, request, &admission).await) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        // The child hung up, or its session ended: neither is a fault.
        tracing::debug!(%error, "a model call ended early");
    }
}

async fn answer(
    shared: &Shared,
    request: Request<Incoming>,
    admission: &Admission,
) -> Response<Answer> {
    let Some(endpoint) = endpoint(request.method(), request.uri().path()) else {
        return refused(
            StatusCode::NOT_FOUND,
            Dialect::Chat,
            "not_found",
            "there is nothing here",
        );
    };
    let (dialect, (head, body)) = (endpoint.dialect(), request.into_parts());
    if !is_child(shared, &head.headers) {
        // The sender may announce a body and never send it: the connection is closed with it unread.
        return refused(
            StatusCode::FORBIDDEN,
            dialect,
            "forbidden",
            "this is not for you",
        );
    }
    if let Err(error) = admission.admit().await {
        return refused(error.status(), dialect, error.code(), &error.to_string());
    }
    match endpoint {
        Endpoint::Models(_) => models(),
        Endpoint::Call(_) => forward::forward(shared, dialect, &head.headers, body).await,
    }
}

/// The two kinds of request.
#[derive(Clone, Copy)]
enum Endpoint {
    Call(Dialect),
    Models(Dialect),
}

fn endpoint(method: &Method, path: &str) -> Option<Endpoint> {
    match (method.as_str(), path) {
        ("POST", "/compat/v1/chat/completions") => Some(Endpoint::Call(Dialect::Chat)),
        ("POST", "/openai/v1/responses") => Some(Endpoint::Call(Dialect::Responses)),
        ("POST", "/anthropic/v1/messages") => Some(Endpoint::Call(Dialect::Messages)),
        ("GET", "/compat/v1/models") => Some(Endpoint::Models(Dialect::Chat)),
        ("GET", "/openai/v1/models") => Some(Endpoint::Models(Dialect::Responses)),
        ("GET", "/anthropic/v1/models") => Some(Endpoint::Models(Dialect::Messages)),
        _ => None,
    }
}

/// The child's clients send the token as their dialect sends keys.
fn is_child(shared: &Shared, headers: &HeaderMap) -> bool {
    let bearer = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let given = bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes));
    let token = shared.token();
    given.is_some_and(|given| token.is_some_and(|token| token.matches(given)))
}

fn models() -> Response<Answer> {
    let list: Vec<_> = GENERIC_MODELS
        .iter()
        .map(|model| serde_json::json!({ "id": model.id, "object": "model" }))
        .collect();
    let list = serde_json::json!({ "object": "list", "data": list });
    body::json(StatusCode::OK, list.to_string())
}

fn refused(status: StatusCode, dialect: Dialect, code: &str, message: &str) -> Response<Answer> {
    body::json(status, error::body(dialect, code, message))
}

// === impl Endpoint ===

impl Endpoint {
    const fn dialect(self) -> Dialect {
        match self {
            Self::Call(dialect) | Self::Models(dialect) => dialect,
        }
    }
}

/// Opens the port: 127.0.0.1, whichever is free.
pub(super) async fn listen() -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}
