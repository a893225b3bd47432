//! What a session spends, over its turns and over restarts, and what a turn spends that gets nowhere.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::llm::Turn;
use crate::support::Options;
use crate::support::http::Response;
use crate::world::{World, bash};

fn resume(world: &World, id: &str, change: impl FnOnce(&mut Value)) -> Response {
    let mut body = world.body(id);
    body.as_object_mut().unwrap().remove("session_id");
    change(&mut body);
    world
        .sidecar
        .post(&format!("/sessions/{id}/resume"), &body.to_string())
}

fn limited(body: &mut Value) {
    body["model_config"]["max_calls"] = 4.into();
}

/// How many calls of this session reached the provider.
fn asked(world: &World, id: &str) -> usize {
    let requests = world.llm.requests();
    requests.iter().filter(|call| call.key == id).count()
}

/// Waits until the session's turn has ended as `state`.
fn until(world: &World, id: &str, done: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..2000 {
        let status = world.status(id);
        if done(&status) {
            return status;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{}", world.status(id));
}

fn ended(status: &Value) -> bool {
    status["status"] != "running" && status["status"] != "pending"
}

#[test]
fn a_budget_counts_over_turns_and_restarts() {
    let mut world = World::of(Options::real());
    let tool = || Turn::new().tool("bash", bash("date +%N"));
    world.script("spender", [tool(), Turn::new().text("first turn done")]);
    world.create_with("spender", limited);
    world.follow("spender").assert_complete();
    let status = world.status("spender");
    assert_eq!(status["model_calls"]["calls"], 2, "{status}");
    assert_eq!(status["turn_model_calls"]["calls"], 2, "{status}");
    let first = status["usage"]["input_tokens"].as_u64().unwrap();
    assert_eq!(status["turn_usage"]["input_tokens"], first);

    world.script("spender", [Turn::new().text("second turn done")]);
    assert_eq!(resume(&world, "spender", limited).status, 200);
    let status = until(&world, "spender", ended);
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(status["model_calls"]["calls"], 3, "{status}");
    assert_eq!(status["turn_model_calls"]["calls"], 1, "{status}");
    let turn = status["turn_usage"]["input_tokens"].as_u64().unwrap();
    assert!(
        turn > 0 && status["usage"]["input_tokens"] == json!(first + turn),
        "{status}"
    );

    // The third turn is killed together with the sidecar, while its call runs.
    world.script("spender", [Turn::new().text("I begin").hang_here()]);
    assert_eq!(resume(&world, "spender", limited).status, 200);
    let status = until(&world, "spender", |status| {
        status["model_calls"]["calls"] == 4
    });
    assert_eq!(
        status["status"], "running",
        "counted while it runs: {status}"
    );
    assert_eq!(status["turn_model_calls"]["calls"], 1, "{status}");
    world
        .stream("spender", "")
        .until("its words", |event| event.data["text"] == "I begin");
    world.sidecar.signal(Signal::KILL);
    world.sidecar = world.sidecar.again().ready();
    let status = until(&world, "spender", ended);
    assert_eq!(status["model_calls"]["calls"], 4, "{status}");
    assert_eq!(status["turn_model_calls"]["calls"], 1, "{status}");

    world.script("spender", [Turn::new().text("one too many")]);
    assert_eq!(resume(&world, "spender", limited).status, 200);
    let status = until(&world, "spender", ended);
    assert_eq!(status["error"]["code"], "budget_exceeded", "{status}");
    assert_eq!(status["model_calls"]["calls"], 4, "{status}");
    assert_eq!(asked(&world, "spender"), 4, "the fifth call never left");

    // A larger budget is what the session may spend in all.
    let larger = |body: &mut Value| body["model_config"]["max_calls"] = 5.into();
    assert_eq!(resume(&world, "spender", larger).status, 200);
    let status = until(&world, "spender", ended);
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(status["model_calls"]["calls"], 5, "{status}");
}

#[test]
fn tokens_count_over_turns() {
    let world = World::start();
    let limited = |body: &mut Value| body["model_config"]["max_total_tokens"] = 240.into();
    world.script("tokens", [Turn::new().text("one")]);
    world.create_with("tokens", limited);
    world.follow("tokens").assert_complete();
    for (text, code) in [("two", Value::Null), ("three", json!("budget_exceeded"))] {
        world.script("tokens", [Turn::new().text(text)]);
        assert_eq!(resume(&world, "tokens", limited).status, 200);
        let status = until(&world, "tokens", ended);
        assert_eq!(status["error"]["code"], code, "{status}");
        assert_eq!(status["model_calls"]["total_tokens"], 240, "{status}");
    }
}

/// What the pod allows counts over the turns of a session; what it allows by itself, for each turn.
#[test]
fn the_pod_s_limit_holds_over_turns() {
    let world = World::with(|options| options.env("MAX_CALLS", "1"));
    world.script("poor", [Turn::new().text("one")]);
    world.create("poor");
    world.follow("poor").assert_complete();
    world.script("poor", [Turn::new().text("two")]);
    assert_eq!(resume(&world, "poor", |_| {}).status, 200);
    let status = until(&world, "poor", ended);
    assert_eq!(status["error"]["code"], "budget_exceeded", "{status}");
    assert_eq!(asked(&world, "poor"), 1);
}

/// Two calls in turns, with the same results: no tool is called twice in a row.
#[test]
fn a_turn_that_gets_nowhere_ends() {
    let world = World::start();
    let turns = (0..40).map(|n| {
        let command = if n % 2 == 0 {
            "echo round"
        } else {
            "echo and round"
        };
        Turn::new().tool("bash", bash(command))
    });
    world.script("circle", turns);
    // The same, but each time there is something new.
    let news = (0..20).map(|n| {
        let command = if n % 2 == 0 { "date +%N" } else { "date +%N%N" };
        Turn::new().tool("bash", bash(command))
    });
    world.script("spiral", news.chain([Turn::new().text("out")]));
    world.create("circle");
    world.create("spiral");
    let seen = world.follow("circle");
    seen.assert_failed("no_progress");
    let calls = asked(&world, "circle");
    assert!((12..=16).contains(&calls), "{calls}");
    world.follow("spiral").assert_complete();
    assert_eq!(asked(&world, "spiral"), 21);
}
