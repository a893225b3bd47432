//! Reading a conversation: what is refused, what a child may answer, and how much of it is passed on.

use serde_json::{Value, json};

use crate::support::{Options, Sidecar, http};

/// A session that has ended, in a sidecar whose child answers from a script.
pub(crate) fn ended(options: Options) -> Sidecar {
    let sidecar = options.start().ready();
    let body = json!({ "session_id": "s1", "prompt": "hello",
        "model_config": { "provider": "local", "model": "m", "api_key": "the-key" } });
    assert_eq!(sidecar.post("/sessions", &body.to_string()).status, 201);
    assert_eq!(sidecar.post("/sessions/s1/stop", "").status, 200);
    sidecar
}

/// What the child answers from now on.
pub(crate) fn answers(sidecar: &Sidecar, answers: &Value) {
    let file = sidecar.data_dir().join("stub.answers");
    std::fs::write(file, answers.to_string()).unwrap();
}

pub(crate) fn asked(sidecar: &Sidecar) -> String {
    std::fs::read_to_string(sidecar.data_dir().join("stub.found")).unwrap()
}

fn message(number: usize, text: &str) -> Value {
    json!({
        "info": { "id": format!("msg_{number:04}"), "role": "assistant", "parentID": "msg_0000",
            "time": { "created": number, "completed": number } },
        "parts": [{ "id": "p", "sessionID": "ses_stub", "messageID": "m", "type": "text", "text": text }],
    })
}

const MESSAGES: &str = "/session/ses_stub/message";

#[test]
fn what_is_wrong_is_named_and_never_gets_into_a_call_of_the_child() {
    let sidecar = ended(Options::stub());
    let table = [
        ("messages?limit=201", "limit", "must be from 1 to 200"),
        ("messages?limit=x", "limit", "must be from 1 to 200"),
        ("messages?limit=1&limit=2", "limit", "is given twice"),
        (
            "messages?cursor=",
            "cursor",
            "must be the next_cursor of a page of this list",
        ),
        (
            "messages?cursor=a%26limit%3D9",
            "cursor",
            "must be the next_cursor of a page of this list",
        ),
        (
            "messages?agent=..%2Fses_1",
            "agent",
            "must be the id of a subagent, as GET /sessions/{id}/children has it",
        ),
        (
            "messages?agent=ses_1%2Fabort",
            "agent",
            "must be the id of a subagent, as GET /sessions/{id}/children has it",
        ),
        ("diff?turn=0", "turn", "must be the number of a turn"),
        ("diff?turn=-1", "turn", "must be the number of a turn"),
    ];
    let before = asked(&sidecar);
    for (path, field, reason) in table {
        let refused = sidecar.get(&format!("/sessions/s1/{path}"));
        assert_eq!(refused.status, 400, "{path}: {refused:?}");
        assert_eq!(
            refused.json()["details"],
            json!({ "field": field, "reason": reason }),
            "{path}"
        );
    }
    for path in ["messages", "children", "todos", "diff"] {
        assert_eq!(
            sidecar.get(&format!("/sessions/nobody/{path}")).status,
            404,
            "{path}"
        );
    }
    assert_eq!(asked(&sidecar), before);
}

#[test]
fn a_child_that_is_not_there_is_waited_for_and_then_said_to_be_missing() {
    let sidecar = ended(Options::stub().env("ENGINE_WAIT", "100ms"));
    assert_eq!(sidecar.post("/engine/stop", "").status, 200);
    for path in ["messages", "children", "todos", "diff"] {
        let refused = sidecar.get(&format!("/sessions/s1/{path}"));
        assert_eq!(refused.status, 503, "{path}: {refused:?}");
        assert_eq!(refused.json()["code"], "engine_unavailable", "{path}");
        assert_eq!(refused.json()["error"], "engine stopped", "{path}");
        assert!(refused.header("retry-after").is_some(), "{path}");
    }
}

#[test]
fn what_the_child_cannot_do_is_told_without_its_words() {
    let sidecar = ended(Options::stub());
    let whole = |status: u16, body: &Value| {
        let answer = json!({ "status": status, "body": body });
        let paths = ["message", "children", "todo"];
        let answers = paths.map(|path| (format!("GET /session/ses_stub/{path}"), answer.clone()));
        Value::Object(answers.into_iter().collect())
    };
    let leaking =
        json!({ "name": "UnknownError", "data": { "message": "at /data/engine/secret the-key" } });
    let table = [
        (
            404,
            &leaking,
            409,
            "the agent has nothing of this session any more; create a new one",
        ),
        (
            500,
            &leaking,
            500,
            "something failed in the sidecar; its log says what, under this request_id",
        ),
        (
            200,
            &leaking,
            500,
            "something failed in the sidecar; its log says what, under this request_id",
        ),
    ];
    for (status, body, expected, sentence) in table {
        answers(&sidecar, &whole(status, body));
        for path in ["messages", "children", "todos", "diff"] {
            let refused = sidecar.get(&format!("/sessions/s1/{path}"));
            assert_eq!(refused.status, expected, "{path}: {refused:?}");
            assert_eq!(refused.error(), sentence, "{path}");
            assert!(!refused.body.contains("the-key"), "{path}");
        }
    }
}

