//! A scripted model provider, in process, in all three dialects.
//!
//! ```ignore
//! let llm = Llm::start().await;
//! llm.reply(Turn::new().text("hi").tool("bash", json!({"command": "ls"})));
//! llm.reply_to(Scope::key("KEY-A"), Turn::new().text("only for A"));
//! llm.reply(Turn::error(429, "slow down").header("retry-after", "2"));
//! // … run something that calls llm.base() …
//! assert_eq!(llm.requests()[0].key, "KEY-A");
//! ```
//!
//! Each call takes the next turn of the most particular queue that fits: by prompt, by key, by model, any.
//! The same script serves `…/chat/completions`, `…/responses` and `…/messages`. Title and compaction calls
//! are answered by themselves and take no turn. A call without a turn left is refused with 400 and says so.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[path = "llm/body.rs"]
mod body;
#[path = "llm/call.rs"]
mod call;
#[path = "llm/render.rs"]
mod render;
#[path = "llm/tls.rs"]
mod tls;
#[path = "llm/turn.rs"]
mod turn;
#[path = "llm/wire.rs"]
pub(crate) mod wire;

pub(crate) use call::{Dialect, Kind, Recorded, Scope};
pub(crate) use tls::Identity;
pub(crate) use turn::Turn;

use body::Pieces;
use turn::Responder;

/// The server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Llm {
    addr: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    ended: CancellationToken,
}

#[derive(Debug)]
struct State {
    script: Mutex<Script>,
    /// Changes with everything that happens.
    ticks: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Script {
    queues: Vec<(Scope, VecDeque<Turn>)>,
    always: Vec<(Scope, Turn)>,
    responders: Vec<(Scope, Responder)>,
    compaction: Option<Turn>,
    requests: Vec<Recorded>,
    answering: usize,
    cut: usize,
}

/// Nothing a test waits for takes longer.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// `unwrap` for helpers: a test fails by panicking.
pub(crate) fn must<T, E: Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the scripted model: {error:?}"),
    }
}

// === impl Llm ===

impl Llm {
    /// Plain HTTP.
    pub(crate) async fn start() -> Self {
        Self::serve(None).await
    }

    /// HTTPS with `identity`'s certificate, HTTP/2 offered.
    pub(crate) async fn start_tls(identity: &Identity) -> Self {
        Self::serve(Some(identity.acceptor())).await
    }

    async fn serve(tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = must(TcpListener::bind("127.0.0.1:0").await);
        let addr = must(listener.local_addr());
        let state = Arc::new(State {
            script: Mutex::default(),
            ticks: watch::Sender::new(0),
        });
        let ended = CancellationToken::new();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let tracker = TaskTracker::new();
        tracker.spawn(accept(
            listener,
            tls,
            Arc::clone(&state),
            tracker.clone(),
            ended.clone(),
        ));
        Self {
            addr,
            scheme,
            state,
            ended,
        }
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What to give as `api_endpoint`. The certificate is for `localhost`.
    pub(crate) fn base(&self) -> String {
        let host = if self.scheme == "https" {
            "localhost"
        } else {
            "127.0.0.1"
        };
        format!("{}://{host}:{}/v1", self.scheme, self.addr.port())
    }

    /// The next call, whoever makes it, is answered with `turn`.
    pub(crate) fn reply(&self, turn: Turn) {
        self.reply_to(Scope::Any, turn);
    }

    pub(crate) fn reply_to(&self, scope: Scope, turn: Turn) {
        let mut script = self.state.script.lock();
        if let Some((_, queue)) = script.queues.iter_mut().find(|(known, _)| *known == scope) {
            queue.push_back(turn);
            return;
        }
        script.queues.push((scope, VecDeque::from([turn])));
        script.queues.sort_by_key(|(scope, _)| scope.rank());
    }

    /// Calls that no queue answers get this, as often as they come.
    pub(crate) fn reply_always(&self, turn: Turn) {
        self.reply_always_to(Scope::Any, turn);
    }

    /// The same for the calls that `scope` fits.
    pub(crate) fn reply_always_to(&self, scope: Scope, turn: Turn) {
        let mut script = self.state.script.lock();
        script.always.retain(|(known, _)| *known != scope);
        script.always.push((scope, turn));
        script.always.sort_by_key(|(scope, _)| scope.rank());
    }

    /// Calls that `scope` fits and no queue answers are answered by what `answer` makes of them and their numbers: 1, 2, …
    pub(crate) fn respond_to(
        &self,
        scope: Scope,
        answer: impl Fn(&Recorded, u32) -> Turn + Send + Sync + 'static,
    ) {
        let responder = Responder::new(answer);
        self.state.script.lock().responders.push((scope, responder));
    }

    /// Compaction calls get this instead of a short summary.
    pub(crate) fn on_compaction(&self, turn: Turn) {
        self.state.script.lock().compaction = Some(turn);
    }

    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.state.script.lock().requests.clone()
    }

