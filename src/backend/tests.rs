//! The module against a backend that is scripted, over real sockets.

mod adopting;
mod restarting;
mod telling;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use reqwest::Url;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::client::Client;
use super::config::{TIMING, Timing};
use super::spawn::spawn_with;
use super::*;
use crate::backoff::Limits;
use crate::clock::Timestamp;
use crate::event::{self, Complete, Event};
use crate::journal::Journal;
use crate::secret::Secret;
use crate::session::tests::{create, request};
use crate::session::{self, OnBusy, Receivers, Registry, Session, Turn, TurnHandle};
use crate::shutdown::Shutdown;
use crate::socket_owner::Finder;

/// Longer than anything here takes; reached only by a fault.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

const TEST_TIMING: Timing = Timing {
    connect: Duration::from_secs(5),
    call: Duration::from_millis(300),
    retry: Limits {
        min: Duration::from_millis(5),
        max: Duration::from_millis(50),
        restarts: 1000,
        window: Duration::from_hours(1),
        exhausted: Duration::from_millis(50),
    },
    // What is told is told because something happened.
    poll: Duration::from_hours(1),
    list_again: Duration::from_millis(20),
    ..TIMING
};

/// How the backend answers one call.
#[derive(Clone, Debug)]
enum Reply {
    Status(u16),
    Text(u16, String),
    Redirect(String),
    /// Never.
    Hang,
    /// The head, and then never the end of the body.
    Drip,
}

/// A call as it arrived.
#[derive(Clone, Debug)]
struct Call {
    method: String,
    path: String,
    bearer: Option<String>,
    body: Value,
}

#[derive(Clone, Default)]
struct Script {
    /// By path, each one once; past them every report is taken and no session is active.
    replies: Arc<Mutex<HashMap<String, Vec<Reply>>>>,
    calls_tx: watch::Sender<Vec<Call>>,
}

struct Fake {
    address: SocketAddr,
    script: Script,
    _stop: DropGuard,
}

/// The conversations of the agent: its id of each, and the session it was made for. `None`: the agent cannot
/// be asked.
#[derive(Clone, Default)]
struct Agent(Arc<Mutex<HashMap<String, Option<String>>>>);

/// The module, with a registry whose driver is the test.
struct Rig {
    registry: Registry,
    receivers: Receivers,
    handle: Handle,
    secret: Arc<Mutex<String>>,
    agent: Agent,
    shutdown: Shutdown,
    _stop: DropGuard,
}

// === impl Fake ===

impl Fake {
    async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), Script::default()).await
    }

    async fn at(address: SocketAddr, script: Script) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(script.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        TaskTracker::new().spawn(async move {
            let serving = async { axum::serve(listener, router).await };
            stopped.run_until_cancelled(serving).await
        });
        Self {
            address,
            script,
            _stop: stop.drop_guard(),
        }
    }

    fn url(&self) -> String {
        format!("http://{}/base/", self.address)
    }

    fn calls(&self) -> Vec<Call> {
        self.script.calls_tx.borrow().clone()
    }

    /// What was told of one session.
    fn told(&self, id: &str) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.path == status_path(id));
        calls
    }

    async fn until(&self, what: &str, holds: impl FnMut(&Vec<Call>) -> bool) {
        let mut calls_rx = self.script.calls_tx.subscribe();
        if tokio::time::timeout(TEST_TIMEOUT, calls_rx.wait_for(holds))
            .await
            .is_err()
        {
            panic!("not {what}: {:#?}", self.calls());
        }
    }

    async fn until_told(&self, id: &str, times: usize) {
        let path = status_path(id);
        let told = |calls: &Vec<Call>| calls.iter().filter(|call| call.path == path).count();
        self.until(&format!("{id} told {times} times"), |calls| {
            told(calls) >= times
        })
        .await;
    }
}

// === impl Script ===

impl Script {
    fn on(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let mut all = self.replies.lock();
        all.entry(path.to_owned()).or_default().extend(replies);
    }

    fn on_report(&self, id: &str, replies: impl IntoIterator<Item = Reply>) {
        self.on(&status_path(id), replies);
    }

    fn on_list(&self, replies: impl IntoIterator<Item = Reply>) {
        self.on(LIST, replies);
    }

