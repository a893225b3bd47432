//! `POST /sessions`, as far as it goes before an agent works: what is refused, and in which words.

use serde_json::{Value, json};

use crate::support::http::{Response, send};
use crate::support::{Options, Sidecar};

const TOOLS: &str = "apply_patch, bash, edit, glob, grep, list, read, task, todowrite, webfetch, \
     websearch, write, code_exec, file_ops, terminal, web_search";

const PROVIDERS: &str = "openai, anthropic, local, custom, openrouter, groq, mistral, deepseek, xai, \
     together, google, demo";

/// A body nothing is wrong with.
fn body() -> Value {
    json!({
        "session_id": "550e8400-e29b-41d4-a716-446655440000",
        "prompt": "Hello",
        "model_config": { "provider": "local", "model": "llama3" },
    })
}

/// The same with one field set, named by its path; `null` as a string takes it out.
fn with(path: &str, value: Value) -> Value {
    let mut body = body();
    let place = match path.split_once('.') {
        Some((outer, inner)) => &mut body[outer][inner],
        None => &mut body[path],
    };
    *place = value;
    body
}

fn without(path: &str) -> Value {
    let mut body = body();
    let (object, name) = match path.split_once('.') {
        Some((outer, inner)) => (&mut body[outer], inner),
        None => (&mut body, path),
    };
    object.as_object_mut().unwrap().remove(name);
    body
}

fn create(sidecar: &Sidecar, body: &Value) -> Response {
    sidecar.post("/sessions", &body.to_string())
}

/// Refused, and nothing came of it.
fn refused(sidecar: &Sidecar, body: &Value, field: &str, reason: &str) {
    let response = create(sidecar, body);
    let shown = body.to_string();
    let shown = shown.get(..shown.floor_char_boundary(300)).unwrap();
    assert_eq!(response.status, 400, "{shown}: {response:?}");
    let answer = response.json();
    assert_eq!(answer["code"], "invalid_request", "{shown}");
    assert_eq!(
        answer["details"],
        json!({ "field": field, "reason": reason }),
        "{shown}"
    );
    assert_eq!(answer["error"], format!("{field}: {reason}"), "{shown}");
}

