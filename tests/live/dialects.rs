//! What OpenCode makes of the gateway's errors, in each dialect.

use serde_json::json;

use crate::answers::Providers;
use crate::llm::wire::DIALECTS;
use crate::llm::{Scope, Turn};
use crate::world::bash;

#[test]
fn a_stalled_stream_and_a_rate_limit_are_asked_again_in_every_dialect() {
    let providers = Providers::start_with(|options| {
        options
            // Short, because a stream that hangs is part of this test; long enough for a busy machine.
            .env("MODEL_IDLE_TIMEOUT", "3s")
            .env("MAX_RETRY_AFTER_SECS", "1s")
    });
    for dialect in DIALECTS {
        let id = format!("again-{dialect:?}");
        for turn in [
            Turn::new().text("half").hang_here(),
            Turn::error(429, "slow down").header("retry-after", "9999"),
            Turn::new().text("whole"),
        ] {
            providers.llm(dialect).reply_to(Scope::key(&id), turn);
        }
        providers.create_with(&id, dialect, |_| {});
    }
    for dialect in DIALECTS {
        let id = format!("again-{dialect:?}");
        let seen = providers.world.follow(&id);
        assert_eq!(seen.assert_complete()["final_message"], "whole", "{id}");
        let calls = &providers.world.status(&id)["model_calls"];
        assert_eq!((&calls["calls"], &calls["retries"]), (&json!(3), &json!(2)));
    }
}

#[test]
fn a_refusal_for_good_ends_the_turn_at_once_in_every_dialect() {
    let providers = Providers::start_with(|options| options);
    for dialect in DIALECTS {
        let id = format!("spent-{dialect:?}");
        let llm = providers.llm(dialect);
        llm.reply_to(Scope::key(&id), Turn::new().tool("bash", bash("true")));
        providers.create_with(&id, dialect, |config| config["max_calls"] = 1.into());
        let seen = providers.world.follow(&id);
        let error = seen.assert_failed("budget_exceeded");
        let sentence = error["error"].as_str().unwrap();
        assert!(sentence.contains("budget is spent"), "{sentence}");
        assert!(
            seen.of("error").all(|data| data["fatal"] == true),
            "OpenCode does not try again: {seen:#?}"
        );
        let requests = llm.requests();
        assert_eq!(requests.iter().filter(|call| call.key == id).count(), 1);
        assert_eq!(providers.world.status(&id)["model_calls"]["calls"], 1);
    }
}