    fn reply(&self, path: &str) -> Reply {
        let mut replies = self.replies.lock();
        match replies.get_mut(path) {
            Some(left) if !left.is_empty() => left.remove(0),
            _ if path == LIST => Reply::Text(200, r#"{"sessions":[]}"#.into()),
            _ => Reply::Status(200),
        }
    }
}

const LIST: &str = "/base/api/sessions/active";

fn status_path(id: &str) -> String {
    format!("/base/api/sessions/{id}/status")
}

async fn answer(State(script): State<Script>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = head.uri.path().to_owned();
    let bearer = head.headers.get("authorization");
    let call = Call {
        method: head.method.to_string(),
        path: path.clone(),
        bearer: bearer.map(|value| value.to_str().unwrap().to_owned()),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    };
    let reply = script.reply(&path);
    script.calls_tx.send_modify(|calls| calls.push(call));
    let builder = Response::builder();
    let built = match reply {
        Reply::Status(status) => builder.status(status).body(Body::empty()),
        Reply::Text(status, text) => builder.status(status).body(Body::from(text)),
        Reply::Redirect(to) => builder
            .status(307)
            .header("location", to)
            .body(Body::empty()),
        Reply::Drip => {
            let silence = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
            builder.body(Body::from_stream(silence))
        }
        Reply::Hang => std::future::pending().await,
    };
    built.unwrap()
}

// === impl Agent ===

impl Agent {
    fn has(&self, remote_id: &str, id: &str) {
        let made_for = Some(id.to_owned());
        self.0.lock().insert(remote_id.to_owned(), made_for);
    }

    fn cannot_be_asked_about(&self, remote_id: &str) {
        self.0.lock().insert(remote_id.to_owned(), None);
    }

    fn conversations(&self) -> Conversations {
        let known = self.0.clone();
        Arc::new(move |remote_id: String, id: String| {
            let made_for = match known.lock().get(&remote_id) {
                Some(Some(made_for)) => Some(*made_for == id),
                Some(None) => None,
                None => Some(false),
            };
            std::future::ready(made_for).boxed()
        })
    }
}

// === impl Rig ===

impl Rig {
    fn new(url: &str) -> Self {
        Self::with(url, 64, TEST_TIMING)
    }

    fn with(url: &str, most: usize, timing: Timing) -> Self {
        Self::on(url, most, timing, None)
    }

    fn on(url: &str, most: usize, timing: Timing, journal: Option<Journal>) -> Self {
        let shutdown = Shutdown::default();
        let config = session::Config {
            most,
            retention: Duration::from_mins(1),
            keep_prompts: true,
            credential_retention: Duration::from_hours(1),
            tells_ends: true,
        };
        let (registry, receivers) = Registry::new(config, journal, shutdown.drain.clone());
        let secret = Arc::new(Mutex::new("first-secret".to_owned()));
        let present = secret.clone();
        let bearer: Bearer = Arc::new(move || Some(Secret::new(present.lock().clone())));
        let config = Config {
            url: Url::parse(url).unwrap(),
            extra_ca_file: None,
        };
        let tracker = TaskTracker::new();
        let agent = Agent::default();
        // What most tests have in their lists.
        agent.has("ses_9", "stray");
        let client = Client::new(&config, bearer, Finder::new(), timing).unwrap();
        let conversations = agent.conversations();
        let handle = spawn_with(
            timing,
            client,
            &registry,
            conversations,
            &shutdown,
            &tracker,
        );
        Self {
            registry,
            receivers,
            handle,
            secret,
            agent,
            _stop: shutdown.gone.clone().drop_guard(),
            shutdown,
        }
    }

    /// A session that runs.
    async fn begin(&mut self, id: &str) -> (Arc<Session>, TurnHandle) {
        create(&self.registry, &mut self.receivers.turns_rx, id).await
    }

    /// The next turn that the driver is to drive.
    async fn turn(&mut self) -> Turn {
        let turn = self.receivers.turns_rx.recv();
        let turn = tokio::time::timeout(TEST_TIMEOUT, turn).await;
        turn.expect("a turn to drive").unwrap()
    }

    /// A session that has ended well.
    async fn complete(&mut self, id: &str) {
        let (_, turn_handle) = self.begin(id).await;
        complete(&self.registry, &turn_handle);
    }

    /// Waits until nothing is left to tell.
    async fn until_all_told(&self) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        // The registry makes no noise when it notes that.
        while !self.registry.unreported(100).await.unwrap().is_empty() {
            assert!(Instant::now() < deadline, "something is left to tell");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn complete(registry: &Registry, turn_handle: &TurnHandle) {
    let body = event::Body::Complete(Complete::default());
    let event = Event::new(Timestamp::now(), body);
    turn_handle.update(|status| {
        status.state = event::State::Completed;
        status.completed_at = Some(event.at);
    });
    turn_handle.append(&event);
    registry.ended();
}