#[expect(clippy::too_many_lines, reason = "one table of all fields")]
#[test]
fn every_mistake_is_named_by_its_field() {
    let sidecar = Options::stub().env("MAX_PROMPT_LENGTH", "10").start();
    let id = "must be a UUID, or 1 to 128 of the characters A-Z a-z 0-9 - _ .";
    let key = "must be one word of at most 16384 printable ASCII characters";
    let long = |length| {
        format!("has {length} characters, and at most 10 are accepted (MAX_PROMPT_LENGTH)")
    };
    let name = "must have 1 to 256 characters";
    let endpoint = "api_endpoint is not an absolute http or https address";
    let table: Vec<(&str, Value, String)> = vec![
        ("session_id", json!(""), id.into()),
        ("session_id", json!("a/b"), id.into()),
        ("session_id", json!("../etc"), id.into()),
        ("session_id", json!("ü"), id.into()),
        ("session_id", json!("x".repeat(129)), id.into()),
        (
            "session_id",
            json!(7),
            "invalid type: integer `7`, expected a string".into(),
        ),
        (
            "session_id",
            json!(null),
            "invalid type: null, expected a string".into(),
        ),
        ("prompt", json!(""), "must not be empty".into()),
        ("prompt", json!(" \n\t"), "must not be empty".into()),
        ("prompt", json!("x".repeat(11)), long(11)),
        ("prompt", json!("日本".repeat(6)), long(12)),
        (
            "prompt",
            json!(["a"]),
            "invalid type: sequence, expected a string".into(),
        ),
        ("system_prompt", json!("y".repeat(12)), long(12)),
        (
            "system_prompt",
            json!({}),
            "invalid type: map, expected a string".into(),
        ),
        (
            "model_config",
            json!("gpt"),
            "invalid type: string \"gpt\", expected an object".into(),
        ),
        (
            "model_config.provider",
            json!(1),
            "invalid type: integer `1`, expected a string".into(),
        ),
        (
            "model_config.provider",
            json!("opnai"),
            format!("unknown provider \"opnai\"; the providers are {PROVIDERS}"),
        ),
        ("model_config.model", json!(" "), name.into()),
        ("model_config.model", json!("m".repeat(257)), name.into()),
        (
            "model_config.model",
            json!(false),
            "invalid type: boolean `false`, expected a string".into(),
        ),
        ("model_config.api_key", json!("two words"), key.into()),
        ("model_config.api_key", json!("k\r\nx-evil: 1"), key.into()),
        (
            "model_config.api_key",
            json!("k".repeat(16_385)),
            key.into(),
        ),
        (
            "model_config.temperature",
            json!(2.1),
            "must be from 0 to 2".into(),
        ),
        (
            "model_config.temperature",
            json!(-0.1),
            "must be from 0 to 2".into(),
        ),
        (
            "model_config.temperature",
            json!("hot"),
            "invalid type: string \"hot\", expected f64".into(),
        ),
        (
            "model_config.max_tokens",
            json!(0),
            "must be a whole number from 1 to 128000".into(),
        ),
        (
            "model_config.max_tokens",
            json!(128_001),
            "must be a whole number from 1 to 128000".into(),
        ),
        (
            "model_config.max_tokens",
            json!(1.5),
            "invalid type: floating point `1.5`, expected a whole number".into(),
        ),
        (
            "model_config.max_calls",
            json!(1e300),
            "must be a whole number from 1 to 1000000000".into(),
        ),
        (
            "model_config",
            json!(["local", "llama3"]),
            "invalid type: sequence, expected an object".into(),
        ),
        (
            "model_config.context_window",
            json!(0),
            "must be a whole number from 1 to 10000000".into(),
        ),
        (
            "model_config.max_total_tokens",
            json!(-1),
            "must be a whole number from 1 to 1000000000000".into(),
        ),
        (
            "model_config.max_calls",
            json!(0),
            "must be a whole number from 1 to 1000000000".into(),
        ),
        (
            "model_config.enabled_tools",
            json!(["bash", "hammer"]),
            format!("\"hammer\" is no tool; the tools are {TOOLS}"),
        ),
        (
            "model_config.enabled_tools",
            json!("bash"),
            "invalid type: string \"bash\", expected a sequence".into(),
        ),
        (
            "model_config.model_version",
            json!("v".repeat(257)),
            "must have at most 256 characters".into(),
        ),
        (
            "model_config.api_endpoint",
            json!("ftp://x"),
            endpoint.into(),
        ),
        (
            "model_config.api_endpoint",
            json!("not an address"),
            endpoint.into(),
        ),
        (
            "model_config.api_endpoint",
            json!("https://a:b@x/v1"),
            "api_endpoint must not hold a user name or password: use api_key".into(),
        ),
        (
            "model_config.api_endpoint",
            json!("https://x/v1?key=1"),
            "api_endpoint must end with the version, without query or fragment".into(),
        ),
    ];
    for (field, value, reason) in table {
        refused(&sidecar, &with(field, value), field, &reason);
    }
    for field in [
        "prompt",
        "model_config",
        "model_config.provider",
        "model_config.model",
    ] {
        refused(&sidecar, &without(field), field, "is missing");
    }
    // What follows from another field is said of the field to fill in.
    for (provider, field, reason) in [
        (
            "demo",
            "provider",
            "the demo model is off (DEMO_MODEL=on turns it on)",
        ),
        ("openai", "api_key", "provider openai needs an api_key"),
        (
            "custom",
            "api_endpoint",
            "provider custom needs an api_endpoint",
        ),
    ] {
        let body = with("model_config.provider", json!(provider));
        refused(&sidecar, &body, &format!("model_config.{field}"), reason);
    }
    let list: Value = sidecar.get("/sessions").json();
    assert_eq!(list["sessions"], json!([]), "nothing came of any of them");
}