#[test]
fn huge_texts_are_cut_and_a_page_has_as_many_messages_as_fit() {
    let sidecar = ended(Options::stub());
    let huge = "x".repeat(10 << 20);
    answers(
        &sidecar,
        &json!({ format!("GET {MESSAGES}"): { "status": 200, "body": [message(1, &huge)] } }),
    );
    let page = sidecar.get("/sessions/s1/messages");
    let shown = &page.json()["messages"][0];
    assert_eq!(
        (shown["text"].as_str().unwrap().len(), &shown["truncated"]),
        (256 << 10, &json!(true))
    );

    // 8 MiB are 32 texts of 256 KiB, less what each message has besides.
    let long = "x".repeat(256 << 10);
    let many: Vec<Value> = (1..=60).map(|number| message(number, &long)).collect();
    answers(
        &sidecar,
        &json!({
            format!("GET {MESSAGES}?limit=60"): { "status": 200, "body": many },
            format!("GET {MESSAGES}?limit=31"): { "status": 200, "body": [], "headers": "x-next-cursor: after31\r\n" },
            format!("GET {MESSAGES}/msg_0000"): { "status": 200, "body": message(0, "") },
        }),
    );
    let page = sidecar.get("/sessions/s1/messages?limit=60").json();
    assert_eq!(page["messages"].as_array().unwrap().len(), 31);
    assert_eq!(page["messages"][0]["id"], "msg_0060");
    assert_eq!(page["next_cursor"], "after31");
}

#[test]
fn an_answer_that_is_too_large_is_asked_for_in_smaller_pieces() {
    let sidecar = ended(Options::stub());
    answers(
        &sidecar,
        &json!({
            format!("GET {MESSAGES}?limit=50"): { "status": 200, "fill_mb": 65 },
            format!("GET {MESSAGES}?limit=25"): {
                "status": 200, "body": [message(7, "fits")], "headers": "x-next-cursor: older\r\n" },
            format!("GET {MESSAGES}/msg_0000"): { "status": 404, "body": {} },
        }),
    );
    let page = sidecar.get("/sessions/s1/messages").json();
    assert_eq!(
        (&page["messages"][0]["text"], &page["next_cursor"]),
        (&json!("fits"), &json!("older"))
    );
}

#[test]
fn what_a_session_is_called_is_checked_kept_and_shown() {
    let sidecar = ended(Options::stub());
    let long = "x".repeat(4096);
    let title = "must have 1 to 256 characters, not only blanks, and none that control a terminal";
    let table = [
        (json!({ "title": " " }), "title", title.to_owned()),
        (
            json!({ "title": "x".repeat(257) }),
            "title",
            title.to_owned(),
        ),
        (json!({ "title": "\u{1b}[2J" }), "title", title.to_owned()),
        (
            json!({ "metadata": { "a": long } }),
            "metadata",
            "has 4104 bytes as JSON, and at most 4096 are accepted".to_owned(),
        ),
        (
            json!({ "metadata": [1] }),
            "metadata",
            "invalid type: sequence, expected a map".to_owned(),
        ),
    ];
    for (body, field, reason) in table {
        let refused = sidecar.send("PATCH", "/sessions/s1", &body.to_string());
        assert_eq!(refused.status, 400, "{body}");
        assert_eq!(
            refused.json()["details"],
            json!({ "field": field, "reason": reason })
        );
    }
    let patch = |body: Value| {
        sidecar
            .send("PATCH", "/sessions/s1", &body.to_string())
            .json()
    };
    let both = patch(json!({ "title": "mine", "metadata": { "ticket": 7 } }));
    assert_eq!(
        (&both["title"], &both["metadata"]["ticket"]),
        (&json!("mine"), &json!(7))
    );
    let one = patch(json!({ "metadata": { "other": true } }));
    assert_eq!(
        (&one["title"], &one["metadata"]),
        (&json!("mine"), &json!({ "other": true }))
    );
    assert_eq!(patch(json!({ "title": null }))["title"], Value::Null);
    let listed = sidecar.get("/sessions").json();
    assert_eq!(listed["sessions"][0]["metadata"], json!({ "other": true }));
    assert_eq!(sidecar.send("PATCH", "/sessions/nobody", "{}").status, 404);
}

