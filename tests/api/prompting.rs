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
