//! What a web page can do to this port, and what a name that an attacker's DNS gave it.

use std::process::Command;

use serde_json::json;

use crate::support::http::{Response, raw, send};
use crate::support::{Options, Sidecar};

const EVIL: &str = "https://evil.example";
const DASHBOARD: &str = "https://dash.example.com";

/// What a browser lets any page post without asking first.
fn simple_post(sidecar: &Sidecar, path: &str, headers: &str) -> Response {
    let body = json!({ "session_id": "from-a-page", "prompt": "p",
        "model_config": { "provider": "custom", "model": "m", "api_key": "k", "api_endpoint": "http://x.invalid/v1" } })
    .to_string();
    let token = sidecar.token.as_ref().map_or_else(String::new, |token| {
        format!("authorization: Bearer {token}\r\n")
    });
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\n{token}{headers}content-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        sidecar.address,
        body.len()
    );
    raw(sidecar.address, request.as_bytes()).unwrap()
}

fn with_secret(mut sidecar: Sidecar) -> Sidecar {
    sidecar.token = Some("s3cret".to_owned());
    sidecar
}

fn both() -> [Sidecar; 2] {
    let secret = Options::stub().env("OPENCODE_SHARED_SECRET", "s3cret");
    [Options::stub().start(), with_secret(secret.start())]
}

fn assert_refused(response: &Response, status: u16, code: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.json()["code"], code);
    assert_eq!(response.header("access-control-allow-origin"), None);
}

