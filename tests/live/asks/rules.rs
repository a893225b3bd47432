//! Who is asked at all: modes, rules by pattern, and their change from turn to turn.

use serde_json::{Value, json};

use super::{
    add, answer, ask_bash, asked, begin, next, permissions, question, reply, results, run, status,
    story, task, text,
};
use crate::llm::Turn;
use crate::world::World;

#[test]
fn rules_by_pattern_refuse_ask_and_allow() {
    let world = World::start();
    std::fs::write(world.sidecar.workspace().join("zz"), "").unwrap();
    let rules = |rules: Value| json!({ "permission_mode": rules });
    let deny = rules(json!([{ "permission": "bash", "pattern": "rm *", "action": "deny" }]));
    let turns = [run("rm -f zz"), run("echo fine"), text("done")];
    let events = begin(&world, "deny", &deny, turns).rest();
    assert_eq!(story(&events), [""; 0]);
    let all = results(&events);
    assert_eq!(
        (&all[0]["is_error"], &all[1]["is_error"]),
        (&json!(true), &json!(false))
    );
    assert!(world.sidecar.workspace().join("zz").exists());

    let ask = rules(json!([{ "permission": "bash", "pattern": "rm *", "action": "ask" }]));
    let turns = [run("echo fine"), run("echo x && rm -f zz"), text("done")];
    let mut stream = begin(&world, "ask", &ask, turns);
    let (request, event) = asked(&mut stream);
    assert_eq!(event.data["patterns"], json!(["echo x", "rm -f zz"]));
    reply(&world.sidecar, "ask", &request, &json!({ "reply": "once" }));
    assert_eq!(stream.rest().last().unwrap().kind, "complete");
    assert!(!world.sidecar.workspace().join("zz").exists());

    // The last rule that matches decides, also for a subagent.
    let careful = rules(json!([
        { "permission": "*", "pattern": "*", "action": "ask" },
        { "permission": "bash", "pattern": "echo *", "action": "allow" },
        { "permission": "task", "pattern": "*", "action": "allow" },
    ]));
    let write = Turn::new().tool("write", json!({ "filePath": "w.txt", "content": "w" }));
    let turns = [task(), run("echo y"), write, text("part"), text("done")];
    let mut stream = begin(&world, "careful", &careful, turns);
    let (request, event) = asked(&mut stream);
    assert_eq!(event.data["permission"], "edit");
    assert_eq!(event.data["agent"]["name"], "general");
    reply(
        &world.sidecar,
        "careful",
        &request,
        &json!({ "reply": "once" }),
    );
    assert_eq!(stream.rest().last().unwrap().data["final_message"], "done");
}