    /// The only call there was.
    pub(crate) fn single_request(&self) -> Recorded {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "one call was expected");
        requests.remove(0)
    }

    /// Turns that nobody has asked for yet.
    pub(crate) fn turns_left(&self) -> usize {
        self.state
            .script
            .lock()
            .queues
            .iter()
            .map(|(_, queue)| queue.len())
            .sum()
    }

    /// Waits until `count` calls have arrived.
    pub(crate) async fn until_requests(&self, count: usize) {
        self.until(|script| script.requests.len() >= count).await;
    }

    /// Calls so far that are of a turn, not for a title or a summary.
    pub(crate) fn ordinary_requests(&self) -> usize {
        self.state.script.lock().ordinary_requests()
    }

    /// Resolves when `count` of those have arrived.
    pub(crate) fn until_ordinary(&self, count: usize) -> impl Future<Output = ()> + use<> {
        let state = Arc::clone(&self.state);
        async move {
            let mut ticks = state.ticks.subscribe();
            let arrived = ticks.wait_for(|_| state.script.lock().ordinary_requests() >= count);
            drop(must(tokio::time::timeout(TEST_TIMEOUT, arrived).await));
        }
    }

    /// Waits until `count` callers have hung up before their answer's end.
    pub(crate) async fn until_cut(&self, count: usize) {
        self.until(|script| script.cut >= count).await;
    }

    /// Waits until no answer is under way.
    pub(crate) async fn until_idle(&self) {
        self.until(|script| script.answering == 0).await;
    }

    async fn until(&self, done: impl Fn(&Script) -> bool) {
        let mut ticks = self.state.ticks.subscribe();
        let wait = ticks.wait_for(|_| done(&self.state.script.lock()));
        let waited = tokio::time::timeout(TEST_TIMEOUT, wait).await.map(|_| ());
        assert!(
            waited.is_ok(),
            "not in {TEST_TIMEOUT:?}: {:?}",
            self.state.script.lock()
        );
    }
}

impl Drop for Llm {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

// === impl Script ===

impl Script {
    fn ordinary_requests(&self) -> usize {
        let ordinary = |call: &&Recorded| call.kind == Kind::Ordinary;
        self.requests.iter().filter(ordinary).count()
    }
}

// === impl State ===

impl State {
    fn tick(&self) {
        self.ticks.send_modify(|ticks| *ticks += 1);
    }

    fn next_turn(&self, call: Recorded) -> Turn {
        let mut script = self.script.lock();
        let turn = match call.kind {
            Kind::Title => Turn::new().text("A title"),
            Kind::Compaction => script
                .compaction
                .clone()
                .unwrap_or_else(|| Turn::new().text("Summary: work was done.")),
            Kind::Ordinary => {
                let mut fitting = script
                    .queues
                    .iter_mut()
                    .filter(|(scope, _)| scope.fits(&call));
                let queued = fitting.find_map(|(_, queue)| queue.pop_front());
                let mut responders = script.responders.iter_mut();
                let mut respond = || {
                    let (_, responder) = responders.find(|(scope, _)| scope.fits(&call))?;
                    Some(responder.answer(&call))
                };
                let queued = queued.or_else(&mut respond);
                let mut always = script.always.iter();
                let always = || {
                    let (_, turn) = always.find(|(scope, _)| scope.fits(&call))?;
                    Some(turn.clone())
                };
                queued.or_else(always).unwrap_or_else(|| {
                    let said = format!(
                        "the scripted model has no turn left for {:?} {:?}",
                        call.key,
                        call.model()
                    );
                    Turn::error(400, &said)
                })
            }
        };
        script.requests.push(call);
        script.answering += 1;
        turn
    }
}

/// Counts an answer as under way, and as cut unless it came to its end.
#[derive(Debug)]
struct Answering {
    state: Arc<State>,
    complete: bool,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut script = self.state.script.lock();
        script.answering -= 1;
        script.cut += usize::from(!self.complete);
        drop(script);
        self.state.tick();
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
    state: Arc<State>,
    tracker: TaskTracker,
    ended: CancellationToken,
) {
    while let Some(Ok((stream, _))) = ended.run_until_cancelled(listener.accept()).await {
        must(stream.set_nodelay(true));
        let (state, tls, ended) = (Arc::clone(&state), tls.clone(), ended.clone());
        tracker.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            let server = auto::Builder::new(TokioExecutor::new());
            // How a connection ends is the caller's business; what it got is in the record.
            let conversation = async {
                match tls {
                    None => server
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .is_ok(),
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => server
                            .serve_connection(TokioIo::new(stream), service)
                            .await
                            .is_ok(),
                        Err(_) => false,
                    },
                }
            };
            ended
                .run_until_cancelled(conversation)
                .await
                .unwrap_or_default()
        });
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Pieces>, Infallible> {
    let (head, body) = request.into_parts();
    let bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let call = Recorded::new(head, bytes);
    let dialect = call.dialect;
    let turn = state.next_turn(call);
    let guard = Answering {
        state: Arc::clone(&state),
        complete: false,
    };
    state.tick();
    if turn.hangs_before_headers() {
        std::future::pending::<()>().await;
    }
    let (status, headers, pieces) = render::response(dialect, &turn);
    let mut response = Response::new(Pieces::new(pieces, guard));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}
