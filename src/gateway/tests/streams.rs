//! Everything that can happen to an answer on its way.

use futures_util::future::join;

use super::*;
use crate::gateway::Wait;
use crate::gateway::llm::Turn;

#[tokio::test]
async fn chunks_are_passed_on_as_they_come() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let grant = rig.register(Dialect::Chat, &llm);
    llm.reply(Turn::new().text("first").hang_here());
    let mut response = rig
        .request(Dialect::Chat, "ses_a")
        .body(ask().to_string())
        .send()
        .await
        .unwrap();
    let mut seen = String::new();
    while !seen.contains("first") {
        seen += std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap();
    }
    assert!(matches!(grant.wait(), Wait::Answering { .. }));
    // The child hangs up: so does the gateway.
    drop(response);
    llm.until_cut(1).await;
}

#[tokio::test]
async fn the_child_s_hanging_up_reaches_a_provider_that_has_not_answered() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let grant = rig.register(Dialect::Chat, &llm);
    llm.reply(Turn::hang_before_headers());
    let call = rig
        .request(Dialect::Chat, "ses_a")
        .body(ask().to_string())
        .send();
    let arrived = llm.until_requests(1);
    tokio::select! {
        _ = call => panic!("nobody answered"),
        () = arrived => {}
    }
    llm.until_cut(1).await;
    assert_eq!(grant.wait(), Wait::Idle);
    assert_eq!(grant.usage().last_error, None);
}

#[tokio::test]
async fn a_revoked_session_s_calls_are_cut_wherever_they_are() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let grant = rig.register(Dialect::Chat, &llm);
    llm.reply(Turn::hang_before_headers());
    let (early, ()) = join(rig.call(Dialect::Chat), async {
        llm.until_requests(1).await;
        grant.revoke();
    })
    .await;
    assert_eq!(
        (early.status, early.code().as_str()),
        (401, "session_ended")
    );
    llm.until_cut(1).await;

    let grant = rig.register(Dialect::Chat, &llm);
    llm.reply(Turn::new().text("first").hang_here());
    let mut response = rig
        .request(Dialect::Chat, "ses_a")
        .body(ask().to_string())
        .send()
        .await
        .unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    grant.revoke();
    while let Ok(chunk) = response.chunk().await {
        assert!(chunk.is_some(), "a cut answer must not look complete");
    }
    llm.until_cut(2).await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_does_not_look_complete() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    for dialect in DIALECTS {
        let grant = rig.register(dialect, &llm);
        llm.reply(Turn::new().text("half").drop_here());
        let answered = rig.call(dialect).await;
        assert!(answered.broken && answered.body.contains("half"));
        let usage = grant.usage();
        assert_eq!(usage.last_error.unwrap().code, "provider_broke_off");
        // Anthropic has counted the input by then.
        assert_eq!(
            usage.unmetered_calls,
            u64::from(dialect != Dialect::Messages)
        );
    }
}

#[tokio::test]
async fn a_stream_that_stalls_ends_with_an_error_the_client_can_read() {
    let (rig, llm) = (Rig::hasty().await, Llm::start().await);
    for dialect in DIALECTS {
        let grant = rig.register(dialect, &llm);
        llm.reply(Turn::new().text("half").hang_here());
        let answered = rig.call(dialect).await;
        assert!(!answered.broken && answered.took < LONG);
        let events = answered
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"));
        let event: Value = serde_json::from_str(events.collect::<Vec<_>>().pop().unwrap()).unwrap();
        assert_eq!(event["error"]["type"], "provider_stalled", "{event}");
        assert_eq!(grant.usage().last_error.unwrap().code, "provider_stalled");
    }
    llm.until_cut(3).await;
}

#[tokio::test]
async fn a_stream_that_drips_without_ever_saying_anything_is_given_up() {
    let (rig, llm) = (Rig::hasty().await, Llm::start().await);
    let grant = rig.register(Dialect::Chat, &llm);
    llm.reply(Turn::new().text("half").drip_here(Duration::from_millis(5)));
    let answered = rig.call(Dialect::Chat).await;
    // Within a line nothing can be added that a client could read.
    assert!(answered.broken && answered.took < LONG, "{answered:?}");
    assert_eq!(grant.usage().last_error.unwrap().code, "provider_stalled");
    llm.until_cut(1).await;
}

#[tokio::test]
async fn a_slow_stream_that_says_something_is_not_given_up() {
    let idle_timeout = Duration::from_secs(1);
    let rig = Rig::with(Config {
        idle_timeout,
        ..config()
    })
    .await;
    let llm = Llm::start().await;
    let _grant = rig.register(Dialect::Chat, &llm);
    // Longer than the idle timeout in all, far shorter from one word to the next.
    llm.reply(
        Turn::new()
            .stream(12, idle_timeout / 8)
            .text("a long and slow answer"),
    );
    let answered = rig.call(Dialect::Chat).await;
    assert!(!answered.broken && answered.body.contains("[DONE]"));
    assert!(answered.took > idle_timeout);
}

#[tokio::test]
async fn a_compressed_stream_is_understood_and_counted() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let grant = rig.register(Dialect::Chat, &llm);
    llm.reply(Turn::new().text("hello").gzip());
    let answered = rig.call(Dialect::Chat).await;
    assert!(answered.body.contains("hello"));
    assert!(!answered.headers.contains_key("content-encoding"));
    assert_eq!(grant.usage().tokens.total(), 120);

    llm.reply(Turn::new().text("hello").header("content-encoding", "br"));
    let other = rig.call(Dialect::Chat).await;
    assert_eq!(
        (other.status, other.code().as_str()),
        (424, "provider_encoding")
    );
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_counted_too() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let grant = rig.register(Dialect::Chat, &llm);
    llm.reply(Turn::plain(
        200,
        r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#,
    ));
    assert_eq!(rig.call(Dialect::Chat).await.status, 200);
    assert_eq!(grant.usage().tokens.total(), 10);
}

#[tokio::test]
async fn a_burst_of_small_and_large_chunks_arrives_byte_for_byte() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let _grant = rig.register(Dialect::Chat, &llm);
    let mut stream = String::new();
    let mut turn = Turn::plain(200, "").header("content-type", "text/event-stream");
    for n in 0..3_000 {
        let padding = if n % 100 == 0 { 20_000 } else { n % 50 };
        let event = format!("data: {{\"n\":{n},\"x\":\"{}\"}}\n\n", "é".repeat(padding));
        stream += &event;
        turn = turn.raw(event);
    }
    llm.reply(turn.drop_here());
    let answered = rig.call(Dialect::Chat).await;
    assert!(
        answered.broken && answered.body == stream,
        "{} of {}",
        answered.body.len(),
        stream.len()
    );
}