#[test]
fn a_mistake_in_the_json_is_named_by_line_and_column() {
    let sidecar = Options::stub().env("MAX_BODY_BYTES", "2048").start();
    let error = |body: &str| {
        let response = sidecar.post("/sessions", body);
        assert_eq!(response.json()["details"], Value::Null);
        (response.status, response.error())
    };
    let (status, sentence) = error("{\n  \"session_id\": nope\n}");
    assert_eq!(
        (status, sentence.as_str()),
        (
            400,
            "the body is not the JSON expected: expected ident at line 2 column 18"
        )
    );
    assert_eq!(
        error(" ").1,
        "the body is not the JSON expected: EOF while parsing a value at line 1 column 1"
    );
    assert_eq!(
        error("[]").1,
        "the body is not the JSON expected: it is a list, and should be an object"
    );
    let twice = format!("{0}{0}", body());
    assert!(
        error(&twice)
            .1
            .starts_with("there is more after the JSON document: "),
        "{twice}"
    );
    let large = with("prompt", json!("x".repeat(2048)));
    let response = create(&sidecar, &large);
    assert_eq!(
        (response.status, response.json()["code"].as_str()),
        (413, Some("payload_too_large"))
    );
    let no_text = send(
        sidecar.address,
        "POST",
        "/sessions",
        &[],
        b"{\"session_id\":\"\xff\"}",
    )
    .unwrap();
    assert_eq!(no_text.status, 400, "{no_text:?}");
}

/// Two prompts at their limits, written as the most wasteful JSON encoder would: twelve bytes for each
/// character outside the basic plane, as a pair of escapes.
#[test]
fn the_default_body_limit_holds_two_prompts_at_their_limits_in_any_encoding() {
    for limit in [50_000, 200_000] {
        let sidecar = Options::stub()
            .env("MAX_PROMPT_LENGTH", &limit.to_string())
            .start()
            .ready();
        let prompt = "\\ud83d\\ude00".repeat(limit);
        let text = format!(
            r#"{{"session_id":"long","prompt":"{prompt}","system_prompt":"{prompt}","model_config":{{"provider":"local","model":"llama3"}}}}"#
        );
        let response = sidecar.post("/sessions", &text);
        assert_eq!(response.status, 201, "{limit}: {response:?}");
        assert_eq!(sidecar.post("/sessions/long/stop", "").status, 200);
    }
}

#[test]
fn a_bad_query_value_is_named_by_its_parameter() {
    let sidecar = Options::stub().start();
    let states = "pending, running, waiting_input, completed, failed, cancelled";
    for (query, field, reason) in [
        ("limit=many", "limit", "must be from 1 to 500".to_owned()),
        ("limit=0", "limit", "must be from 1 to 500".to_owned()),
        ("limit=501", "limit", "must be from 1 to 500".to_owned()),
        ("limit=", "limit", "must be from 1 to 500".to_owned()),
        (
            "cursor=x",
            "cursor",
            "must be the next_cursor of a page".to_owned(),
        ),
        (
            "cursor=-1",
            "cursor",
            "must be the next_cursor of a page".to_owned(),
        ),
        ("status=done", "status", format!("must be one of {states}")),
        (
            "status=failed&status=running",
            "status",
            "is given twice".to_owned(),
        ),
    ] {
        let response = sidecar.get(&format!("/sessions?{query}"));
        assert_eq!(response.status, 400, "{query}: {response:?}");
        let expected = json!({ "field": field, "reason": reason });
        assert_eq!(response.json()["details"], expected, "{query}");
    }
    assert_eq!(sidecar.get("/sessions?unheard=of").status, 200);
}

