//! What the Go backend is told and asked. Those that restart the sidecar need its journal.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Options, Sidecar};

/// How the backend behaves. It can be changed while it runs.
#[derive(Clone)]
enum Mood {
    Well { active: Value },
    Broken,
    Hanging,
}

/// A call as it arrived.
#[derive(Clone, Debug)]
struct Call {
    line: String,
    bearer: String,
    body: Value,
}

#[derive(Clone)]
struct Backend {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Backend {
    fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let backend = Self {
            address: listener.local_addr().unwrap(),
            mood: Arc::new(Mutex::new(mood)),
            calls: Arc::default(),
        };
        let server = backend.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                std::thread::spawn(move || server.serve(&stream));
            }
        });
        backend
    }

    fn well() -> Self {
        Self::start(Mood::Well { active: json!([]) })
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// A sidecar that knows it. Its turns have no end of their own, so a drain does not wait for one.
    fn sidecar(&self) -> Sidecar {
        let options = Options::stub()
            .env("BACKEND_API_URL", &format!("http://{}", self.address))
            .env("OPENCODE_SHARED_SECRET", "hunter2")
            .env("DRAIN_TIMEOUT", "12s");
        known(options.start())
    }

    /// What was told of one session, waiting for the first of it.
    fn told(&self, sidecar: &Sidecar, id: &str) -> Vec<Call> {
        let line = format!("PATCH /api/sessions/{id}/status HTTP/1.1");
        let told = || {
            let mut calls = self.calls.lock().clone();
            calls.retain(|call| call.line == line);
            calls
        };
        sidecar.until("told", |_| !told().is_empty());
        told()
    }

    /// One call a connection.
    fn serve(&self, mut stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        drop(reader.read_line(&mut line));
        let (mut length, mut bearer) = (0, String::new());
        loop {
            let mut header = String::new();
            drop(reader.read_line(&mut header));
            let Some((name, value)) = header.trim().split_once(": ") else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "authorization" => value.clone_into(&mut bearer),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        drop(reader.read_exact(&mut body));
        let line = line.trim().to_owned();
        let listing = line.starts_with("GET /api/sessions/active ");
        let mood = self.mood.lock().clone();
        let (status, answer) = match mood {
            Mood::Well { active } if listing => (200, json!({ "sessions": active }).to_string()),
            Mood::Well { .. } => (200, "{}".to_owned()),
            Mood::Broken => (503, String::new()),
            Mood::Hanging => (0, String::new()),
        };
        self.calls.lock().push(Call {
            line,
            bearer,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        });
        if status == 0 {
            // Until the caller has enough.
            drop(stream.read(&mut [0]));
            return;
        }
        let head = format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        drop(stream.write_all(format!("{head}{answer}").as_bytes()));
    }
}

/// With its secret.
fn known(mut sidecar: Sidecar) -> Sidecar {
    sidecar.token = Some("hunter2".into());
    sidecar.ready()
}

fn create(sidecar: &Sidecar, id: &str) {
    let body = json!({
        "session_id": id, "prompt": "please",
        "model_config": { "provider": "local", "model": "m" },
    });
    let answer = sidecar.post("/sessions", &body.to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
}

fn stop(sidecar: &Sidecar, id: &str) -> Value {
    let answer = sidecar.post(&format!("/sessions/{id}/stop"), "");
    assert_eq!(answer.status, 200, "{answer:?}");
    sidecar.get(&format!("/sessions/{id}/status")).json()
}

#[test]
fn every_end_is_told_and_that_of_the_last_turn_before_the_exit() {
    let backend = Backend::well();
    let mut sidecar = backend.sidecar();
    create(&sidecar, "stopped");
    let status = stop(&sidecar, "stopped");
    let told = backend.told(&sidecar, "stopped");
    assert_eq!(told[0].bearer, "Bearer hunter2");
    assert_eq!(
        told[0].body,
        json!({ "status": "cancelled", "error": null, "code": null, "turn": 1,
            "last_event_id": status["last_event_id"] })
    );

    create(&sidecar, "running");
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    let told = backend.told(&sidecar, "running");
    assert_eq!((told.len(), &told[0].body["status"]), (1, &json!("failed")));
    assert_eq!(told[0].body["code"], "shutting_down");
    assert_eq!(backend.told(&sidecar, "stopped").len(), 1, "once");
    assert!(!sidecar.log().contains("hunter2"), "{}", sidecar.log());
}

#[test]
fn what_the_backend_missed_it_hears_from_the_next_sidecar() {
    let backend = Backend::start(Mood::Broken);
    let sidecar = backend.sidecar();
    create(&sidecar, "missed");
    let status = stop(&sidecar, "missed");
    assert!(!backend.told(&sidecar, "missed").is_empty());
    sidecar.until("down", |sidecar| {
        sidecar.log().contains("the backend does not take calls")
    });
    let mut sidecar = sidecar;
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    // Between the two nobody calls.
    backend.calls.lock().clear();
    backend.set(Mood::Well { active: json!([]) });
    let next = known(sidecar.again());
    let told = backend.told(&next, "missed");
    assert_eq!(told[0].body["status"], "cancelled");
    assert_eq!(told[0].body["last_event_id"], status["last_event_id"]);
}

fn entry(id: &str, remote_id: Option<&str>) -> Value {
    json!({ "id": id, "task_id": "t", "status": "running", "prompt": "p", "remote_session_id": remote_id,
        "last_event_id": null, "created_at": "2026-01-02T03:04:05Z" })
}

/// The backend's list has the sessions of every pod.
#[test]
fn what_neither_the_journal_nor_the_agent_knows_is_another_pods_and_left_alone() {
    let active = json!([
        entry("of-another-pod", Some("ses_elsewhere")),
        entry("on-its-way-to-another-pod", None),
        // The agent has this conversation, but made it for another session.
        entry("twin", Some("ses_kept")),
        entry("kept", Some("ses_kept")),
    ]);
    let backend = Backend::start(Mood::Well { active });
    let sidecar = backend.sidecar();
    let told = backend.told(&sidecar, "kept");
    assert_eq!(told[0].body["status"], "failed");
    assert_eq!(told[0].body["code"], "interrupted");
    let status = sidecar.get("/sessions/kept/status").json();
    assert_eq!(status["status"], "failed");
    assert_eq!(status["remote_session_id"], "ses_kept");
    assert_eq!(status["created_at"], "2026-01-02T03:04:05.000Z");
    assert_eq!(status["last_event_id"], told[0].body["last_event_id"]);
    // It came last in the list, so the others have been looked at.
    for id in ["of-another-pod", "on-its-way-to-another-pod", "twin"] {
        assert_eq!(sidecar.get(&format!("/sessions/{id}/status")).status, 404);
        let line = format!("PATCH /api/sessions/{id}/status HTTP/1.1");
        let calls = backend.calls.lock();
        assert!(calls.iter().all(|call| call.line != line), "{id}");
    }
}

/// The journal is lost and the agent's own data is not: its sessions are ours.
#[test]
fn what_only_the_agent_knows_is_adopted_and_ends_as_it_had_ended() {
    let backend = Backend::well();
    let options = Options::real()
        .env("BACKEND_API_URL", &format!("http://{}", backend.address))
        .env("OPENCODE_SHARED_SECRET", "hunter2")
        .env("DEMO_MODEL", "on");
    let mut sidecar = known(options.start());
    let model = json!({ "provider": "demo", "model": "demo", "enabled_tools": ["read"] });
    let body = json!({ "session_id": "demo", "prompt": "Hello", "model_config": model });
    let made = sidecar.post("/sessions", &body.to_string()).json();
    assert_eq!(
        backend.told(&sidecar, "demo")[0].body["status"],
        "completed"
    );
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    std::fs::remove_dir_all(sidecar.data_dir().join("journal")).unwrap();
    let remote_id = made["remote_session_id"].as_str();
    let active = json!([
        entry("foreign", Some("ses_1f88b6bb8002FQ7tzYtFDw5Uoe")),
        entry("demo", remote_id)
    ]);
    backend.calls.lock().clear();
    backend.set(Mood::Well { active });
    let next = known(sidecar.again());
    assert_eq!(backend.told(&next, "demo")[0].body["status"], "completed");
    let status = next.get("/sessions/demo/status").json();
    assert_eq!(status["remote_session_id"], made["remote_session_id"]);
    assert_eq!(next.get("/sessions/foreign/status").status, 404);
    // What it may do is what it was made with.
    let refused = next.post("/sessions/demo/shell", r#"{"command":"touch made"}"#);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("conflict")),
        "{refused:?}"
    );
}

#[test]
fn a_backend_that_hangs_delays_nothing() {
    let backend = Backend::start(Mood::Hanging);
    let mut sidecar = backend.sidecar();
    create(&sidecar, "a");
    stop(&sidecar, "a");
    create(&sidecar, "b");
    stop(&sidecar, "b");
    assert_eq!(sidecar.get("/ready").status, 200);
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    assert!(sidecar.log().contains("leaving without the last reports"));
}
