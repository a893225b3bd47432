//! The agent's process dies in the middle of a turn that goes on.

use serde_json::json;

use super::bench::{Bench, NOW, bench, message, said, text, tool};

const RECOVERING: &str =
    r#"status {"phase":"recovering","progress":0,"reason":"it died","status":"running"}"#;
const RUNNING: &str = r#"status {"progress":0,"status":"running"}"#;

fn lose(bench: &mut Bench) {
    bench
        .translator
        .process_lost("it died".into(), NOW, &mut bench.batch);
}

fn abandon(bench: &mut Bench) {
    bench.translator.abandon_run(NOW, &mut bench.batch);
}

fn resume(bench: &mut Bench) {
    bench.translator.resumed(NOW, &mut bench.batch);
}

#[test]
fn a_text_that_was_cut_off_is_given_up_and_one_that_was_stored_is_told_to_its_end() {
    let mut bench = bench();
    bench.part(&text("p1", "", false));
    bench.delta("p1", "one ");
    bench.part(&text("p2", "", false));
    bench.delta("p2", "three ");
    lose(&mut bench);
    assert_eq!(
        bench.lines(),
        [said("one "), said("three "), RECOVERING.to_owned()]
    );
    // The store has the first whole; of the second it has nothing.
    bench.list(&[text("p1", "one two ", true), text("p2", "", false)]);
    abandon(&mut bench);
    resume(&mut bench);
    assert_eq!(bench.lines(), [said("two "), RUNNING.to_owned()]);
    // The end reads the same list again.
    bench.list(&[text("p1", "one two ", true), text("p2", "", false)]);
    bench.delta("p2", "late");
    assert_eq!(bench.lines(), Vec::<String>::new());
}

#[test]
fn text_that_waited_for_its_final_form_is_told_before_the_next_run_begins() {
    let mut bench = bench();
    bench.part(&text("p1", "", false));
    bench.translator.feed_lost();
    bench.delta("p1", "end");
    lose(&mut bench);
    abandon(&mut bench);
    let cut = json!({ "source": "assistant", "text": "end", "truncated": true });
    assert_eq!(
        bench.lines(),
        [RECOVERING.to_owned(), format!("output {cut}")]
    );
    bench.part(&text("p2", "again", true));
    bench.finish();
    let end = r#"status {"progress":0,"status":"cancelled"}"#;
    assert_eq!(bench.lines(), [said("again"), end.to_owned()]);
}

#[test]
fn a_call_that_was_cut_off_gets_its_result_at_once_and_only_once() {
    let mut bench = bench();
    let run = tool("p1", "running", &json!({ "command": "a" }), &json!({}));
    bench.part(&run);
    bench.lines();
    lose(&mut bench);
    abandon(&mut bench);
    let result = json!({ "tool": "bash", "call_id": "call-p1", "is_error": true, "duration_ms": 1000,
        "result": { "error": "the tool was interrupted before it finished" } });
    let recovering = json!({ "current_tool": "bash", "phase": "recovering", "progress": 0,
        "reason": "it died", "status": "running" });
    assert_eq!(
        bench.lines(),
        [
            format!("status {recovering}"),
            format!("tool_result {result}"),
            RECOVERING.to_owned()
        ]
    );
    // It stays `running` in the store for ever.
    bench.list(&[run]);
    bench.finish();
    assert_eq!(
        bench.lines(),
        [r#"status {"progress":0,"status":"cancelled"}"#]
    );
}

#[test]
fn what_the_store_has_of_a_call_nobody_heard_of_is_told_whole() {
    let mut bench = bench();
    lose(&mut bench);
    bench.lines();
    bench.list(&[tool("p1", "running", &json!({}), &json!({ "output": "a" }))]);
    abandon(&mut bench);
    let kinds: Vec<String> = bench
        .lines()
        .iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["tool_call", "status", "tool_result", "status"]);
}

#[test]
fn a_question_of_a_dead_process_is_not_waited_for() {
    let mut bench = bench();
    bench.event(
        "permission.asked",
        &json!({ "id": "per", "sessionID": "s", "permission": "bash" }),
    );
    lose(&mut bench);
    assert_eq!(bench.lines().pop().unwrap(), RECOVERING);
}

#[test]
fn the_same_call_after_a_death_is_no_loop() {
    let mut bench = bench();
    bench.part(&tool("p1", "running", &json!({}), &json!({})));
    lose(&mut bench);
    abandon(&mut bench);
    bench.part(&tool("p2", "running", &json!({}), &json!({})));
    assert_eq!(bench.signals(), []);
    bench.part(&tool("p3", "running", &json!({}), &json!({})));
    assert_eq!(bench.signals().len(), 1, "but two in a row are");
}

#[test]
fn the_newest_message_is_the_newest_of_all_sessions() {
    let mut bench = bench();
    assert_eq!(bench.translator.newest_message(), Some("m1"));
    bench.event(
        "message.updated",
        &json!({ "info": message("m3", "assistant") }),
    );
    bench.event("message.updated", &json!({ "info": message("m2", "user") }));
    assert_eq!(bench.translator.newest_message(), Some("m3"));
}
