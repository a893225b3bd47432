//! The agent's process dies in the middle of a turn that goes on.

use serde_json::json;

use super::harness::{Harness, NOW, harness, message, said, text, tool};

const RECOVERING: &str =
    r#"status {"phase":"recovering","progress":0,"reason":"it died","status":"running"}"#;
const RUNNING: &str = r#"status {"progress":0,"status":"running"}"#;

fn lose(harness: &mut Harness) {
    harness.translator.process_lost("it died".into(), NOW);
}

fn abandon(harness: &mut Harness) {
    harness.translator.abandon_run(NOW);
}

fn resume(harness: &mut Harness) {
    harness.translator.resumed(NOW);
}

#[test]
fn a_text_that_was_cut_off_is_given_up_and_one_that_was_stored_is_told_to_its_end() {
    let mut harness = harness();
    harness.part(&text("p1", "", false));
    harness.delta("p1", "one ");
    harness.part(&text("p2", "", false));
    harness.delta("p2", "three ");
    lose(&mut harness);
    assert_eq!(
        harness.lines(),
        [said("one "), said("three "), RECOVERING.to_owned()]
    );
    // The store has the first whole; of the second it has nothing.
    harness.list(&[text("p1", "one two ", true), text("p2", "", false)]);
    abandon(&mut harness);
    resume(&mut harness);
    assert_eq!(harness.lines(), [said("two "), RUNNING.to_owned()]);
    // The end reads the same list again.
    harness.list(&[text("p1", "one two ", true), text("p2", "", false)]);
    harness.delta("p2", "late");
    assert_eq!(harness.lines(), Vec::<String>::new());
}

#[test]
fn text_that_waited_for_its_final_form_is_told_before_the_next_run_begins() {
    let mut harness = harness();
    harness.part(&text("p1", "", false));
    harness.translator.feed_lost();
    harness.delta("p1", "end");
    lose(&mut harness);
    abandon(&mut harness);
    let cut = json!({ "source": "assistant", "text": "end", "truncated": true });
    assert_eq!(
        harness.lines(),
        [RECOVERING.to_owned(), format!("output {cut}")]
    );
    harness.part(&text("p2", "again", true));
    harness.finish();
    let end = r#"status {"progress":0,"status":"cancelled"}"#;
    assert_eq!(harness.lines(), [said("again"), end.to_owned()]);
}

#[test]
fn a_call_that_was_cut_off_gets_its_result_at_once_and_only_once() {
    let mut harness = harness();
    let run = tool("p1", "running", &json!({ "command": "a" }), &json!({}));
    harness.part(&run);
    harness.lines();
    lose(&mut harness);
    abandon(&mut harness);
    let result = json!({ "tool": "bash", "call_id": "call-p1", "is_error": true, "duration_ms": 1000,
        "result": { "error": "the tool was interrupted before it finished" } });
    let recovering = json!({ "current_tool": "bash", "phase": "recovering", "progress": 0,
        "reason": "it died", "status": "running" });
    assert_eq!(
        harness.lines(),
        [
            format!("status {recovering}"),
            format!("tool_result {result}"),
            RECOVERING.to_owned()
        ]
    );
    // It stays `running` in the store for ever.
    harness.list(&[run]);
    harness.finish();
    assert_eq!(
        harness.lines(),
        [r#"status {"progress":0,"status":"cancelled"}"#]
    );
}

#[test]
fn what_the_store_has_of_a_call_nobody_heard_of_is_told_whole() {
    let mut harness = harness();
    lose(&mut harness);
    harness.lines();
    harness.list(&[tool("p1", "running", &json!({}), &json!({ "output": "a" }))]);
    abandon(&mut harness);
    let kinds: Vec<String> = harness
        .lines()
        .iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["tool_call", "status", "tool_result", "status"]);
}

#[test]
fn a_question_of_a_dead_process_is_not_waited_for() {
    let mut harness = harness();
    harness.event(
        "permission.asked",
        &json!({ "id": "per", "sessionID": "s", "permission": "bash" }),
    );
    lose(&mut harness);
    assert_eq!(harness.lines().pop().unwrap(), RECOVERING);
}

#[test]
fn the_same_call_after_a_death_is_no_loop() {
    let mut harness = harness();
    harness.part(&tool("p1", "running", &json!({}), &json!({})));
    lose(&mut harness);
    abandon(&mut harness);
    harness.part(&tool("p2", "running", &json!({}), &json!({})));
    assert_eq!(harness.signals(), []);
    harness.part(&tool("p3", "running", &json!({}), &json!({})));
    assert_eq!(harness.signals().len(), 1, "but two in a row are");
}

#[test]
fn the_newest_message_is_the_newest_of_all_sessions() {
    let mut harness = harness();
    assert_eq!(harness.translator.newest_message(), Some("m1"));
    harness.event(
        "message.updated",
        &json!({ "info": message("m3", "assistant") }),
    );
    harness.event("message.updated", &json!({ "info": message("m2", "user") }));
    assert_eq!(harness.translator.newest_message(), Some("m3"));
}
