//! What no recording shows.

use serde_json::json;

use crate::driver::translate::Signal;

use super::harness::{NOW, harness, message, said, text, tool};

#[test]
fn deltas_with_a_hole_before_them_wait_for_the_final_text() {
    let mut harness = harness();
    harness.part(&text("p1", "", false));
    harness.delta("p1", "one ");
    harness.translator.feed_lost();
    harness.delta("p1", "three ");
    assert_eq!(harness.lines(), [said("one ")]);
    harness.part(&text("p1", "one two three ", true));
    assert_eq!(harness.lines(), [said("two three ")]);
    harness.part(&text("p1", "one two three ", true));
    harness.delta("p1", "late");
    assert_eq!(harness.lines(), Vec::<String>::new());
}

#[test]
fn text_that_never_got_its_final_form_is_published_at_the_end_and_marked() {
    let mut harness = harness();
    harness.part(&text("p1", "", false));
    harness.translator.feed_lost();
    harness.delta("p1", "end");
    harness.finish();
    let cut = json!({ "source": "assistant", "text": "end", "truncated": true });
    let end = r#"status {"progress":0,"status":"cancelled"}"#;
    assert_eq!(harness.lines(), [format!("output {cut}"), end.to_owned()]);
}

#[test]
fn half_a_character_waits_for_its_other_half() {
    let mut harness = harness();
    harness.part(&text("p1", "", false));
    harness.delta("p1", r"a\ud83d");
    harness.delta("p1", r"\ude00b");
    assert_eq!(harness.lines(), [said("a"), said("😀b")]);
}

#[test]
fn a_list_read_while_text_is_written_neither_repeats_nor_loses_any() {
    let mut harness = harness();
    harness.part(&text("p1", "", false));
    harness.delta("p1", "one ");
    // The list has no text before a part has ended, and does not know the second part's deltas.
    harness.list(&[text("p1", "", false), text("p2", "", false)]);
    harness.delta("p1", "two");
    harness.delta("p2", "hidden ");
    assert_eq!(harness.lines(), [said("one "), said("two")]);
    harness.list(&[text("p1", "one two", true), text("p2", "not hidden ", true)]);
    harness.list(&[text("p1", "one two", true), text("p2", "not hidden ", true)]);
    assert_eq!(harness.lines(), [said("not hidden ")]);
}

#[test]
fn text_of_an_unknown_message_waits_until_it_is_known_whose_it_is() {
    for (role, expected) in [("assistant", vec![said("whose?")]), ("user", vec![])] {
        let mut harness = harness();
        let mut part = text("p1", "whose?", true);
        part["messageID"] = json!("m2");
        harness.part(&part);
        assert_eq!(harness.lines(), Vec::<String>::new());
        harness.event("message.updated", &json!({ "info": message("m2", role) }));
        harness.finish();
        let mut lines = harness.lines();
        lines.pop();
        assert_eq!(lines, expected, "{role}");
    }
}

#[test]
fn final_text_that_does_not_continue_what_was_published_is_told_to_the_driver() {
    let mut harness = harness();
    harness.part(&text("p1", "", false));
    harness.delta("p1", "abc");
    harness.part(&text("p1", "xyz", true));
    assert_eq!(harness.lines(), [said("abc")]);
    assert_eq!(
        harness.signals(),
        [Signal::TextDiverged { part: "p1".into() }]
    );
}

#[test]
fn a_call_the_turn_ends_under_gets_its_result() {
    let mut harness = harness();
    harness.part(&tool(
        "p1",
        "running",
        &json!({ "command": "sleep 9" }),
        &json!({}),
    ));
    assert_eq!(harness.translator.open_tools, ["p1"]);
    harness.lines();
    harness.finish();
    let result = json!({ "tool": "bash", "call_id": "call-p1", "is_error": true, "duration_ms": 1000,
        "result": { "error": "the tool was interrupted before it finished" } });
    let end = r#"status {"progress":0,"status":"cancelled"}"#;
    assert_eq!(
        harness.lines(),
        [format!("tool_result {result}"), end.to_owned()]
    );
    assert_eq!(harness.translator.open_tools, [""; 0]);
    // Its real end comes too late, even for the next turn.
    harness.translator.begin_turn(NOW);
    harness.lines();
    harness.part(&tool("p1", "error", &json!({}), &json!({})));
    assert_eq!(harness.lines(), Vec::<String>::new());
}

#[test]
fn an_older_state_of_a_tool_is_a_repetition() {
    let mut harness = harness();
    let input = json!({});
    harness.part(&tool(
        "p1",
        "running",
        &input,
        &json!({ "output": "a\nb\n" }),
    ));
    harness.lines();
    let old = tool("p1", "running", &input, &json!({ "output": "zzz" }));
    harness.event("message.part.updated", &json!({ "part": old, "time": 4 }));
    // A list does not say how old it is.
    harness.list(&[old]);
    assert_eq!(harness.lines(), Vec::<String>::new());
}

