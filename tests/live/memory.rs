//! The memory guard and the real OpenCode.

use serde_json::json;

use crate::llm::Turn;
use crate::support::{Options, real_opencode};
use crate::world::World;

/// OpenCode alone stays below 85 % of the limit; with what it has taken when the turn has ended it is above all of
/// it.
#[test]
fn an_engine_that_has_grown_is_recycled_when_idle_and_the_next_session_works() {
    let world = World::of(
        Options::stub()
            .env("ENGINE_START_TIMEOUT", "60s")
            .env("ENGINE_MEMORY_LIMIT", "1200Mi")
            .script(json!({ "front_of": real_opencode(), "hungry": true })),
    );
    let seen = world.run("first", [Turn::new().text("Done.")]);
    seen.assert_complete();
    assert_eq!(world.engine()["generation"], 1, "{}", world.engine());

    std::fs::write(world.data_dir().join("eat"), "900").unwrap();
    world.until("recycled", |world| world.engine()["generation"] == 2);
    let heir = world.run("second", [Turn::new().text("Here I am.")]);
    assert_eq!(heir.assert_complete()["final_message"], "Here I am.");
    let engine = world.engine();
    assert_eq!(engine["recycled"], 1, "{engine}");
    assert_eq!(engine["memory"]["pressure"], "normal", "{engine}");
    assert_eq!(engine["restarts"], 1, "{engine}");
    assert!(!world.log().contains("the engine failed"));
}