#[test]
fn the_mode_changes_with_a_turn_and_stays_otherwise() {
    let world = World::start();
    let strict = json!({ "permission_mode": [
        { "permission": "bash", "pattern": "rm *", "action": "deny" },
        { "permission": "bash", "pattern": "echo *", "action": "ask" },
    ] });
    let mut stream = begin(&world, "modes", &strict, [run("echo a"), text("one")]);
    let (request, _) = asked(&mut stream);
    reply(
        &world.sidecar,
        "modes",
        &request,
        &json!({ "reply": "once" }),
    );
    stream.rest();
    let resume = |fields: &Value, turns: Vec<Turn>| {
        world.script("modes", turns);
        let cursor = status(&world.sidecar, "modes")["last_event_id"].clone();
        let mut body = world.body("modes");
        body["session_id"].take();
        add(&mut body, fields);
        let answer = world
            .sidecar
            .post("/sessions/modes/resume", &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        let cursor = format!("?last_event_id={}", cursor.as_str().unwrap());
        world.sidecar.stream("modes", &cursor)
    };
    let mut stream = resume(&json!({}), vec![run("echo b"), text("two")]);
    let (request, _) = asked(&mut stream);
    reply(
        &world.sidecar,
        "modes",
        &request,
        &json!({ "reply": "always" }),
    );
    stream.rest();
    let allowed = permissions(&world.sidecar, "modes")["always"].clone();
    assert_eq!(allowed[0]["pattern"], "echo *");
    // What was allowed for good is allowed in the next turn.
    let events = resume(&json!({}), vec![run("echo c"), text("three")]).rest();
    assert_eq!(story(&events), ["answered once rule"]);
    // Nothing of the old rules is left, in a subagent neither.
    let auto = json!({ "permission_mode": "auto" });
    let turns = vec![
        run("rm -f a"),
        task(),
        run("rm -f b"),
        text("part"),
        text("four"),
    ];
    let events = resume(&auto, turns).rest();
    assert_eq!(story(&events), [""; 0]);
    let failed = results(&events)
        .iter()
        .any(|result| result["is_error"] == true);
    assert!(!failed, "{events:#?}");
    assert_eq!(permissions(&world.sidecar, "modes")["always"], json!([]));
    // And back, with another tool.
    let ask = json!({ "permission_mode": "ask", "ask_tools": ["read"], "questions": true });
    let read = Turn::new().tool("read", json!({ "filePath": "nothing.txt" }));
    let mut stream = resume(&ask, vec![run("echo d"), question(), read, text("five")]);
    let event = next(&mut stream, "question", "asked");
    let request = event.data["request_id"].as_str().unwrap();
    let given = answer(
        &world.sidecar,
        "modes",
        request,
        &json!({ "answers": [["A"]] }),
    );
    assert_eq!(given.status, 200, "{given:?}");
    let (request, event) = asked(&mut stream);
    assert_eq!(event.data["permission"], "read");
    reply(
        &world.sidecar,
        "modes",
        &request,
        &json!({ "reply": "once" }),
    );
    assert_eq!(stream.rest().last().unwrap().data["final_message"], "five");
}

#[test]
fn a_session_that_asks_nobody_never_waits() {
    let world = World::start();
    let turns = [
        run("echo x"),
        task(),
        run("echo sub"),
        text("part"),
        run("cat /etc/hostname"),
        text("done"),
    ];
    let mut stream = begin(&world, "auto", &json!({}), turns);
    let events = stream.rest();
    assert_eq!(events.last().unwrap().data["final_message"], "done");
    assert_eq!(story(&events), [""; 0]);
    let waited = events
        .iter()
        .any(|event| event.data["status"] == "waiting_input");
    assert!(!waited);
}

#[test]
fn what_cannot_be_an_answer_or_a_mode_is_refused_with_its_field() {
    let world = World::start();
    let refused = |fields: &Value, field: &str| {
        let mut body = world.body("refused");
        add(&mut body, fields);
        let answer = world.post_session(&body);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.json()["details"]["field"], field, "{answer:?}");
    };
    refused(
        &json!({ "permission_mode": "sometimes" }),
        "model_config.permission_mode",
    );
    refused(&json!({ "ask_tools": ["bash"] }), "model_config.ask_tools");
    refused(
        &json!({ "permission_mode": "ask", "ask_tools": ["hammer"] }),
        "model_config.ask_tools",
    );
    refused(
        &json!({ "ask_timeout_secs": 0 }),
        "model_config.ask_timeout_secs",
    );
    let rule = |permission: &str, pattern: &str, action: &str| json!({ "permission_mode": [{ "permission": permission, "pattern": pattern, "action": action }] });
    refused(
        &rule("hammer", "*", "ask"),
        "model_config.permission_mode[0].permission",
    );
    refused(
        &rule("bash", "", "ask"),
        "model_config.permission_mode[0].pattern",
    );
    refused(
        &rule("bash", "*", "maybe"),
        "model_config.permission_mode[0].action",
    );

    let mut stream = begin(
        &world,
        "answers",
        &ask_bash(),
        [run("echo x"), text("done")],
    );
    let (request, _) = asked(&mut stream);
    for body in [
        json!({}),
        json!({ "reply": "maybe" }),
        json!({ "reply": "once", "message": "but hurry" }),
    ] {
        let answer = reply(&world.sidecar, "answers", &request, &body);
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    let other = answer(
        &world.sidecar,
        "answers",
        &request,
        &json!({ "reject": true }),
    );
    assert_eq!(other.status, 404, "a permission is no question: {other:?}");
    assert_eq!(
        reply(
            &world.sidecar,
            "nobody",
            &request,
            &json!({ "reply": "once" })
        )
        .status,
        404
    );
    reply(
        &world.sidecar,
        "answers",
        &request,
        &json!({ "reply": "once" }),
    );
    assert_eq!(stream.rest().last().unwrap().kind, "complete");
}
