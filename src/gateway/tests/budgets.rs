//! When there are to be no more calls.

use super::*;
use crate::gateway::Stop;
use crate::gateway::llm::Turn;

#[tokio::test]
async fn a_spent_budget_refuses_the_next_call_in_words() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    llm.reply_always(Turn::new().text("hi"));
    for dialect in DIALECTS {
        let budget = Budget {
            max_total_tokens: Some(200),
            ..Budget::default()
        };
        let grant = rig
            .handle
            .register(route_with(dialect, &llm.base(), |model| {
                model.budget = budget;
            }));
        for _ in 0..2 {
            assert_eq!(rig.call(dialect).await.status, 200);
        }
        let spent = rig.call(dialect).await;
        assert_eq!(
            (spent.status, spent.code().as_str()),
            (402, "budget_exceeded")
        );
        assert_eq!(grant.stopped().map(Stop::code), Some("budget_exceeded"));
        assert_eq!(grant.usage().total_tokens, 240);
    }
}

#[tokio::test]
async fn the_pod_s_budget_holds_where_a_session_has_none() {
    let llm = Llm::start().await;
    llm.reply_always(Turn::new().text("hi"));
    let default_budget = Budget {
        max_calls: Some(1),
        ..Budget::default()
    };
    let rig = Rig::with(Config {
        default_budget,
        ..config()
    })
    .await;
    let grant = rig.register(Dialect::Chat, &llm);
    assert_eq!(rig.call(Dialect::Chat).await.status, 200);
    assert_eq!(rig.call(Dialect::Chat).await.status, 402);

    // The next turn goes on where this one stopped.
    let next = Route {
        spent: grant.usage(),
        ..route(Dialect::Chat, &llm.base())
    };
    let _grant = rig.handle.register(next);
    assert_eq!(rig.call(Dialect::Chat).await.status, 402);

    let budget = Budget {
        max_calls: Some(2),
        ..Budget::default()
    };
    let _grant = rig
        .handle
        .register(route_with(Dialect::Chat, &llm.base(), |model| {
            model.budget = budget;
        }));
    assert_eq!(rig.call(Dialect::Chat).await.status, 200);
}

#[tokio::test]
async fn a_provider_that_only_fails_is_left_alone() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    llm.reply_always(Turn::error(503, "down"));
    let grant = rig.register(Dialect::Chat, &llm);
    for _ in 0..6 {
        assert_eq!(rig.call(Dialect::Chat).await.status, 503);
    }
    let refused = rig.call(Dialect::Chat).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (424, "provider_failing")
    );
    assert_eq!(grant.stopped(), Some(Stop::ProviderFailing));
    assert_eq!(llm.requests().len(), 6);
    // A new turn begins with a clean sheet.
    let _grant = rig.register(Dialect::Chat, &llm);
    assert_eq!(rig.call(Dialect::Chat).await.status, 503);
}

#[tokio::test]
async fn an_empty_account_ends_the_turn_at_once() {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let grant = rig.register(Dialect::Chat, &llm);
    let quota = json!({ "error": { "message": "You exceeded your current quota, KEY-A", "code": "insufficient_quota" } });
    llm.reply(Turn::plain(429, quota.to_string()));
    for _ in 0..2 {
        let refused = rig.call(Dialect::Chat).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (402, "provider_quota")
        );
    }
    assert_eq!(grant.stopped(), Some(Stop::QuotaExhausted));
    let last = grant.last_error().unwrap().message;
    assert!(
        last.starts_with("the provider at 127.0.0.1:")
            && last.ends_with(" answered 429: You exceeded your current quota, [redacted]"),
        "{last}"
    );
    assert_eq!(llm.requests().len(), 1);
}
