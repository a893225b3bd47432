//! The gateway over real sockets, against the scripted provider.

mod access;
mod budgets;
mod demo;
mod faults;
mod forwarding;
mod loops;
mod merging;
mod stream_start;
mod streams;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::answer_reader::AnswerReader;
use super::body::Answer;
use super::call::Call;
use super::llm::{self, Llm};
use super::redactor::Redactor;
use super::routes::Routes;
use super::validate::Validator;
use super::{Bound, Config, Grant, Handle, ProxySettings, Route, upstream};
use crate::model::{Budget, ModelCalls, ModelSpec};
use crate::provider::{Dialect, Upstream};
use crate::secret::Secret;
use crate::socket_owner::Finder;
use crate::trace::TurnTrace;

const LONG: Duration = Duration::from_secs(20);
/// Long enough for a request to reach the provider while the machine is busy: a call that is given up sooner is not seen there.
const SHORT: Duration = Duration::from_secs(1);
const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Responses, Dialect::Messages];

/// A gateway that is serving, and a child that knows its token.
struct Rig {
    handle: Handle,
    addr: SocketAddr,
    token: Secret,
    client: Client,
    _cancel: DropGuard,
}

fn config() -> Config {
    Config {
        header_timeout: LONG,
        idle_timeout: LONG,
        merge_ms: 0,
        max_retry_after: Duration::from_mins(1),
        extra_ca_file: None,
        proxy: ProxySettings::default(),
        default_budget: Budget::default(),
    }
}

/// A route of the session `ses_a` with the key `KEY-A`.
fn route(dialect: Dialect, base: &str) -> Route {
    let provider = if dialect == Dialect::Messages {
        "anthropic"
    } else {
        "custom"
    };
    let mut upstream = Upstream::resolve(provider, Some(base), true, true).unwrap();
    if dialect == Dialect::Responses {
        upstream = upstream.speaking(Dialect::Responses);
    }
    Route {
        session: "ses_a".to_owned(),
        model: ModelSpec {
            upstream,
            name: "real-model".to_owned(),
            version: None,
            key: Some(Secret::new("KEY-A")),
            temperature: None,
            max_tokens: None,
            context_window: None,
            budget: Budget::default(),
        },
        enabled_tools: None,
        spent: ModelCalls::default(),
        counts: true,
        trace: TurnTrace::default(),
    }
}

/// The same with another model.
fn route_with(dialect: Dialect, base: &str, change: impl FnOnce(&mut ModelSpec)) -> Route {
    let mut route = route(dialect, base);
    change(&mut route.model);
    route
}

fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Chat => "compat/v1/chat/completions",
        Dialect::Responses => "openai/v1/responses",
        Dialect::Messages => "anthropic/v1/messages",
    }
}

fn ask() -> Value {
    json!({ "model": "auto-128k", "stream": true, "messages": [{ "role": "user", "content": "hello" }] })
}

/// Reads `answer` as that of a call of the session `ses_a`.
fn reader(answer: Answer, merging: bool, idle: Duration) -> (Grant, AnswerReader) {
    let routes = Arc::new(Routes::default());
    let grant = routes.register(route(Dialect::Chat, "http://x.test/v1"), Budget::default());
    let registered = routes.get("ses_a").unwrap();
    let now = std::time::SystemTime::now();
    let id = registered.meter.begin("ses_a", now, || 0).unwrap();
    let call = Call::new(registered, id, tokio::time::Instant::now(), None);
    call.answering();
    let validator = Validator::new(Dialect::Chat, Redactor::default(), Arc::default(), merging);
    (grant, AnswerReader::new(answer, call, validator, idle))
}

// === impl Rig ===

impl Rig {
    async fn start() -> Self {
        Self::with(config()).await
    }

    async fn with(config: Config) -> Self {
        let bound = Bound::bind(config, Finder::new()).await.unwrap();
        let (handle, addr) = (bound.handle(), bound.addr());
        let token = handle.new_child_token();
        let cancel = CancellationToken::new();
        bound.spawn(&TaskTracker::new(), cancel.clone());
        let client = upstream::plain_client();
        Self {
            handle,
            addr,
            token,
            client,
            _cancel: cancel.drop_guard(),
        }
    }

    /// A gateway whose two timeouts are short.
    async fn hasty() -> Self {
        Self::with(Config {
            header_timeout: SHORT,
            idle_timeout: SHORT,
            ..config()
        })
        .await
    }

    fn register(&self, dialect: Dialect, llm: &Llm) -> Grant {
        self.handle.register(route(dialect, &llm.base()))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.addr)
    }

    /// A call as the child makes it, without its body.
    fn request(&self, dialect: Dialect, session: &str) -> RequestBuilder {
        let request = self
            .client
            .post(self.url(path(dialect)))
            .header("x-session-id", session);
        match dialect {
            Dialect::Messages => request.header("x-api-key", self.token.expose()),
            Dialect::Chat | Dialect::Responses => request.bearer_auth(self.token.expose()),
        }
    }

    async fn call(&self, dialect: Dialect) -> Answered {
        self.send(self.request(dialect, "ses_a").body(ask().to_string()))
            .await
    }

    async fn send(&self, request: RequestBuilder) -> Answered {
        let started = std::time::Instant::now();
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let (mut body, mut broken) = (Vec::new(), false);
        let mut response = response;
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Answered {
            status,
            headers,
            body,
            broken,
            took: started.elapsed(),
        }
    }
}

/// What came back.
#[derive(Debug)]
struct Answered {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: String,
    /// The connection broke before the end.
    broken: bool,
    took: Duration,
}

// === impl Answered ===

impl Answered {
    /// The error's type, in any dialect.
    fn code(&self) -> String {
        let body: Value =
            serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"));
        body["error"]["type"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// Cuts, changes, inserts and removes bytes, as a network, a proxy or a broken server does.
pub(in crate::gateway) fn mutate(
    text: String,
    changes: Vec<(proptest::sample::Index, u8, u8)>,
) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    for (at, change, byte) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match change {
            0 => bytes.truncate(at),
            1 => bytes[at] = byte,
            2 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}
