//! The error envelope, for everything that can go wrong before a handler.

use std::io::Read as _;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::Options;
use crate::support::http::{Response, raw, send};

/// The body without what differs each time, which is checked here instead.
fn envelope(response: &Response) -> Value {
    let mut body = response.json();
    let fields = body.as_object_mut().unwrap();
    let id = fields.remove("request_id").unwrap();
    assert_eq!(
        id.as_str(),
        response.header("x-request-id"),
        "the body and the header name one id"
    );
    let timestamp = fields.remove("timestamp").unwrap();
    assert_eq!(
        timestamp.as_str().unwrap().len(),
        "2026-11-20T10:22:41.123Z".len()
    );
    assert_eq!(response.header("content-type"), Some("application/json"));
    body
}

#[test]
fn every_refusal_has_the_same_envelope() {
    let sidecar = Options::stub().env("MAX_BODY_BYTES", "1024").start();
    let expect = |method: &str, path: &str, body: &str, status: u16, expected: Value| {
        let response = sidecar.send(method, path, body);
        assert_eq!(
            (response.status, envelope(&response)),
            (status, expected),
            "{method} {path} {body}"
        );
        response
    };

    expect(
        "GET",
        "/nope",
        "",
        404,
        json!({
            "code": "not_found",
            "error": "there is no route /nope; API_CONTRACT.md lists them",
        }),
    );
    let response = expect(
        "DELETE",
        "/engine/status",
        "",
        405,
        json!({
            "code": "method_not_allowed",
            "error": "/engine/status does not take DELETE; the Allow header says what it takes",
        }),
    );
    assert_eq!(response.header("allow"), Some("GET,HEAD"));
    let response = expect(
        "POST",
        "/healthz",
        "",
        405,
        json!({
            "code": "method_not_allowed",
            "error": "/healthz does not take POST; the Allow header says what it takes",
        }),
    );
    assert_eq!(response.header("allow"), Some("GET,HEAD"));
    expect(
        "POST",
        "/engine/start",
        "{\"port\": }",
        400,
        json!({
            "code": "invalid_request",
            "error": "the body is not the JSON expected: expected value at line 1 column 10",
        }),
    );
    expect(
        "POST",
        "/engine/start",
        "{\"port\": 70000}",
        400,
        json!({
            "code": "invalid_request",
            "error": "port: invalid value: integer `70000`, expected u16",
            "details": { "field": "port", "reason": "invalid value: integer `70000`, expected u16" },
        }),
    );
    expect(
        "POST",
        "/engine/start",
        "{} {}",
        400,
        json!({
            "code": "invalid_request",
            "error": "there is more after the JSON document: trailing characters at line 1 column 4",
        }),
    );
    expect(
        "POST",
        "/engine/start",
        &" ".repeat(1025),
        413,
        json!({
            "code": "payload_too_large",
            "error": "the body is larger than MAX_BODY_BYTES allows",
        }),
    );
}

#[test]
fn the_request_id_is_taken_over_if_it_is_harmless() {
    let sidecar = Options::stub().start();
    let ask = |id: &str| {
        send(
            sidecar.address,
            "GET",
            "/nope",
            &[("x-request-id", id)],
            b"",
        )
        .unwrap()
    };
    let kept = ask("from-the-backend-42");
    assert_eq!(kept.header("x-request-id"), Some("from-the-backend-42"));
    assert_eq!(kept.json()["request_id"], "from-the-backend-42");
    // The log comes through a pipe of its own, so it may be read a moment later.
    sidecar.until("in the log", |sidecar| {
        sidecar.log().contains("from-the-backend-42")
    });
    for bad in ["with blank", "\"quote\"", &"x".repeat(200)] {
        assert_ne!(ask(bad).header("x-request-id"), Some(bad));
    }
}

#[test]
fn garbage_on_the_socket_harms_nobody() {
    let sidecar = Options::stub().start();
    let rubbish: [&[u8]; 5] = [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /engine/start HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST /engine/start HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
    ];
    for bytes in rubbish {
        drop(raw(sidecar.address, bytes));
        assert_eq!(sidecar.get("/healthz").status, 200);
    }
    // A head that never ends is cut off by its size.
    let endless = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 2_000_000]].concat();
    drop(raw(sidecar.address, &endless));
    assert_eq!(sidecar.get("/healthz").status, 200);
}

#[test]
fn a_hundred_clients_that_say_nothing_do_not_keep_others_out() {
    let sidecar = Options::stub().start();
    let silent: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(sidecar.address).unwrap())
        .collect();
    assert_eq!(sidecar.get("/healthz").status, 200);
    drop(sidecar);
    for mut stream in silent {
        assert_eq!(
            stream.read(&mut [0; 16]).unwrap_or(0),
            0,
            "closed when the server left"
        );
    }
}
