//! What the provider sees, and what it teaches.

use super::*;
use crate::gateway::Tokens;
use crate::gateway::llm::{Llm, Recorded, Turn};

/// Nothing of the child may reach a provider.
fn assert_clean(rig: &Rig, call: &Recorded) {
    let all = format!(
        "{:?} {}",
        call.headers,
        String::from_utf8_lossy(&call.bytes)
    );
    for hidden in [
        rig.token.expose(),
        "ses_a",
        "x-session",
        "x-parent",
        "x-stray",
        "opencode/",
    ] {
        assert!(!all.contains(hidden), "{hidden} in {all}");
    }
}

#[tokio::test]
async fn every_dialect_gets_the_session_s_values_and_gives_its_counts() {
    let rig = Rig::start().await;
    for dialect in DIALECTS {
        let llm = Llm::start().await;
        llm.reply(
            Turn::new()
                .reasoning("hm")
                .text("hello")
                .usage(100, 20, 30, 5),
        );
        let mut route = route(dialect, &llm.base());
        route.model.temperature = Some(0.5);
        route.model.max_tokens = Some(77);
        route.enabled_tools = Some(vec!["bash".to_owned()]);
        let grant = rig.handle.register(route);
        let tool =
            |name: &str| json!({ "type": "function", "name": name, "function": { "name": name } });
        let body = json!({
            "model": "auto-32k", "max_tokens": 1, "temperature": 0, "x": [1.50, "é"],
            "tools": [tool("bash"), tool("write")],
        });
        let request = rig
            .request(dialect, "ses_a")
            .header("x-stray", "1")
            .header("user-agent", "opencode/1.18.33");
        let answered = rig
            .send(
                request
                    .header("anthropic-beta", "b-1")
                    .body(body.to_string()),
            )
            .await;
        assert_eq!(answered.status, 200);
        assert!(answered.body.contains("hello"));

        let call = llm.single_request();
        assert_eq!((call.key.as_str(), call.model()), ("KEY-A", "real-model"));
        assert_eq!(call.body["temperature"], 0.5);
        assert_eq!(call.tools(), ["bash"]);
        assert_eq!(call.body["x"], json!([1.5, "é"]));
        let name = if dialect == Dialect::Responses {
            "max_output_tokens"
        } else {
            "max_tokens"
        };
        assert_eq!(call.body[name], 77);
        assert_eq!(
            call.headers["host"],
            format!("127.0.0.1:{}", llm.addr().port())
        );
        assert_eq!(call.headers["anthropic-beta"], "b-1");
        assert_eq!(call.headers["accept-encoding"], "identity");
        assert_eq!(
            call.headers.contains_key("anthropic-version"),
            dialect == Dialect::Messages
        );
        assert_eq!(
            call.headers.contains_key("authorization"),
            dialect != Dialect::Messages
        );
        assert_clean(&rig, &call);

        let usage = grant.usage();
        let reasoning = if dialect == Dialect::Messages { 0 } else { 5 };
        assert_eq!(
            grant.tokens(),
            Tokens {
                input: 100,
                output: 20,
                cached: 30,
                reasoning,
                nano_usd: (dialect == Dialect::Chat).then_some(2_500_000),
            }
        );
        assert_eq!(
            (usage.calls, usage.retries, grant.unmetered_calls()),
            (1, 0, 0)
        );
        assert!(usage.first_byte_ms.unwrap() <= usage.duration_ms);
        assert_eq!(usage.last_error, None);
    }
}

#[tokio::test]
async fn a_session_without_a_key_sends_none() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    llm.reply(Turn::new().text("hi"));
    let upstream = Upstream::resolve("local", Some(&llm.base()), false, false).unwrap();
    let _grant = rig
        .handle
        .register(route_with(Dialect::Chat, &llm.base(), |model| {
            (model.upstream, model.key) = (upstream, None);
        }));
    assert_eq!(rig.call(Dialect::Chat).await.status, 200);
    let call = llm.single_request();
    assert!(!call.headers.contains_key("authorization") && !call.headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn what_a_model_does_not_take_is_learnt_once_for_all_sessions() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let refusal = |param: &str| {
        let said = format!("Unsupported parameter: '{param}' is not supported with this model.");
        Turn::plain(
            400,
            json!({ "error": { "message": said, "param": param } }).to_string(),
        )
    };
    llm.reply(refusal("max_tokens"));
    llm.reply(refusal("temperature"));
    llm.reply_always(Turn::new().text("hi"));
    let set = |session: &str| Route {
        session: session.to_owned(),
        ..route_with(Dialect::Chat, &llm.base(), |model| {
            (model.temperature, model.max_tokens) = (Some(0.5), Some(9));
        })
    };
    let grant = rig.handle.register(set("ses_a"));
    assert_eq!(rig.call(Dialect::Chat).await.status, 200);
    let calls = llm.requests();
    assert_eq!(
        calls.iter().map(Recorded::limit).collect::<Vec<_>>(),
        [
            Some(("max_tokens", 9)),
            Some(("max_completion_tokens", 9)),
            Some(("max_completion_tokens", 9)),
        ]
    );
    assert_eq!(
        calls
            .iter()
            .map(|call| call.body.get("temperature").is_some())
            .collect::<Vec<_>>(),
        [true, true, false]
    );
    assert_eq!((grant.usage().calls, grant.usage().retries), (3, 2));

    let _other = rig.handle.register(set("ses_b"));
    assert_eq!(
        rig.send(rig.request(Dialect::Chat, "ses_b").body(ask().to_string()))
            .await
            .status,
        200
    );
    let calls = llm.requests();
    assert_eq!(calls.len(), 4);
    assert_eq!(calls[3].limit(), Some(("max_completion_tokens", 9)));
}

