//! Everything that can happen to an answer on its way.

use futures_util::future::join;

use super::*;
use crate::gateway::llm::Turn;
use crate::gateway::llm::wire::{self, Wire};
use crate::gateway::{Stop, Wait};

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
    assert_eq!(grant.last_error(), None);
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
        assert_eq!(grant.last_error().unwrap().code, "provider_broke_off");
        // Anthropic has counted the input by then.
        assert_eq!(
            grant.unmetered_calls(),
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
        assert_eq!(grant.last_error().unwrap().code, "provider_stalled");
    }
    llm.until_cut(3).await;
}

#[tokio::test]
async fn a_stream_that_drips_without_ever_saying_anything_is_given_up() {
    let (rig, llm) = (Rig::hasty().await, Llm::start().await);
    let grant = rig.register(Dialect::Chat, &llm);
    llm.reply(Turn::new().text("half").drip_here(Duration::from_millis(5)));
    let answered = rig.call(Dialect::Chat).await;
    // Nothing of the event that does not end has gone out, so the client can be told.
    assert!(!answered.broken && answered.took < LONG, "{answered:?}");
    assert!(answered.body.contains("provider_stalled"), "{answered:?}");
    assert_eq!(grant.last_error().unwrap().code, "provider_stalled");
    llm.until_cut(1).await;
}

#[tokio::test]
async fn a_stream_that_stalls_before_it_says_anything_is_no_success() {
    let (rig, llm) = (Rig::hasty().await, Llm::start().await);
    for dialect in DIALECTS {
        let grant = rig.register(dialect, &llm);
        llm.reply(Turn::new().hang_here());
        let answered = rig.call(dialect).await;
        assert_eq!(
            (answered.status, answered.code().as_str()),
            (504, "provider_stalled")
        );
        assert_eq!(grant.last_error().unwrap().code, "provider_stalled");
    }
    llm.until_cut(3).await;
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
    assert_eq!(grant.usage().total_tokens, 120);

    llm.reply(Turn::new().text("hello").header("content-encoding", "br"));
    let other = rig.call(Dialect::Chat).await;
    assert_eq!(
        (other.status, other.code().as_str()),
        (424, "provider_encoding")
    );
}

#[tokio::test]
async fn what_an_answer_that_is_no_stream_cost_is_counted_too() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    for (dialect, wire) in DIALECTS.into_iter().zip(wire::DIALECTS) {
        let grant = rig.register(dialect, &llm);
        llm.reply(Turn::plain(200, wire::unstreamed(wire).to_string()));
        assert_eq!(rig.call(dialect).await.status, 502);
        assert_eq!(grant.usage().total_tokens, 10);
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_failure_with_its_beginning_and_a_pause() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    llm.reply_always(
        Turn::plain(200, "<html>  <p>KEY-A is not\nallowed").header("content-type", "text/html"),
    );
    for dialect in DIALECTS {
        let grant = rig.register(dialect, &llm);
        for pause in ["1000", "2000"] {
            let answered = rig.call(dialect).await;
            assert_eq!(
                (answered.status, answered.code().as_str()),
                (502, "provider_bad_answer")
            );
            assert_eq!(answered.headers["retry-after-ms"], pause);
            assert!(
                answered.body.contains(
                    "it is not an event stream; it begins: <html> <p>[redacted] is not allowed"
                ),
                "{answered:?}"
            );
        }
        // The last one, and all that come after it, in words that OpenCode does not repeat calls for.
        for _ in 0..2 {
            let last = rig.call(dialect).await;
            assert_eq!(
                (last.status, last.code().as_str()),
                (424, "provider_bad_answer")
            );
            assert!(!last.body.contains("html"), "{last:?}");
        }
        assert_eq!(grant.stopped(), Some(Stop::BadAnswers));
        let usage = grant.usage();
        assert_eq!(usage.calls, 3);
        assert!(usage.last_error.unwrap().contains("<html>"));
    }
}

#[tokio::test]
async fn an_answer_that_goes_wrong_later_ends_with_an_error_the_client_can_read() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    for (dialect, wire) in DIALECTS.into_iter().zip(wire::DIALECTS) {
        let grant = rig.register(dialect, &llm);
        let half = Wire::begun(wire).open_call(0, &json!("c1"), &json!("bash"), "{\"a");
        llm.reply(Turn::wire(half.bytes));
        let answered = rig.call(dialect).await;
        assert!(!answered.broken && answered.status == 200, "{answered:?}");
        let events = answered
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"));
        let event: Value = serde_json::from_str(events.collect::<Vec<_>>().pop().unwrap()).unwrap();
        assert_eq!(event["error"]["type"], "provider_bad_answer", "{event}");
        assert_eq!(grant.last_error().unwrap().code, "provider_bad_answer");
    }
}

#[tokio::test]
async fn an_error_within_a_stream_never_shows_the_key() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    for (dialect, wire) in DIALECTS.into_iter().zip(wire::DIALECTS) {
        let quoting = |stream: Wire| stream.error("api_error", "bad key KEY-A (sk-abcdef)");
        let early = quoting(Wire::begun(wire)).bytes;
        let late = quoting(Wire::begun(wire).open_text("so far")).bytes;
        for (stream, status) in [(early, 502), (late, 200)] {
            let grant = rig.register(dialect, &llm);
            // In two pieces, the key in both.
            let cut = stream.find("KEY-A").unwrap() + 2;
            let (first, rest) = stream.split_at(cut);
            let turn = Turn::wire(first.to_owned()).wait(Duration::from_millis(20));
            llm.reply(turn.raw(rest.to_owned()));
            let answered = rig.call(dialect).await;
            assert_eq!(answered.status, status, "{answered:?}");
            assert!(
                answered.body.contains("bad key [redacted] ([redacted])"),
                "{answered:?}"
            );
            assert!(!answered.body.contains("KEY-A") && !answered.body.contains("sk-a"));
            let last = grant.last_error().unwrap();
            assert_eq!(last.code, "provider_error");
            assert!(
                last.message
                    .ends_with(" said in its stream: bad key [redacted] ([redacted])"),
                "{last:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_error_that_a_stream_begins_with_is_answered_as_what_it_is() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    for (kind, status, code) in [
        ("rate_limit_error", 429, "rate_limit_error"),
        ("overloaded_error", 503, "overloaded_error"),
        ("authentication_error", 401, "authentication_error"),
        ("insufficient_quota", 402, "provider_quota"),
        ("strange", 502, "strange"),
    ] {
        for (dialect, wire) in DIALECTS.into_iter().zip(wire::DIALECTS) {
            let _grant = rig.register(dialect, &llm);
            llm.reply(Turn::wire(Wire::begun(wire).error(kind, "no").bytes));
            let answered = rig.call(dialect).await;
            assert_eq!(
                (answered.status, answered.code().as_str()),
                (status, code),
                "{dialect:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_burst_of_small_and_large_chunks_arrives_byte_for_byte() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let _grant = rig.register(Dialect::Chat, &llm);
    let mut stream = String::new();
    let mut turn = Turn::plain(200, "").header("content-type", "text/event-stream");
    for n in 0..3_000 {
        let padding = if n % 100 == 0 { 20_000 } else { n % 50 };
        let said = "é".repeat(padding);
        let event =
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{n} {said}\"}}}}]}}\n\n");
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
