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

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[path = "llm/body.rs"]
mod body;
#[path = "llm/render.rs"]
mod render;
#[path = "llm/tls.rs"]
mod tls;
#[path = "llm/turn.rs"]
mod turn;

pub(crate) use tls::Identity;
pub(crate) use turn::Turn;

use body::Pieces;

/// Which dialect a call was made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    Responses,
    Messages,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ordinary,
    Title,
    Compaction,
}

/// Whose calls a turn answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The last user message holds this text.
    Prompt(String),
    /// The call carries this key.
    Key(String),
    /// The call asks for this model.
    Model(String),
    Any,
}

/// A call as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) dialect: Dialect,
    pub(crate) kind: Kind,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Without `Bearer`; empty if there was none.
    pub(crate) key: String,
    pub(crate) bytes: Bytes,
    pub(crate) body: Value,
    pub(crate) http2: bool,
}

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
    always: Option<Turn>,
    compaction: Option<Turn>,
    requests: Vec<Recorded>,
    answering: usize,
    cut: usize,
}

/// Nothing a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// `unwrap` for helpers: a test fails by panicking.
pub(crate) fn must<T, E: Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the scripted model: {error:?}"),
    }
}

// === impl Scope ===

impl Scope {
    pub(crate) fn key(key: &str) -> Self {
        Self::Key(key.to_owned())
    }

    pub(crate) fn model(model: &str) -> Self {
        Self::Model(model.to_owned())
    }

    pub(crate) fn prompt(piece: &str) -> Self {
        Self::Prompt(piece.to_owned())
    }

    fn fits(&self, call: &Recorded) -> bool {
        match self {
            Self::Prompt(piece) => call.last_user_text().contains(piece),
            Self::Key(key) => call.key == *key,
            Self::Model(model) => call.model() == model,
            Self::Any => true,
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Prompt(_) => 0,
            Self::Key(_) => 1,
            Self::Model(_) => 2,
            Self::Any => 3,
        }
    }
}

// === impl Recorded ===

impl Recorded {
    pub(crate) fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// The names of the tools that were offered, sorted.
    pub(crate) fn tools(&self) -> Vec<String> {
        let list = self.body["tools"].as_array().cloned().unwrap_or_default();
        let name = |tool: &Value| {
            tool["function"]["name"]
                .as_str()
                .or(tool["name"].as_str())
                .map(str::to_owned)
        };
        let mut names: Vec<String> = list.iter().filter_map(name).collect();
        names.sort();
        names
    }

    /// The limit under whichever name it came, with the name.
    pub(crate) fn limit(&self) -> Option<(&'static str, u64)> {
        ["max_tokens", "max_completion_tokens", "max_output_tokens"]
            .into_iter()
            .find_map(|name| self.body[name].as_u64().map(|limit| (name, limit)))
    }

    pub(crate) fn system_text(&self) -> String {
        let messages = self.messages();
        let system = messages
            .iter()
            .filter(|m| matches!(m["role"].as_str(), Some("system" | "developer")));
        let inline: Vec<String> = system.map(|message| text_of(&message["content"])).collect();
        let apart = [
            text_of(&self.body["system"]),
            text_of(&self.body["instructions"]),
        ];
        inline
            .into_iter()
            .chain(apart)
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub(crate) fn last_user_text(&self) -> String {
        let messages = self.messages();
        let user = messages
            .iter()
            .rev()
            .filter(|message| message["role"] == "user");
        user.map(|message| text_of(&message["content"]))
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }

    fn messages(&self) -> &[Value] {
        let list = self.body["messages"]
            .as_array()
            .or(self.body["input"].as_array());
        list.map_or(&[], Vec::as_slice)
    }

    fn classify(&self) -> Kind {
        if self.system_text().contains("title generator") {
            return Kind::Title;
        }
        let asked = self.last_user_text().to_lowercase();
        let system = self.system_text().to_lowercase();
        let summing =
            |text: &str| text.contains("summar") || text.contains("continuing our conversation");
        if self.tools().is_empty() && (summing(&asked) || summing(&system)) {
            return Kind::Compaction;
        }
        Kind::Ordinary
    }
}

/// The text of a message's content, a string or a list of parts.
fn text_of(content: &Value) -> String {
    let parts = content.as_array().map_or(&[][..], Vec::as_slice);
    let texts = parts.iter().filter_map(|part| part["text"].as_str());
    content
        .as_str()
        .into_iter()
        .chain(texts)
        .collect::<Vec<_>>()
        .join("\n")
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
        match script.queues.iter_mut().find(|(known, _)| *known == scope) {
            Some((_, queue)) => queue.push_back(turn),
            None => {
                script.queues.push((scope, VecDeque::from([turn])));
                script.queues.sort_by_key(|(scope, _)| scope.rank());
            }
        }
    }

    /// Calls that no queue answers get this, as often as they come.
    pub(crate) fn reply_always(&self, turn: Turn) {
        self.state.script.lock().always = Some(turn);
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
        let waited = tokio::time::timeout(PATIENCE, wait).await.map(|_| ());
        assert!(
            waited.is_ok(),
            "not in {PATIENCE:?}: {:?}",
            self.state.script.lock()
        );
    }
}

impl Drop for Llm {
    fn drop(&mut self) {
        self.ended.cancel();
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
                let fitting = script
                    .queues
                    .iter_mut()
                    .filter(|(scope, _)| scope.fits(&call));
                let queued = fitting.filter_map(|(_, queue)| queue.pop_front()).next();
                queued.or_else(|| script.always.clone()).unwrap_or_else(|| {
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
            let served = ended.run_until_cancelled(async {
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
            });
            served.await.unwrap_or_default()
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
    let path = head.uri.path().to_owned();
    let dialect = match path.rsplit('/').next() {
        Some("responses") => Dialect::Responses,
        Some("messages") => Dialect::Messages,
        _ => Dialect::Chat,
    };
    let header = |name: &str| {
        head.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let key = header("authorization")
        .strip_prefix("Bearer ")
        .unwrap_or(header("x-api-key"))
        .to_owned();
    let mut call = Recorded {
        dialect,
        kind: Kind::Ordinary,
        path,
        key,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
        bytes,
        http2: head.version == http::Version::HTTP_2,
        headers: head.headers,
    };
    call.kind = call.classify();
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
