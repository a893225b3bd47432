//! The bearer token.

use std::fs;

use serde_json::json;

use crate::support::ws::{Received, Socket};
use crate::support::{Options, Sidecar, http};

fn status(sidecar: &Sidecar, authorization: Option<&str>) -> u16 {
    let headers: Vec<(&str, &str)> = authorization
        .map(|value| ("authorization", value))
        .into_iter()
        .collect();
    http::send(sidecar.address, "GET", "/engine/status", &headers, b"")
        .unwrap()
        .status
}

#[test]
fn without_the_token_every_route_but_the_probes_is_closed() {
    let sidecar = Options::stub()
        .env("OPENCODE_SHARED_SECRET", "s3cret")
        .start();
    let all = ["/engine/status", "/engine/start", "/sessions", "/nope", "/"];
    // Also where the method is wrong: without a token nobody learns which routes there are.
    for method in ["GET", "POST", "PUT"] {
        for path in all {
            let response = sidecar.send(method, path, "");
            assert_eq!(response.status, 401, "{method} {path}");
        }
    }
    let response = sidecar.get("/nope");
    assert_eq!(response.header("www-authenticate"), Some("Bearer"));
    assert_eq!(response.json()["code"], "unauthorized");
    let needed = "this route needs the header `Authorization: Bearer <shared secret>` or `X-Sidecar-Token: <shared secret>`";
    let said = |authorization: Option<&str>| {
        let headers: Vec<(&str, &str)> = authorization
            .map(|value| ("authorization", value))
            .into_iter()
            .collect();
        http::send(sidecar.address, "GET", "/sessions", &headers, b"")
            .unwrap()
            .error()
    };
    assert_eq!(said(None), format!("{needed}, and the request has none"));
    for odd in ["Basic s3cret", "s3cret", "Bearer"] {
        let sentence = format!("{needed}, and the one sent is no bearer token");
        assert_eq!(said(Some(odd)), sentence, "{odd}");
    }
    let sentence = format!("{needed}, and the token sent is not accepted");
    assert_eq!(said(Some("Bearer nope")), sentence);
    for wrong in [
        "Bearer nope",
        "Bearer ",
        "Basic s3cret",
        "s3cret",
        "Bearer s3cret2",
        "Bearer s3cre",
    ] {
        assert_eq!(status(&sidecar, Some(wrong)), 401, "{wrong}");
    }
    assert_eq!(status(&sidecar, Some("Bearer s3cret")), 200);
    assert_eq!(status(&sidecar, Some("bearer s3cret")), 200);
    assert!(!sidecar.log().contains("s3cret"));
}

#[test]
fn without_a_configured_secret_nothing_is_asked_for_and_the_log_says_so() {
    let sidecar = Options::stub().start();
    assert_eq!(status(&sidecar, None), 200);
    assert!(sidecar.log().contains("OPENCODE_SHARED_SECRET is not set"));
}

#[test]
fn a_rotation_has_no_gap_and_ends_what_the_old_token_opened() {
    let options = Options::stub();
    let file = options.dir.path().join("secret");
    fs::write(&file, "old\n").unwrap();
    let mut sidecar = options
        .env("OPENCODE_SHARED_SECRET_FILE", &file.to_string_lossy())
        .start();
    sidecar.token = Some("old".into());
    let mut sidecar = sidecar.ready();
    assert_eq!(status(&sidecar, Some("Bearer old")), 200);
    assert_eq!(status(&sidecar, Some("Bearer new")), 401);
    let body = r#"{"session_id":"s1","prompt":"hello","model_config":{"provider":"local","model":"m","api_key":"k"}}"#;
    assert_eq!(sidecar.post("/sessions", body).status, 201);
    let socket = |name: &str, value: &str| {
        let mut socket = Socket::open(sidecar.address, "/sessions/s1/ws", &[(name, value)]);
        assert_eq!(socket.status, 101);
        if value.is_empty() {
            socket.say(&json!({ "type": "auth", "token": "old" }));
            assert!(matches!(socket.next(), Received::Answer(_)));
        }
        assert!(matches!(socket.next(), Received::Event(_)));
        socket
    };
    let mut by_old = vec![
        socket("x-sidecar-token", "old"),
        socket("sec-websocket-protocol", "bearer.old"),
        socket("x-unknown", ""),
        Socket::open(sidecar.address, "/events/ws", &[("x-sidecar-token", "old")]),
    ];
    assert!(matches!(by_old[3].next(), Received::Event(_)));
    let mut stream = sidecar.stream_from("s1", "", &[("x-sidecar-token", "old")]);
    assert_eq!(stream.next().unwrap().seq(), 1);

    fs::write(&file, "old\nnew\n").unwrap();
    sidecar.until("renewed", |sidecar| {
        status(sidecar, Some("Bearer new")) == 200
    });
    assert_eq!(
        status(&sidecar, Some("Bearer old")),
        200,
        "both hold during the rotation"
    );
    let mut by_new = socket("authorization", "Bearer new");
    sidecar.token = Some("new".into());
    let mut stream_by_new = sidecar.stream_from("s1", "", &[("x-sidecar-token", "new")]);
    // They are open.
    for socket in &mut by_old {
        socket.say(&json!({ "type": "ping", "ref": 1 }));
        assert!(matches!(socket.next(), Received::Answer(ack) if ack["ref"] == 1));
    }

    fs::write(&file, "new\n").unwrap();
    sidecar.until("renewed", |sidecar| {
        status(sidecar, Some("Bearer old")) == 401
    });
    assert_eq!(status(&sidecar, Some("Bearer new")), 200);
    for socket in &mut by_old {
        let reason = "the token is not accepted any more".to_owned();
        assert_eq!(socket.next(), Received::Close(4401, reason));
    }
    assert_eq!(stream.rest(), [], "it ends, and its turn goes on");
    by_new.say(&json!({ "type": "cancel", "ref": 2 }));
    assert!(matches!(
        by_new.next(),
        Received::Event(_) | Received::Answer(_)
    ));
    let last = stream_by_new.rest().pop().unwrap();
    assert_eq!(last.data["status"], "cancelled");

    fs::remove_file(&file).unwrap();
    sidecar.until("noticed", |sidecar| {
        sidecar.log().contains("the old one stays valid")
    });
    assert_eq!(status(&sidecar, Some("Bearer new")), 200);
}
