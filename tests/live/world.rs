//! A sidecar with the real OpenCode and a scripted model, and what every turn has to hold.

use std::collections::HashSet;
use std::ops::Deref;

use serde_json::{Value, json};

use crate::llm::{Llm, Scope, Turn};
use crate::support::http::Response;
use crate::support::sse::Event;
use crate::support::{Options, Sidecar};

pub(crate) struct World {
    pub(crate) sidecar: Sidecar,
    pub(crate) llm: Llm,
    /// The model runs here.
    pub(crate) runtime: tokio::runtime::Runtime,
}

/// A turn from its first event to its last.
#[derive(Debug)]
pub(crate) struct Seen(pub(crate) Vec<Event>);

// === impl World ===

impl World {
    pub(crate) fn start() -> Self {
        Self::with(|options| options)
    }

    pub(crate) fn with(adapt: impl FnOnce(Options) -> Options) -> Self {
        Self::of(adapt(Options::real()))
    }

    pub(crate) fn of(options: Options) -> Self {
        Self::around(options.start())
    }

    /// A sidecar that was started elsewhere, once it is ready.
    pub(crate) fn around(sidecar: Sidecar) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let llm = runtime.block_on(Llm::start());
        Self {
            sidecar: sidecar.ready(),
            llm,
            runtime,
        }
    }

    /// What the model answers to session `id`, call by call.
    pub(crate) fn script(&self, id: &str, turns: impl IntoIterator<Item = Turn>) {
        for turn in turns {
            self.llm.reply_to(Scope::key(id), turn);
        }
    }

    /// A request whose key is the session's id, which is how the model knows who calls.
    pub(crate) fn body(&self, id: &str) -> Value {
        json!({
            "session_id": id,
            "prompt": format!("please do {id}"),
            "model_config": {
                "provider": "custom", "model": "model-of-the-test", "api_key": id,
                "temperature": 0.5, "max_tokens": 4096, "api_endpoint": self.llm.base(),
            },
        })
    }

    pub(crate) fn post_session(&self, body: &Value) -> Response {
        self.sidecar.post("/sessions", &body.to_string())
    }

    pub(crate) fn create(&self, id: &str) {
        self.create_with(id, |_| {});
    }

    pub(crate) fn create_with(&self, id: &str, change: impl FnOnce(&mut Value)) {
        let mut body = self.body(id);
        change(&mut body);
        let answer = self.post_session(&body);
        assert_eq!(answer.status, 201, "{answer:?}");
        assert!(
            answer.json()["remote_session_id"]
                .as_str()
                .unwrap()
                .starts_with("ses_")
        );
    }

    /// Runs a scripted turn to its end.
    pub(crate) fn run(&self, id: &str, turns: impl IntoIterator<Item = Turn>) -> Seen {
        self.script(id, turns);
        self.create(id);
        self.follow(id)
    }

    /// Everything of a turn up to its end, checked against what holds for every turn: ids without
    /// holes, one terminal event and nothing after it, then 204, and a status that says the same.
    pub(crate) fn follow(&self, id: &str) -> Seen {
        let events = self.sidecar.stream(id, "?include=reasoning").rest();
        self.check(id, &events);
        Seen(events)
    }

    fn check(&self, id: &str, events: &[Event]) {
        let numbers: Vec<u64> = events.iter().map(Event::seq).collect();
        let expected: Vec<u64> = (1..=u64::try_from(events.len()).unwrap()).collect();
        assert_eq!(numbers, expected, "{events:#?}");
        let terminal: Vec<usize> = (0..events.len())
            .filter(|at| events[*at].is_terminal())
            .collect();
        assert_eq!(terminal, [events.len() - 1], "{events:#?}");

        let last = events.last().unwrap();
        let cursor = last.id.as_deref().unwrap();
        let after = self
            .sidecar
            .stream_from(id, "", &[("last-event-id", cursor)]);
        assert_eq!(after.status, 204, "{}", after.head);

        let status = self.status(id);
        let state = match last.kind.as_str() {
            "complete" => "completed",
            "error" => "failed",
            _ => "cancelled",
        };
        assert_eq!(status["status"], state, "{status}");
        assert_eq!(status["last_event_id"], cursor, "{status}");
        assert!(status["completed_at"].is_string(), "{status}");
        assert!(status["current_tool"].is_null(), "{status}");
        if state == "completed" {
            assert_eq!(status["progress"], 100, "{status}");
        }
        if state == "failed" {
            assert_eq!(status["error"]["code"], last.data["code"], "{status}");
        }
        assert_progress(events);
        assert_pairs(events);
    }

    pub(crate) fn status(&self, id: &str) -> Value {
        self.sidecar.get(&format!("/sessions/{id}/status")).json()
    }

    pub(crate) fn stop(&self, id: &str) -> Response {
        self.sidecar.post(&format!("/sessions/{id}/stop"), "")
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.sidecar
            .workspace()
            .join(name)
            .to_string_lossy()
            .into_owned()
    }
}

/// Progress never goes back.
fn assert_progress(events: &[Event]) {
    let progress: Vec<u64> = events
        .iter()
        .filter_map(|event| event.data["progress"].as_u64())
        .collect();
    assert!(progress.is_sorted(), "{progress:?}");
}

/// Every tool call has one result, and it comes after the call.
fn assert_pairs(events: &[Event]) {
    let (mut open, mut all) = (HashSet::new(), HashSet::new());
    for event in events {
        let call = event.data["call_id"].as_str().unwrap_or_default();
        match event.kind.as_str() {
            "tool_call" => assert!(all.insert(call) && open.insert(call), "{event:?}"),
            "tool_result" => assert!(open.remove(call), "{event:?}"),
            _ => {}
        }
    }
    assert!(open.is_empty(), "calls without a result: {open:?}");
}

// === impl Seen ===

impl Seen {
    pub(crate) fn of<'a>(&'a self, kind: &'a str) -> impl DoubleEndedIterator<Item = &'a Value> {
        self.0
            .iter()
            .filter(move |event| event.kind == kind)
            .map(|event| &event.data)
    }

    pub(crate) fn last(&self) -> &Value {
        &self.0.last().unwrap().data
    }

    pub(crate) fn text(&self, source: &str) -> String {
        self.of("output")
            .filter(|data| data["source"] == source)
            .map(|data| data["text"].as_str().unwrap())
            .collect()
    }

    /// The only result of this tool.
    pub(crate) fn result(&self, tool: &str) -> &Value {
        let found: Vec<&Value> = self
            .of("tool_result")
            .filter(|data| data["tool"] == tool)
            .collect();
        assert_eq!(found.len(), 1, "{tool}: {:#?}", self.0);
        found[0]
    }

    /// How it ended, and why.
    pub(crate) fn assert_failed(&self, code: &str) -> &Value {
        assert_eq!(self.last()["code"], code, "{:#?}", self.0);
        assert_eq!(self.last()["fatal"], true);
        self.last()
    }

    pub(crate) fn assert_complete(&self) -> &Value {
        assert_eq!(self.0.last().unwrap().kind, "complete", "{:#?}", self.0);
        self.last()
    }
}

impl Deref for World {
    type Target = Sidecar;

    fn deref(&self) -> &Sidecar {
        &self.sidecar
    }
}

/// Arguments of the bash tool.
pub(crate) fn bash(command: &str) -> Value {
    json!({ "command": command, "description": "a command of the test" })
}
