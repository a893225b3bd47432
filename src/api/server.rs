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
use std::time::{Duration, Instant};

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
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use super::caller::Caller;
use super::place::{MAX_CONNECTIONS, Place, Places};
use super::protocol::{self, Version};
use super::write_timeout::{WRITE_TIMEOUT, WriteTimeout};
use super::{State, middleware, probes, router};
use crate::metrics;

/// How long the probe on such a connection may take to ask.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// Between two log lines about the same trouble.
const LOG_PAUSE: Duration = Duration::from_secs(10);

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
    #[error("cannot listen on {0}: the port is taken; stop what uses it or set {1}")]
    Taken(SocketAddr, &'static str),
    #[error("cannot listen on {0}: this user may not use the port; set {1} to 1024 or more")]
    Forbidden(SocketAddr, &'static str),
    #[error("cannot listen on {0}: {2}; set HOST or {1}")]
    Other(SocketAddr, &'static str, String),
}

// === impl Bound ===

impl Bound {
    /// Opens the socket. `::` takes IPv4 too, and becomes 0.0.0.0 on a host without IPv6.
    /// `setting` is the name of the port's setting, for the sentence of an error.
    pub(crate) fn bind(host: IpAddr, port: u16, setting: &'static str) -> Result<Self, BindError> {
        let wanted = SocketAddr::new(host, port);
        let listener = match listen(wanted) {
            Err(error) if host.is_ipv6() && host.is_unspecified() && no_ipv6(&error) => {
                listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            other => other,
        };
        let listener = listener.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken(wanted, setting),
            io::ErrorKind::PermissionDenied => BindError::Forbidden(wanted, setting),
            _ => BindError::Other(wanted, setting, crate::text::plain(&error.to_string())),
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
        let router = router::router(state.clone());
        self.serve_router(router, state, stop, tracker).await;
    }

    /// The same, for whoever reads the metrics without a token.
    pub(crate) async fn serve_metrics(
        self,
        state: State,
        stop: CancellationToken,
        tracker: TaskTracker,
    ) {
        let places = Places::default();
        let state = Arc::new(State { places, ..state });
        let router = router::metrics_router(state.clone());
        self.serve_router(router, state, stop, tracker).await;
    }

    async fn serve_router(
        self,
        router: Router,
        state: Arc<State>,
        stop: CancellationToken,
        tracker: TaskTracker,
    ) {
        let places = state.places.clone();
        let (mut refused, mut failed) = (LogThrottle::default(), LogThrottle::default());
        while let Some(accepted) = stop.run_until_cancelled(self.listener.accept()).await {
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if let Some(times) = failed.due(Instant::now()) {
                        tracing::warn!(%error, times, "could not accept connections");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let place = places.take();
            let only_probes = place.is_none();
            if only_probes && let Some(times) = refused.due(Instant::now()) {
                tracing::warn!(
                    limit = MAX_CONNECTIONS,
                    times,
                    "too many connections; closing new ones"
                );
            }
            let Some(permit) = place.or_else(|| places.take_reserved()) else {
                continue;
            };
            let place = Arc::new(Place::new(permit, tracker.clone(), stop.clone()));
            let service = ConnectionService {
                router: router.clone(),
                state: state.clone(),
                caller: Arc::new(Caller::of(&stream)),
                place: place.clone(),
            };
            let stop = stop.clone();
            place.spawn(async move {
                let serve = connection(stream, service, stop.clone(), only_probes);
                if !only_probes {
                    serve.await;
                } else if tokio::time::timeout(2 * PROBE_LIMIT, serve).await.is_err() {
                    tracing::debug!("a probe was not read in time");
                }
            });
        }
    }
}

async fn connection(
    stream: TcpStream,
    service: ConnectionService,
    stop: CancellationToken,
    only_probes: bool,
) {
    if only_probes && !protocol::is_probe(&stream, PROBE_LIMIT).await {
        return;
    }
    let speaks = stop
        .run_until_cancelled(protocol::peek(&stream, HEAD_TIMEOUT))
        .await;
    let Some(Ok(version)) = speaks else { return };
    let Ok(socket) = WriteTimeout::accept(stream, WRITE_TIMEOUT).map(TokioIo::new) else {
        return;
    };
    // Clients leave as they like; that is no fault of ours.
    let ended = match version {
        Version::Http1 => {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .keep_alive(!only_probes)
                .max_buf_size(MAX_HEAD);
            // A connection that becomes a WebSocket ends here, and its socket goes on in a task of its own.
            let mut connection = pin!(builder.serve_connection(socket, service).with_upgrades());
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
                .max_header_list_size(MAX_HEAD_LIST)
                // WebSockets over HTTP/2 (RFC 8441).
                .enable_connect_protocol();
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

/// Trouble that comes in floods: said at once, and then with its count now and then.
#[derive(Default)]
struct LogThrottle {
    said: Option<Instant>,
    times: u64,
}

// === impl LogThrottle ===

impl LogThrottle {
    /// How often it happened since it was last said, if it is to be said now.
    fn due(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        let recent = |said: Instant| now.saturating_duration_since(said) < LOG_PAUSE;
        if self.said.is_some_and(recent) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.times))
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
struct ConnectionService {
    state: Arc<State>,
    router: Router,
    caller: Arc<Caller>,
    place: Arc<Place>,
}

// === impl ConnectionService ===

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Self::Response, Infallible>>, RouteFuture<Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let begun = Instant::now();
        if matches!(*request.method(), Method::GET | Method::HEAD)
            && let Some(mut response) = probes::answer(request.uri().path(), &self.state)
        {
            let id = middleware::request_id(request.headers());
            response.headers_mut().insert(middleware::REQUEST_ID, id);
            metrics::http::PROBE.observe(begun.elapsed());
            return Either::Left(ready(Ok(response)));
        }
        request.extensions_mut().insert(self.caller.clone());
        request.extensions_mut().insert(self.place.clone());
        // A router is always ready.
        Either::Right(self.router.clone().call(request.map(Body::new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_trouble_is_said_once_and_then_counted() {
        let (start, mut complaint) = (Instant::now(), LogThrottle::default());
        assert_eq!(complaint.due(start), Some(1));
        for _ in 0..5 {
            assert_eq!(complaint.due(start), None);
        }
        assert_eq!(complaint.due(start + LOG_PAUSE), Some(6));
    }

    #[test]
    fn without_ipv6_it_is_all_of_ipv4() {
        use rustix::io::Errno;
        for errno in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            assert!(no_ipv6(&errno.into()), "{errno}");
        }
        assert!(!no_ipv6(&Errno::ADDRINUSE.into()));
    }
}