#[tokio::test]
async fn a_provider_that_never_stops_refusing_is_not_asked_for_ever() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    for param in ["temperature", "top_p", "store", "include", "text", "top_k"] {
        llm.reply(Turn::plain(400, format!("{param} is not supported")));
    }
    let _grant = rig.register(Dialect::Chat, &llm);
    assert_eq!(rig.call(Dialect::Chat).await.status, 400);
    assert_eq!(llm.requests().len(), 4);
}

#[tokio::test]
async fn a_call_as_large_as_allowed_passes_and_a_larger_one_is_413() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    llm.reply(Turn::new().text("hi"));
    let _grant = rig.register(Dialect::Chat, &llm);
    let body = |size: usize| format!("{{\"model\":\"m\",\"x\":\"{}\"}}", "x".repeat(size));
    let large = rig
        .send(rig.request(Dialect::Chat, "ses_a").body(body(31 << 20)))
        .await;
    assert_eq!(large.status, 200);
    assert_eq!(
        llm.single_request().body["x"].as_str().unwrap().len(),
        31 << 20
    );
    let declared = rig
        .send(rig.request(Dialect::Chat, "ses_a").body(body(32 << 20)))
        .await;
    assert_eq!(
        (declared.status, declared.code().as_str()),
        (413, "call_too_large")
    );
    // The same without saying its length before.
    let chunks =
        futures_util::stream::iter((0..33).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20])));
    let chunked = rig
        .request(Dialect::Chat, "ses_a")
        .body(reqwest::Body::wrap_stream(chunks));
    assert_eq!(rig.send(chunked).await.status, 413);
    assert_eq!(llm.requests().len(), 1);
}

#[tokio::test]
async fn a_body_that_is_no_call_is_refused_here() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let _grant = rig.register(Dialect::Chat, &llm);
    for bad in ["", "[]", "{\"model\":"] {
        let refused = rig
            .send(rig.request(Dialect::Chat, "ses_a").body(bad))
            .await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "call_invalid"),
            "{bad}"
        );
    }
    assert_eq!(llm.requests().len(), 0);
}

#[tokio::test]
async fn a_proxy_is_used_as_it_was_given() {
    let llm = Llm::start().await;
    llm.reply_always(Turn::new().text("hi"));
    let proxy = format!("http://{}", llm.addr());
    let proxies = |except: Option<&str>| ProxySettings {
        http: Some(proxy.clone()),
        https: None,
        except: except.map(str::to_owned),
    };
    let rig = Rig::with(Config {
        proxy: proxies(None),
        ..config()
    })
    .await;
    let _grant = rig
        .handle
        .register(route(Dialect::Chat, "http://provider.invalid/v1"));
    assert_eq!(rig.call(Dialect::Chat).await.status, 200);
    assert_eq!(llm.single_request().headers["host"], "provider.invalid");

    // What runs on this machine is called directly.
    let direct = Llm::start().await;
    direct.reply(Turn::new().text("hi"));
    let _grant = rig.handle.register(route(Dialect::Chat, &direct.base()));
    assert_eq!(rig.call(Dialect::Chat).await.status, 200);
    assert_eq!((direct.requests().len(), llm.requests().len()), (1, 1));

    let excepted = Config {
        header_timeout: SHORT,
        proxy: proxies(Some("provider.invalid")),
        ..config()
    };
    let rig = Rig::with(excepted).await;
    let _grant = rig
        .handle
        .register(route(Dialect::Chat, "http://provider.invalid/v1"));
    assert!(matches!(rig.call(Dialect::Chat).await.status, 502 | 504));
    assert_eq!(llm.requests().len(), 1);
}
