//! Everything a provider can do wrong before it answers. Each ends as the right error, in time.

use super::*;
use crate::gateway::Wait;
use crate::gateway::llm::Turn;

#[tokio::test]
async fn a_refused_key_is_passed_on_without_the_key() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    for (status, dialect) in [
        (401, Dialect::Chat),
        (401, Dialect::Messages),
        (403, Dialect::Responses),
    ] {
        let grant = rig.register(dialect, &llm);
        llm.reply(Turn::error(
            status,
            "Incorrect API key provided: KEY-A (sk-abc***xyz). Look it up.",
        ));
        let answered = rig.call(dialect).await;
        assert_eq!(answered.status, status);
        assert!(
            answered
                .body
                .contains("provided: [redacted] ([redacted]). Look it up."),
            "{answered:?}"
        );
        let last = grant.last_error().unwrap();
        assert_eq!((last.code, last.status), ("provider_refused", Some(status)));
        let said = format!(
            " answered {status}: Incorrect API key provided: [redacted] ([redacted]). Look it up."
        );
        assert!(last.message.ends_with(&said), "{}", last.message);
    }
}

#[tokio::test]
async fn a_rate_limit_is_passed_on_with_a_wait_that_is_not_days() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let grant = rig.register(Dialect::Chat, &llm);
    llm.reply(Turn::error(429, "slow down").header("retry-after", "86400"));
    llm.reply(Turn::error(429, "slow down").header("retry-after-ms", "1500"));
    llm.reply(Turn::error(429, "slow down"));
    let waits = |answered: &Answered| {
        ["retry-after", "retry-after-ms"].map(|name| {
            answered
                .headers
                .get(name)
                .map(|v| v.to_str().unwrap().to_owned())
        })
    };
    let capped = rig.call(Dialect::Chat).await;
    assert_eq!(
        (capped.status, waits(&capped)),
        (429, [Some("60".into()), Some("60000".into())])
    );
    assert!(matches!(grant.wait(), Wait::Retry { .. }));
    let short = rig.call(Dialect::Chat).await;
    assert_eq!(waits(&short), [Some("2".into()), Some("1500".into())]);
    let open = rig.call(Dialect::Chat).await;
    assert_eq!((open.status, waits(&open)), (429, [None, None]));
    assert_eq!(grant.wait(), Wait::Idle);
    assert!(open.body.contains("slow down"));
}

#[tokio::test]
async fn a_provider_s_own_fault_keeps_its_status() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    for status in [500, 502, 503, 529] {
        let grant = rig.register(Dialect::Messages, &llm);
        llm.reply(Turn::error(status, "overloaded"));
        let answered = rig.call(Dialect::Messages).await;
        assert_eq!(answered.status, status);
        assert!(answered.body.contains("overloaded"));
        assert_eq!(grant.last_error().unwrap().code, "provider_error");
    }
}

#[tokio::test]
async fn an_error_without_words_or_with_ten_megabytes_of_them_is_a_short_sentence() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let _grant = rig.register(Dialect::Chat, &llm);
    llm.reply(Turn::plain(500, ""));
    let silent = rig.call(Dialect::Chat).await;
    assert_eq!(
        (silent.status, silent.code().as_str()),
        (500, "provider_error")
    );
    llm.reply(Turn::plain(500, "blah KEY-A ".repeat(1 << 20)));
    let verbose = rig.call(Dialect::Chat).await;
    assert_eq!(
        (verbose.status, verbose.code().as_str()),
        (500, "provider_error")
    );
    assert!(
        verbose.body.len() < 4096 && verbose.body.contains("blah [redacted] blah"),
        "{verbose:?}"
    );
}

#[tokio::test]
async fn an_error_body_that_never_ends_is_left() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let _grant = rig.register(Dialect::Chat, &llm);
    // Larger than is read, and then nothing: not waited for at all.
    llm.reply(Turn::plain(503, "x".repeat(1 << 20)).hang_here());
    let answered = rig.call(Dialect::Chat).await;
    assert_eq!(
        (answered.status, answered.code().as_str()),
        (503, "provider_error")
    );
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_given_up() {
    let (rig, llm) = (Rig::hasty().await, Llm::start().await);
    for dialect in DIALECTS {
        let grant = rig.register(dialect, &llm);
        llm.reply(Turn::hang_before_headers());
        let answered = rig.call(dialect).await;
        assert_eq!(
            (answered.status, answered.code().as_str()),
            (504, "provider_timeout")
        );
        assert!(answered.took >= SHORT && answered.took < LONG);
        assert_eq!(grant.last_error().unwrap().status, Some(504));
    }
    llm.until_cut(3).await;
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_said_to_be_unreachable() {
    let rig = Rig::with(Config {
        header_timeout: Duration::from_secs(2),
        ..config()
    })
    .await;
    // A port that was just free, and a name that nobody has.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let _grant = rig
        .handle
        .register(route(Dialect::Chat, &format!("http://{free}/v1")));
    let refused = rig.call(Dialect::Chat).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (502, "provider_unreachable")
    );
    assert!(refused.body.contains("127.0.0.1"), "{refused:?}");

    let _grant = rig
        .handle
        .register(route(Dialect::Chat, "http://nobody.invalid/v1"));
    let unknown = rig.call(Dialect::Chat).await;
    // Where no resolver answers at all, the deadline ends it.
    assert!(
        matches!(
            unknown.code().as_str(),
            "provider_unreachable" | "provider_timeout"
        ),
        "{unknown:?}"
    );
    assert!(unknown.took < LONG);
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_key() {
    let (rig, llm, thief) = (Rig::start().await, Llm::start().await, Llm::start().await);
    let _grant = rig.register(Dialect::Chat, &llm);
    llm.reply(Turn::redirect(&format!(
        "{}/chat/completions",
        thief.base()
    )));
    let answered = rig.call(Dialect::Chat).await;
    assert_eq!(
        (answered.status, answered.code().as_str()),
        (424, "provider_redirect")
    );
    assert_eq!((llm.requests().len(), thief.requests().len()), (1, 0));
    assert!(!answered.headers.contains_key("location"));
}

#[tokio::test]
async fn a_refusal_for_good_is_not_put_to_the_provider_twice() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let _grant = rig.register(Dialect::Chat, &llm);
    // OpenCode takes the number in it for a passing fault.
    llm.reply(Turn::error(400, "prompt too long by 5000 words"));
    llm.reply(Turn::new().text("hi"));
    assert_eq!(rig.call(Dialect::Chat).await.status, 400);
    let again = rig.call(Dialect::Chat).await;
    assert_eq!(
        (again.status, again.code().as_str()),
        (424, "provider_refused")
    );
    let other = rig
        .request(Dialect::Chat, "ses_a")
        .body(r#"{"model":"m","other":1}"#);
    assert_eq!(rig.send(other).await.status, 200);
}

#[tokio::test]
async fn a_key_that_no_header_can_hold_is_refused_here() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let key = Some(Secret::new("line\nbreak"));
    let _grant = rig
        .handle
        .register(route_with(Dialect::Chat, &llm.base(), |model| {
            model.key = key;
        }));
    let answered = rig.call(Dialect::Chat).await;
    assert_eq!(
        (answered.status, answered.code().as_str()),
        (401, "key_invalid")
    );
    assert!(!answered.body.contains("break"));
}
