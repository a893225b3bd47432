//! Which requests are taken, and from whom.

use super::*;
use crate::gateway::llm::Turn;

#[tokio::test]
async fn only_the_present_child_gets_in() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let _grant = rig.register(Dialect::Chat, &llm);
    for dialect in DIALECTS {
        let url = rig.url(path(dialect));
        let bare = rig
            .client
            .post(&url)
            .header("x-session-id", "ses_a")
            .body("{}");
        assert_eq!(rig.send(bare).await.status, 403);
        let wrong = rig
            .client
            .post(&url)
            .header("x-session-id", "ses_a")
            .bearer_auth("KEY-A")
            .body("{}");
        assert_eq!(rig.send(wrong).await.status, 403);
    }
    let before = rig.token.clone();
    let token = rig.handle.new_child_token();
    assert_eq!(rig.call(Dialect::Chat).await.status, 403, "{before:?}");
    llm.reply(Turn::new().text("hi"));
    let new = rig
        .client
        .post(rig.url(path(Dialect::Chat)))
        .header("x-session-id", "ses_a");
    assert_eq!(
        rig.send(new.bearer_auth(token.expose()).body(ask().to_string()))
            .await
            .status,
        200
    );
    assert_eq!(llm.requests().len(), 1);
}

/// Whoever has no token can connect as often as it likes, and promise bodies that never come.
#[tokio::test]
async fn six_hundred_connections_without_the_token_keep_no_call_waiting() {
    use tokio::io::AsyncWriteExt as _;
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let _grant = rig.register(Dialect::Chat, &llm);
    let mut hostile = Vec::new();
    for n in 0..600 {
        let mut stream = tokio::net::TcpStream::connect(rig.addr).await.unwrap();
        let head: &[u8] = match n % 3 {
            0 => b"POST /compat/v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n{",
            1 => b"POST /compat/v1/chat/completions HTTP/1.1\r\nauthorization: Bearer no",
            _ => b"",
        };
        stream.write_all(head).await.unwrap();
        hostile.push(stream);
        if n % 100 == 0 || n == 599 {
            llm.reply(Turn::new().text("hi"));
            let begun = std::time::Instant::now();
            assert_eq!(rig.call(Dialect::Chat).await.status, 200, "after {n}");
            assert!(
                begun.elapsed() < Duration::from_secs(2),
                "{:?}",
                begun.elapsed()
            );
        }
    }
    drop(hostile);
}

#[tokio::test]
async fn whoever_has_no_token_is_answered_before_the_body_and_hung_up_on() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let rig = Rig::start().await;
    let mut stream = tokio::net::TcpStream::connect(rig.addr).await.unwrap();
    let head =
        "POST /compat/v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .unwrap()
        .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("connection: close"),
        "{answer}"
    );
}

#[tokio::test]
async fn nothing_else_is_there() {
    let rig = Rig::start().await;
    let token = rig.token.expose();
    for url in [
        "",
        "v1/models",
        "openai/v1/chat/completions",
        "compat/v1/responses",
        "compat/v1/models/x",
    ] {
        assert_eq!(
            rig.send(rig.client.get(rig.url(url)).bearer_auth(token))
                .await
                .status,
            404,
            "{url}"
        );
        assert_eq!(
            rig.send(rig.client.post(rig.url(url)).bearer_auth(token))
                .await
                .status,
            404,
            "{url}"
        );
    }
    let wrong_method = rig
        .client
        .get(rig.url(path(Dialect::Chat)))
        .bearer_auth(token);
    assert_eq!(rig.send(wrong_method).await.status, 404);
}

#[tokio::test]
async fn the_models_are_listed_without_asking_anyone() {
    let rig = Rig::start().await;
    for prefix in ["compat", "openai", "anthropic"] {
        let url = rig.url(&format!("{prefix}/v1/models"));
        let listed = rig
            .send(rig.client.get(&url).bearer_auth(rig.token.expose()))
            .await;
        assert!(listed.body.contains("auto-200k"), "{listed:?}");
        assert_eq!(rig.send(rig.client.get(&url)).await.status, 403);
    }
}

#[tokio::test]
async fn a_session_that_is_not_running_is_refused_in_its_own_dialect() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    for dialect in DIALECTS {
        let stranger = rig.send(rig.request(dialect, "ses_x").body("{}")).await;
        assert_eq!(
            (stranger.status, stranger.code().as_str()),
            (401, "session_unknown")
        );
        assert_eq!(
            stranger.body.contains(r#""type":"error""#),
            dialect == Dialect::Messages
        );
        let anonymous = rig
            .send(
                rig.client
                    .post(rig.url(path(dialect)))
                    .bearer_auth(rig.token.expose()),
            )
            .await;
        assert_eq!(anonymous.status, 401);
    }
    // Registered for one dialect, a session has no route in the others.
    let grant = rig.register(Dialect::Chat, &llm);
    assert_eq!(rig.call(Dialect::Messages).await.status, 401);
    grant.revoke();
    assert_eq!(rig.call(Dialect::Chat).await.status, 401);
    assert_eq!(llm.requests().len(), 0);
}

#[tokio::test]
async fn a_subagent_calls_with_its_root_s_key() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    llm.reply_always(Turn::new().text("hi"));
    let grant = rig.register(Dialect::Chat, &llm);
    rig.handle.adopt("ses_child", "ses_a");
    let announced = rig
        .request(Dialect::Chat, "ses_child")
        .body(ask().to_string());
    assert_eq!(rig.send(announced).await.status, 200);
    let below = rig
        .request(Dialect::Chat, "ses_below")
        .header("x-parent-session-id", "ses_child");
    assert_eq!(rig.send(below.body(ask().to_string())).await.status, 200);
    assert!(llm.requests().iter().all(|call| call.key == "KEY-A"));
    assert_eq!(grant.usage().calls, 2);
    grant.revoke();
    let late = rig
        .request(Dialect::Chat, "ses_below")
        .header("x-parent-session-id", "ses_child");
    assert_eq!(rig.send(late.body(ask().to_string())).await.status, 401);
}