#[test]
fn outside_of_a_turn_nothing_is_published_and_all_is_learned() {
    let mut harness = harness();
    harness.finish();
    harness.lines();
    harness.part(&text("p1", "late", true));
    harness.finish();
    assert_eq!(harness.lines(), Vec::<String>::new());
    harness.translator.begin_turn(NOW);
    harness.part(&text("p1", "late", true));
    assert_eq!(
        harness.lines(),
        [r#"status {"progress":0,"status":"running"}"#]
    );
}

#[test]
fn the_loop_guard_counts_the_same_call_in_a_row() {
    let mut harness = harness();
    for (id, command) in [
        ("p1", "a"),
        ("p2", "b"),
        ("p3", "a"),
        ("p4", "a"),
        ("p5", "a"),
    ] {
        harness.part(&tool(
            id,
            "running",
            &json!({ "command": command }),
            &json!({}),
        ));
    }
    let repeated = Signal::ToolRepeated {
        tool: "bash".into(),
        times: 2,
    };
    assert_eq!(
        harness.signals(),
        [repeated],
        "once, when the limit is reached"
    );
}

#[test]
fn a_retry_is_told_once_and_ends_with_the_next_attempt() {
    let mut harness = harness();
    let retry = json!({ "sessionID": "s",
        "status": { "type": "retry", "attempt": 1, "message": "busy at http://h/x", "next": 1_001_500 } });
    harness.event("session.status", &retry);
    harness.event("session.status", &retry);
    harness.event(
        "session.status",
        &json!({ "sessionID": "s", "status": { "type": "busy" } }),
    );
    assert_eq!(
        harness.lines(),
        [
            r#"error {"code":"provider_retry","error":"busy at [address]","fatal":false,"retry_after":2}"#,
            r#"status {"phase":"provider_retry","progress":0,"reason":"attempt 1 failed: busy at [address]","status":"running"}"#,
            r#"status {"progress":0,"status":"running"}"#,
        ]
    );
}

#[test]
fn an_ask_is_told_once_and_closed_by_its_call() {
    let mut harness = harness();
    let ask = json!({ "id": "per", "sessionID": "s", "permission": "bash", "tool": { "callID": "call-p1" } });
    harness.event("permission.asked", &ask);
    harness.event("permission.asked", &ask);
    let asked = harness.lines();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(
        asked[1],
        r#"status {"progress":0,"status":"waiting_input"}"#
    );
    // The answer was lost with the connection; the call's end shows that there was one.
    harness.part(&tool("p1", "error", &json!({}), &json!({})));
    assert_eq!(
        harness.lines().pop().unwrap(),
        r#"status {"progress":0,"status":"running"}"#
    );
    let replied = json!({ "sessionID": "s", "requestID": "per", "reply": "once" });
    harness.event("permission.replied", &replied);
    assert_eq!(harness.lines(), Vec::<String>::new());
}

#[test]
fn silence_is_a_phase_of_the_turn() {
    let mut harness = harness();
    harness.translator.set_stalled(None, NOW);
    let reason = Some("nothing heard for 60 s".into());
    harness.translator.set_stalled(reason, NOW);
    harness.translator.set_stalled(None, NOW);
    assert_eq!(
        harness.lines(),
        [
            r#"status {"phase":"stalled","progress":0,"reason":"nothing heard for 60 s","status":"running"}"#,
            r#"status {"progress":0,"status":"running"}"#,
        ]
    );
}

#[test]
fn a_subagent_of_a_subagent_belongs_to_the_root_and_a_stranger_does_not() {
    let mut harness = harness();
    let info =
        |id: &str, parent: &str| json!({ "info": { "id": id, "parentID": parent, "agent": "g" } });
    harness.event("session.created", &info("c1", "s"));
    harness.event("session.updated", &info("c2", "c1"));
    harness.event("session.created", &info("x", "y"));
    let child = |session: &str, parent: &str| Signal::SubagentStarted {
        session: session.into(),
        parent: parent.into(),
    };
    assert_eq!(harness.signals(), [child("c1", "s"), child("c2", "c1")]);
    let known = |id| harness.translator.sessions.contains_key(id);
    assert!(known("c2") && !known("x"));
    let todos = |session: &str| json!({ "sessionID": session, "todos": [{ "content": "a", "status": "completed" }] });
    harness.event("todo.updated", &todos("c2"));
    harness.event("todo.updated", &todos("x"));
    let agent = json!({ "id": "c2", "name": "g", "parent": "c1" });
    let items = json!([{ "content": "a", "status": "completed", "priority": "" }]);
    assert_eq!(
        harness.lines(),
        [format!(
            "todo {}",
            json!({ "agent": agent, "items": items })
        )]
    );
}

#[test]
fn a_missing_number_asks_for_the_history_once() {
    let mut harness = harness();
    for (seq, id) in [(3, "p1"), (5, "p2"), (6, "p3")] {
        harness.part(&text(id, "", false));
        harness.number(seq);
    }
    let gap = Signal::SequenceGap {
        session: "s".into(),
        after: Some(3),
    };
    assert_eq!(harness.signals(), [gap]);
    assert_eq!(harness.translator.sequences(), [("s".to_owned(), Some(3))]);
}

#[test]
fn what_a_turn_cost_is_counted_once_per_step() {
    let mut harness = harness();
    let step = json!({ "id": "p1", "messageID": "m1", "sessionID": "s", "type": "step-finish", "cost": 0.1,
        "tokens": { "input": 5, "output": 7, "reasoning": 1, "cache": { "read": 2, "write": 3 } } });
    harness.part(&step);
    harness.list(&[step]);
    let usage = harness.translator.usage();
    assert_eq!(
        (
            usage.input_tokens,
            usage.output_tokens,
            usage.reasoning_tokens
        ),
        (5, 7, 1)
    );
    assert_eq!((usage.cache_read_tokens, usage.cache_write_tokens), (2, 3));
    assert!((usage.cost - 0.1).abs() < 1e-12);
}