#[test]
fn what_is_more_than_asked_for_and_what_is_at_its_limit_is_taken() {
    let sidecar = Options::stub()
        .env("MAX_PROMPT_LENGTH", "4")
        .env("MAX_CONCURRENT_SESSIONS", "100")
        .start()
        .ready();
    let groups = json!([
        "file_ops",
        "code_exec",
        "terminal",
        "web_search",
        "task",
        "todowrite"
    ]);
    let fine = [
        with("unheard_of", json!({ "deep": [1, 2] })),
        with("model_config.unheard_of", json!(true)),
        with("prompt", json!("🌍🌍🌍🌍")),
        with("system_prompt", json!("    ")),
        with("system_prompt", json!(null)),
        with("model_config.model", json!("日".repeat(256))),
        with("model_config.api_key", json!("")),
        with("model_config.api_key", json!(null)),
        with("model_config.temperature", json!(2)),
        with("model_config.temperature", json!(0)),
        with("model_config.max_tokens", json!(128_000)),
        with("model_config.max_tokens", json!(4096.0)),
        with("model_config.context_window", json!(32e3)),
        with("model_config.enabled_tools", groups),
        with("model_config.enabled_tools", json!([])),
        with("model_config.enabled_tools", json!(null)),
        with(
            "model_config.api_endpoint",
            json!("http://10.0.0.1:8000/v1"),
        ),
    ];
    for (number, mut body) in fine.into_iter().enumerate() {
        if body["prompt"] == "Hello" {
            body["prompt"] = json!("Hi");
        }
        let id = format!("s-{number}");
        body["session_id"] = json!(id);
        let response = create(&sidecar, &body);
        assert_eq!(response.status, 201, "{body}: {response:?}");
        assert_eq!(
            response.header("location"),
            Some(&*format!("/sessions/{id}"))
        );
        let answer = response.json();
        assert_eq!(answer["session_id"], json!(id));
        assert_eq!(answer["status"], "running");
        assert_eq!(answer["remote_session_id"], "ses_stub");
        assert_eq!(
            answer["stream_url"],
            json!(format!("/sessions/{id}/stream"))
        );
        // The stub has one session for all, so the next one must not find this one running.
        assert_eq!(
            sidecar.post(&format!("/sessions/{id}/stop"), "").json()["status"],
            "cancelled"
        );
    }
}

#[test]
fn the_same_id_again_is_a_conflict_and_the_same_request_is_the_same_session() {
    let sidecar = Options::stub()
        .env("MAX_CONCURRENT_SESSIONS", "1")
        .start()
        .ready();
    let post = |body: &Value, key: &str| {
        let text = body.to_string();
        send(
            sidecar.address,
            "POST",
            "/sessions",
            &[("idempotency-key", key)],
            text.as_bytes(),
        )
        .unwrap()
    };
    let first = post(&body(), "one");
    let again = post(&body(), "one");
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json(), again.json());
    let other = post(&with("prompt", json!("Bye")), "one");
    assert_eq!(
        (other.status, other.json()["code"].as_str()),
        (422, Some("idempotency_mismatch"))
    );
    let bad = post(&body(), &"k".repeat(256));
    assert_eq!(
        (bad.status, bad.error().as_str()),
        (
            400,
            "Idempotency-Key: must have 1 to 255 printable ASCII characters"
        )
    );
    let duplicate = create(&sidecar, &body());
    assert_eq!(
        (duplicate.status, duplicate.json()["code"].as_str()),
        (409, Some("conflict"))
    );
    let full = create(&sidecar, &with("session_id", json!("another")));
    assert_eq!(
        (full.status, full.json()["code"].as_str()),
        (503, Some("too_many_sessions"))
    );
    assert_eq!(full.header("retry-after"), Some("5"));
    let id = body()["session_id"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let stopped = sidecar.send("DELETE", &format!("/sessions/{id}"), "");
        assert_eq!(
            (stopped.status, stopped.json()["status"].as_str()),
            (200, Some("cancelled"))
        );
    }
}