#[test]
fn a_page_of_another_origin_does_nothing_with_and_without_a_secret() {
    for sidecar in both() {
        let own = sidecar.address;
        for headers in [
            format!("origin: {EVIL}\r\n"),
            "origin: null\r\n".to_owned(),
            "sec-fetch-site: cross-site\r\n".to_owned(),
            // Another port of this host, where the agent may serve a page.
            format!("origin: http://127.0.0.1:{}\r\n", own.port() ^ 1),
            "sec-fetch-site: same-site\r\n".to_owned(),
            format!("origin: http://{own}\r\nsec-fetch-site: cross-site\r\n"),
            format!(
                "origin: {EVIL}\r\nsec-fetch-site: cross-site\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            ),
        ] {
            for path in [
                "/sessions",
                "/engine/stop",
                "/engine/restart",
                "/drain",
                "/nope",
            ] {
                assert_refused(
                    &simple_post(&sidecar, path, &headers),
                    403,
                    "foreign_origin",
                );
            }
        }
        for path in [
            "/sessions",
            "/sessions/a/stream",
            "/engine/status",
            "/metrics",
            "/openapi.json",
        ] {
            let response =
                send(own, "GET", path, &[("sec-fetch-site", "cross-site")], b"").unwrap();
            assert_refused(&response, 403, "foreign_origin");
        }
        assert_eq!(sidecar.get("/sessions").json()["sessions"], json!([]));
        assert_eq!(sidecar.get("/healthz").status, 200);
    }
}

#[test]
fn a_page_of_ours_and_a_program_are_let_in() {
    for sidecar in both() {
        let own = sidecar.address;
        for headers in [
            String::new(),
            "sec-fetch-site: none\r\n".to_owned(),
            "sec-fetch-site: same-origin\r\n".to_owned(),
            format!("origin: http://{own}\r\n"),
            format!("origin: http://{own}\r\nsec-fetch-site: same-origin\r\n"),
        ] {
            // Refused for what it says, so it was read.
            let response = simple_post(&sidecar, "/engine/start", &headers);
            assert_ne!(response.status, 403, "{headers}: {response:?}");
        }
    }
}

#[test]
fn a_listed_origin_may_use_the_sessions_and_nothing_else() {
    let sidecar = with_secret(
        Options::stub()
            .env("OPENCODE_SHARED_SECRET", "s3cret")
            .env("CORS_ALLOW_ORIGINS", DASHBOARD)
            .start(),
    );
    let ask = |method, path, headers: &[(&str, &str)]| {
        send(sidecar.address, method, path, headers, b"").unwrap()
    };
    let preflight = |origin, path, method| {
        let headers = [
            ("origin", origin),
            ("sec-fetch-site", "cross-site"),
            ("access-control-request-method", method),
            (
                "access-control-request-headers",
                "authorization,content-type,last-event-id",
            ),
        ];
        ask("OPTIONS", path, &headers)
    };
    for (path, method) in [
        ("/sessions", "POST"),
        ("/sessions/a", "DELETE"),
        ("/sessions/a/stream", "GET"),
    ] {
        let response = preflight(DASHBOARD, path, method);
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(
            response.header("access-control-allow-origin"),
            Some(DASHBOARD)
        );
        let methods = response.header("access-control-allow-methods").unwrap();
        assert!(methods.contains(method), "{methods}");
        let headers = response.header("access-control-allow-headers").unwrap();
        for name in [
            "authorization",
            "content-type",
            "idempotency-key",
            "last-event-id",
            "x-project-dir",
        ] {
            assert!(headers.contains(name), "{headers}");
        }
        assert_eq!(response.header("access-control-allow-credentials"), None);
        assert_refused(&preflight(EVIL, path, method), 403, "foreign_origin");
    }
    let page = [
        ("origin", DASHBOARD),
        ("sec-fetch-site", "cross-site"),
        ("authorization", "Bearer s3cret"),
    ];
    let listed = ask("GET", "/sessions", &page);
    assert_eq!(listed.status, 200);
    assert_eq!(
        listed.header("access-control-allow-origin"),
        Some(DASHBOARD)
    );
    // It can read why it was refused, and needs the token like everybody.
    let refused = ask("GET", "/sessions", &page[..2]);
    assert_eq!(
        (
            refused.status,
            refused.header("access-control-allow-origin")
        ),
        (401, Some(DASHBOARD))
    );
    let unlisted = [("origin", EVIL), ("authorization", "Bearer s3cret")];
    assert_refused(&ask("GET", "/sessions", &unlisted), 403, "foreign_origin");
    for (method, path) in [
        ("GET", "/engine/status"),
        ("POST", "/engine/stop"),
        ("POST", "/engine/start"),
        ("POST", "/engine/restart"),
        ("POST", "/drain"),
        ("GET", "/metrics"),
    ] {
        assert_refused(&ask(method, path, &page), 403, "foreign_origin");
        assert_refused(&preflight(DASHBOARD, path, method), 403, "foreign_origin");
    }
}

fn named(sidecar: &Sidecar, target: &str, host: &str) -> u16 {
    let token = sidecar.token.as_ref().map_or_else(String::new, |token| {
        format!("authorization: Bearer {token}\r\n")
    });
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{token}connection: close\r\n\r\n");
    raw(sidecar.address, request.as_bytes()).unwrap().status
}

#[test]
fn without_a_secret_a_name_that_somebody_may_have_pointed_here_is_misdirected() {
    let [open, closed] = both();
    for host in ["evil.example", "evil.example:3003", "127.0.0.1.nip.io"] {
        assert_eq!(named(&open, "/sessions", host), 421, "{host}");
        assert_eq!(named(&open, "/nope", host), 421, "{host}");
        // A page has no token.
        assert_eq!(named(&closed, "/sessions", host), 200, "{host}");
        for probe in ["/healthz", "/health"] {
            assert_eq!(named(&open, probe, host), 200, "{host}");
        }
    }
    for host in [
        "127.0.0.1",
        "[::1]:3003",
        "localhost:3003",
        "sidecar",
        "a.team.svc",
        "a.team.svc.cluster.local:80",
    ] {
        assert_eq!(named(&open, "/sessions", host), 200, "{host}");
    }
    assert_eq!(
        named(&open, "http://evil.example/sessions", "localhost"),
        421
    );
    assert_eq!(
        named(&open, "http://localhost/sessions", "evil.example"),
        421
    );
    let page = format!(
        "GET /sessions HTTP/1.1\r\nhost: evil.example:{0}\r\norigin: http://evil.example:{0}\r\nsec-fetch-site: same-origin\r\nconnection: close\r\n\r\n",
        open.address.port()
    );
    let answer = raw(open.address, page.as_bytes()).unwrap();
    assert_refused(&answer, 421, "unknown_host");
    assert!(
        answer.error().contains("ALLOWED_HOSTS"),
        "{}",
        answer.error()
    );
    // A program of HTTP/1.0 names nobody.
    let bare = raw(open.address, b"GET /sessions HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(bare.status, 200);

    let named_here = Options::stub()
        .env("ALLOWED_HOSTS", "other.example,agent.example.com")
        .start();
    assert_eq!(
        named(&named_here, "/sessions", "agent.example.com:8443"),
        200
    );
    assert_eq!(named(&named_here, "/sessions", "example.com"), 421);
}

fn curl(sidecar: &Sidecar, arguments: &[&str]) -> String {
    let address = format!("http://{}", sidecar.address);
    let output = Command::new("curl")
        .args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_version} %{http_code}",
        ])
        .args(
            arguments
                .iter()
                .map(|argument| argument.replace("ADDRESS", &address)),
        )
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn http_2_says_it_in_another_place_and_is_heard() {
    let sidecar = Options::stub().start();
    let two = "--http2-prior-knowledge";
    assert_eq!(curl(&sidecar, &[two, "ADDRESS/sessions"]), "2 200");
    assert_eq!(
        curl(
            &sidecar,
            &[two, "-H", "host: evil.example", "ADDRESS/sessions"]
        ),
        "2 421"
    );
    let foreign = format!("origin: {EVIL}");
    assert_eq!(
        curl(&sidecar, &[two, "-H", &foreign, "ADDRESS/sessions"]),
        "2 403"
    );
}

#[test]
fn curl_needs_no_content_type() {
    let sidecar = Options::stub().start().ready();
    assert_eq!(
        curl(&sidecar, &["-d", "{}", "ADDRESS/engine/restart"]),
        "1.1 200"
    );
}
