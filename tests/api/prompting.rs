//! Further prompts of a session, where the real OpenCode would not do what is needed here.

use serde_json::{Value, json};

use super::conversation::{answers, asked, ended};
use crate::support::http::{Response, send};
use crate::support::sse::Stream;
use crate::support::{Options, Sidecar};

/// A prompt of session `s1`, whose key went with the stop that ended it.
fn body() -> Value {
    json!({ "prompt": "more",
        "model_config": { "provider": "local", "model": "m", "api_key": "the-key" } })
}

fn streamed(sidecar: &Sidecar) -> Response {
    let (path, headers) = ("/sessions/s1/prompt", [("accept", "text/event-stream")]);
    let body = body().to_string();
    send(sidecar.address, "POST", path, &headers, body.as_bytes()).unwrap()
}

fn prompted(sidecar: &Sidecar) -> Vec<String> {
    let asked = asked(sidecar);
    let ids = asked
        .lines()
        .filter_map(|line| line.strip_prefix("prompted "));
    ids.map(str::to_owned).collect()
}

#[test]
fn a_prompt_whose_stream_is_refused_does_not_run() {
    let sidecar = ended(Options::stub());
    let readers: Vec<Stream> = (0..64).map(|_| sidecar.stream("s1", "?follow=1")).collect();
    let refused = streamed(&sidecar);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (429, &json!("too_many_streams"))
    );
    assert_eq!(sidecar.get("/sessions/s1/status").json()["turn"], 1);
    assert_eq!(prompted(&sidecar).len(), 1);
    drop(readers);
}

#[test]
fn a_further_prompt_under_which_the_child_dies_is_handed_over_again_under_the_same_id() {
    let sidecar = ended(Options::stub().script(json!({ "dies_when": "die" })));
    let session = json!({ "status": 200, "body": { "id": "ses_stub", "title": "s1" } });
    answers(&sidecar, &json!({ "GET /session/ses_stub": session }));
    std::fs::write(sidecar.data_dir().join("die"), "").unwrap();
    let taken = sidecar.post("/sessions/s1/prompt", &body().to_string());
    assert_eq!(taken.status, 202, "{taken:?}");
    sidecar.until("prompted again", |sidecar| prompted(sidecar).len() == 3);
    let ids = prompted(&sidecar);
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[1], ids[2]);
    let stopped = sidecar.post("/sessions/s1/stop", "");
    assert_eq!(stopped.status, 200, "{stopped:?}");
}

/// What the agent was told last.
fn told(sidecar: &Sidecar) -> String {
    let asked = asked(sidecar);
    let mut words = asked.lines().filter_map(|line| line.strip_prefix("told "));
    words.next_back().unwrap_or_default().to_owned()
}

/// Kills the sidecar, and waits until the next one has ended the turn that ran.
fn interrupt(sidecar: &mut Sidecar) {
    sidecar.signal(rustix::process::Signal::KILL);
    sidecar.restart();
    sidecar.until("the end of the turn", |sidecar| {
        sidecar.get("/sessions/s1/status").json()["error"]["code"] == "interrupted"
    });
}

#[test]
fn a_prompt_that_the_agent_never_stored_is_given_again_when_its_turn_is_resumed() {
    let mut sidecar = ended(Options::stub());
    let session = json!({ "status": 200, "body": { "id": "ses_stub", "title": "s1" } });
    answers(&sidecar, &json!({ "GET /session/ses_stub": session }));
    let taken = sidecar.post("/sessions/s1/prompt", &body().to_string());
    assert_eq!(taken.status, 202, "{taken:?}");
    let resume = json!({ "model_config": body()["model_config"] }).to_string();
    // Also when the turn that goes on is interrupted in turn.
    for _ in 0..2 {
        interrupt(&mut sidecar);
        let resumed = sidecar.post("/sessions/s1/resume", &resume);
        assert_eq!(resumed.status, 200, "{resumed:?}");
        assert_eq!(told(&sidecar), "more");
    }
    // A message is stored before its words.
    let message = |id: &str, parts: Value| {
        let info =
            json!({ "id": id, "role": "user", "sessionID": "ses_stub", "time": { "created": 3 } });
        json!([{ "info": info, "parts": parts }])
    };
    let words = json!([{ "id": "p", "sessionID": "ses_stub", "messageID": "msg_3", "type": "text", "text": "more" }]);
    let stored = [
        ("msg_2", json!([]), "more"),
        ("msg_3", words, "Your last turn ended before"),
    ];
    for (id, parts, expected) in stored {
        interrupt(&mut sidecar);
        let messages = json!({ "status": 200, "body": message(id, parts) });
        answers(
            &sidecar,
            &json!({ "GET /session/ses_stub": session, "GET /session/ses_stub/message": messages }),
        );
        let resumed = sidecar.post("/sessions/s1/resume", &resume);
        assert_eq!(resumed.status, 200, "{resumed:?}");
        assert!(told(&sidecar).starts_with(expected), "{}", told(&sidecar));
    }
}

#[test]
fn a_turn_that_is_no_prompt_runs_once_under_its_key_also_after_a_restart() {
    let mut sidecar = ended(Options::stub());
    answers(
        &sidecar,
        &json!({
            "GET /session/ses_stub": { "status": 200, "body": { "id": "ses_stub", "title": "s1" } },
            "POST /session/ses_stub/shell": { "status": 200, "body": {} },
        }),
    );
    let post = |sidecar: &Sidecar, route: &str, key: &str, body: &Value| {
        let (path, headers) = (format!("/sessions/s1/{route}"), [("idempotency-key", key)]);
        let body = body.to_string();
        send(sidecar.address, "POST", &path, &headers, body.as_bytes()).unwrap()
    };
    let resume = json!({ "model_config": body()["model_config"] });
    let command = json!({ "command": "git push" });
    let runs = |sidecar: &Sidecar| {
        asked(sidecar)
            .matches("POST /session/ses_stub/shell")
            .count()
    };
    let shell = post(&sidecar, "shell", "k1", &command);
    assert_eq!(
        (shell.status, &shell.json()["turn"]),
        (202, &json!(2)),
        "{shell:?}"
    );
    let again = post(&sidecar, "shell", "k1", &command);
    assert_eq!(
        (again.status, &again.json()["turn"]),
        (202, &json!(2)),
        "{again:?}"
    );
    for other in [
        post(&sidecar, "shell", "k1", &json!({ "command": "git pull" })),
        post(&sidecar, "compact", "k1", &command),
        post(&sidecar, "resume", "k1", &resume),
    ] {
        assert_eq!(other.json()["code"], "idempotency_mismatch", "{other:?}");
    }
    assert_eq!(post(&sidecar, "shell", "", &command).status, 400);
    sidecar.post("/sessions/s1/stop", "");
    let resumed = post(&sidecar, "resume", "k2", &resume);
    assert_eq!(
        (resumed.status, &resumed.json()["turn"]),
        (200, &json!(3)),
        "{resumed:?}"
    );
    let again = post(&sidecar, "resume", "k2", &resume);
    assert_eq!(
        (again.status, &again.json()["turn"]),
        (200, &json!(3)),
        "{again:?}"
    );
    assert_eq!(
        post(&sidecar, "resume", "k3", &resume).status,
        409,
        "it runs"
    );
    interrupt(&mut sidecar);
    // The child does not know the session any more, which does not matter to what was done.
    answers(&sidecar, &json!({}));
    let again = post(&sidecar, "shell", "k1", &command);
    assert_eq!(
        (again.status, &again.json()["turn"]),
        (202, &json!(2)),
        "{again:?}"
    );
    assert_eq!(runs(&sidecar), 1);
}
