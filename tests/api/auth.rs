//! The bearer token.

use std::fs;

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
fn a_rotation_has_no_gap() {
    let options = Options::stub();
    let file = options.dir.path().join("secret");
    fs::write(&file, "old\n").unwrap();
    let sidecar = options
        .env("OPENCODE_SHARED_SECRET_FILE", &file.to_string_lossy())
        .start();
    assert_eq!(status(&sidecar, Some("Bearer old")), 200);
    assert_eq!(status(&sidecar, Some("Bearer new")), 401);

    fs::write(&file, "old\nnew\n").unwrap();
    sidecar.until("renewed", |sidecar| {
        status(sidecar, Some("Bearer new")) == 200
    });
    assert_eq!(
        status(&sidecar, Some("Bearer old")),
        200,
        "both hold during the rotation"
    );

    fs::write(&file, "new\n").unwrap();
    sidecar.until("renewed", |sidecar| {
        status(sidecar, Some("Bearer old")) == 401
    });
    assert_eq!(status(&sidecar, Some("Bearer new")), 200);

    fs::remove_file(&file).unwrap();
    sidecar.until("noticed", |sidecar| {
        sidecar.log().contains("the old one stays valid")
    });
    assert_eq!(status(&sidecar, Some("Bearer new")), 200);
}
