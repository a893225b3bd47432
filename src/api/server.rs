//! The listener, and one task per connection.
//!
//! axum's own `serve` has no limits; this one bounds the number of connections and the time a request
//! head may take, answers probes before anything else is looked at, and ends when it is told to.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response};
use axum::routing::future::RouteFuture;
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use super::patience::{PATIENCE, Patient};
use super::preface::{self, Version};
use super::{State, middleware, probes, router};

/// More than all streams of all sessions need; past it a new connection is closed at once.
const MAX_CONNECTIONS: usize = 4096;

/// How long a request head may take. It also ends idle connections, so it is longer than the 90 s
/// after which Go's client drops one itself: whoever closes first spares the other a failed POST.
const HEAD_TIMEOUT: Duration = Duration::from_mins(2);

/// A request head, and the read buffer of a connection.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEAD_LIST: u32 = 64 * 1024;

/// An HTTP/2 client that is gone without a word is noticed by the second ping it leaves unanswered.
const PING: Duration = Duration::from_secs(30);

/// After "too many open files" there is nothing to do but wait for one to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const BACKLOG: i32 = 1024;

/// The socket is open; nobody is served yet.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why the port cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error("cannot listen on {0}: the port is taken; stop what uses it or set PORT")]
    Taken(SocketAddr),
    #[error("cannot listen on {0}: this user may not use the port; set PORT to 1024 or more")]
    Forbidden(SocketAddr),
    #[error("cannot listen on {0}: {1}; set HOST or PORT")]
    Other(SocketAddr, String),
}

// === impl Bound ===

impl Bound {
    /// Opens the socket. `::` takes IPv4 too, and becomes 0.0.0.0 on a host without IPv6.
    pub(crate) fn bind(host: IpAddr, port: u16) -> Result<Self, BindError> {
        let wanted = SocketAddr::new(host, port);
        let listener = match listen(wanted) {
            Err(error) if host.is_ipv6() && host.is_unspecified() && no_ipv6(&error) => {
                listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            other => other,
        };
        let listener = listener.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken(wanted),
            io::ErrorKind::PermissionDenied => BindError::Forbidden(wanted),
            _ => BindError::Other(wanted, crate::text::plain(&error.to_string())),
        })?;
        let address = listener.local_addr().unwrap_or(wanted);
        Ok(Self { listener, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; then connections finish the request they are at. They run on `tracker`.
    pub(crate) async fn serve(self, state: State, stop: CancellationToken, tracker: TaskTracker) {
        let state = Arc::new(state);
        let service = Edge {
            router: router::router(state.clone()),
            state,
        };
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        while let Some(accepted) = stop.run_until_cancelled(self.listener.accept()).await {
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = permits.clone().try_acquire_owned() else {
                tracing::warn!(
                    limit = MAX_CONNECTIONS,
                    "too many connections; closing a new one"
                );
                continue;
            };
            let (service, stop) = (service.clone(), stop.clone());
            tracker.spawn(async move {
                connection(stream, service, stop).await;
                drop(permit);
            });
        }
    }
}

async fn connection(stream: TcpStream, service: Edge, stop: CancellationToken) {
    let speaks = stop
        .run_until_cancelled(preface::peek(&stream, HEAD_TIMEOUT))
        .await;
    let Some(Ok(version)) = speaks else { return };
    let Ok(socket) = Patient::accept(stream, PATIENCE).map(TokioIo::new) else {
        return;
    };
    // Clients leave as they like; that is no fault of ours.
    let ended = match version {
        Version::Http1 => {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD);
            let mut connection = pin!(builder.serve_connection(socket, service));
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
        Version::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(PING)
                .max_header_list_size(MAX_HEAD_LIST);
            let mut connection = pin!(builder.serve_connection(socket, service));
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restart must not wait for old connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn no_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let unsupported = [
        Errno::AFNOSUPPORT,
        Errno::ADDRNOTAVAIL,
        Errno::PROTONOSUPPORT,
    ];
    unsupported
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Probes are answered here, before routing, logging and authentication: they must be quick while
/// everything else is busy. All other requests, and other methods on these paths, go to the router.
#[derive(Clone, Debug)]
struct Edge {
    state: Arc<State>,
    router: Router,
}

// === impl Edge ===

impl hyper::service::Service<Request<Incoming>> for Edge {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Self::Response, Infallible>>, RouteFuture<Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if matches!(*request.method(), Method::GET | Method::HEAD)
            && let Some(mut response) = probes::answer(request.uri().path(), &self.state)
        {
            let id = middleware::request_id(request.headers());
            response.headers_mut().insert(middleware::REQUEST_ID, id);
            return Either::Left(ready(Ok(response)));
        }
        // A router is always ready.
        Either::Right(self.router.clone().call(request.map(Body::new)))
    }
}