#[test]
fn a_fork_whose_rules_cannot_be_set_does_not_come_about() {
    let sidecar = ended(Options::stub());
    answers(
        &sidecar,
        &json!({
            "GET /session/ses_stub": { "status": 200, "body": { "id": "ses_stub", "permission": [
                { "permission": "bash", "pattern": "*", "action": "deny" }] } },
            "POST /session/ses_stub/fork": { "status": 200, "body": { "id": "ses_copy" } },
            "PATCH /session/ses_copy": { "status": 500, "body": {} },
        }),
    );
    let refused = sidecar.post("/sessions/s1/fork", r#"{"session_id":"copy"}"#);
    assert_eq!(refused.status, 500, "{refused:?}");
    assert!(asked(&sidecar).contains("asked DELETE /session/ses_copy"));
    assert_eq!(sidecar.get("/sessions/copy/status").status, 404);
}

#[test]
fn the_same_key_forks_once_also_after_a_restart() {
    let mut sidecar = ended(Options::stub());
    answers(
        &sidecar,
        &json!({
            "GET /session/ses_stub": { "status": 200, "body": { "id": "ses_stub" } },
            "POST /session/ses_stub/fork": { "status": 200, "body": { "id": "ses_copy" } },
            "PATCH /session/ses_copy": { "status": 200, "body": { "id": "ses_copy" } },
        }),
    );
    let fork = |sidecar: &Sidecar, id: &str, key: &str, body: &str| {
        let headers = [("idempotency-key", key)];
        let path = format!("/sessions/{id}/fork");
        http::send(sidecar.address, "POST", &path, &headers, body.as_bytes()).unwrap()
    };
    let refused = fork(&sidecar, "s1", "", "");
    assert_eq!(refused.json()["details"]["field"], "Idempotency-Key");
    let first = fork(&sidecar, "s1", "k1", "");
    assert_eq!(first.status, 201, "{first:?}");
    let again = fork(&sidecar, "s1", "k1", "");
    assert_eq!((again.status, again.json()), (201, first.json()));
    assert_eq!(again.header("location"), first.header("location"));
    // Another body, another session, another route.
    let id = first.json()["session_id"].as_str().unwrap().to_owned();
    for other in [
        fork(&sidecar, "s1", "k1", r#"{"title":"x"}"#),
        fork(&sidecar, &id, "k1", ""),
    ] {
        assert_eq!(
            (other.status, &other.json()["code"]),
            (422, &json!("idempotency_mismatch"))
        );
    }
    let named = r#"{"session_id":"named"}"#;
    assert_eq!(fork(&sidecar, "s1", "k2", named).status, 201);
    assert_eq!(fork(&sidecar, "s1", "k2", named).status, 201);
    assert_eq!(fork(&sidecar, "s1", "k3", named).status, 409);
    sidecar.signal(rustix::process::Signal::KILL);
    sidecar.restart();
    let again = fork(&sidecar, "s1", "k1", "");
    assert_eq!((again.status, again.json()), (201, first.json()));
    let listed = sidecar.get("/sessions").json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 3, "{listed}");
}

#[test]
fn what_cannot_be_undone_says_why() {
    let sidecar = ended(Options::stub());
    let prompt =
        json!({ "info": { "id": "msg_1", "role": "user", "time": { "created": 1 } }, "parts": [] });
    answers(
        &sidecar,
        &json!({
            format!("GET {MESSAGES}/msg_1"): { "status": 200, "body": prompt },
            format!("GET {MESSAGES}/msg_2"): { "status": 200, "body": message(2, "an answer") },
            "POST /session/ses_stub/revert": { "status": 409, "body": { "_tag": "SessionBusyError" } },
        }),
    );
    let revert = |body: &str| sidecar.post("/sessions/s1/revert", body);
    assert_eq!(
        revert(r#"{"message_id":"msg_1"}"#).status,
        409,
        "something runs there"
    );
    assert_eq!(
        revert(r#"{"message_id":"msg_2"}"#).status,
        404,
        "an answer is no prompt"
    );
    assert_eq!(revert(r#"{"message_id":"msg_3"}"#).status, 404);
    assert_eq!(revert(r#"{"message_id":"ses_1"}"#).status, 400);
    assert_eq!(revert(r#"{"turn":0}"#).status, 400);
    assert_eq!(sidecar.post("/sessions/s1/unrevert", "").status, 409);
}
