//! Answers whose small pieces the gateway merges (`MODEL_MERGE_MS`), read by the real OpenCode.

use std::time::Duration;

use serde_json::json;

use crate::answers::Providers;
use crate::llm::wire::DIALECTS;
use crate::llm::{Scope, Turn};
use crate::world::bash;

const PIECES: usize = 60;
/// Far less than the merge window.
const PAUSE: Duration = Duration::from_millis(4);

#[test]
fn merged_pieces_say_the_same_in_every_dialect() {
    let providers = Providers::start();
    let words = |what: &str| -> String {
        let words = (0..PIECES).map(|number| format!("{what} {number} \"é🦀\\ "));
        words.collect::<Vec<_>>().concat()
    };
    let (thoughts, text) = (words("thought"), words("word"));
    let arguments = bash("echo 'é🦀 \"quoted\"'").to_string();
    for dialect in DIALECTS {
        let id = format!("merged-{dialect:?}");
        let llm = providers.llm(dialect);
        let first = Turn::new()
            .stream(PIECES, PAUSE)
            .reasoning(&thoughts)
            .text(&text)
            .tool_in_pieces("bash", &arguments, PIECES);
        llm.reply_to(Scope::key(&id), first);
        llm.reply_to(Scope::key(&id), Turn::new().text("done"));
        providers.create_with_key(&id, dialect, &id);
        let seen = providers.world.follow(&id);
        assert_eq!(seen.last()["code"], json!(null), "{seen:?}");
        assert_eq!(seen.text("assistant"), format!("{text}done"), "{dialect:?}");
        assert_eq!(seen.text("reasoning"), thoughts, "{dialect:?}");
        assert!(seen.result("bash").to_string().contains("é🦀"), "{seen:?}");
        // A quarter of a second at the least, in windows of 40 ms.
        for source in ["assistant", "reasoning"] {
            let events = seen.of("output").filter(|data| data["source"] == source);
            let count = events.count();
            assert!(
                count < PIECES / 2,
                "{dialect:?}: {count} events of {source}"
            );
        }
        let spent = &providers.world.status(&id)["model_calls"];
        assert_eq!(
            (&spent["calls"], &spent["total_tokens"]),
            (&json!(2), &json!(240))
        );
    }
}
