//! A history that has a text's end behind the call that followed it.

use serde_json::{Value, json};

use crate::opencode::types as oc;

use super::harness::{Harness, NOW, harness, message, said, text, tool};

fn catch_up(harness: &mut Harness, history: &[Value], parts: &[Value]) {
    let items = history.iter().zip(1..).map(|(part, seq)| {
        json!({ "id": format!("evt_{seq}"), "aggregate_id": "s", "seq": seq,
            "type": "message.part.updated.1", "data": { "sessionID": "s", "part": part, "time": 5 } })
    });
    let history = items.collect::<Value>().to_string();
    let history = oc::history(history.as_bytes()).unwrap();
    let list = json!([{ "info": message("m1", "assistant"), "parts": parts }]);
    let messages = oc::messages(list.to_string().as_bytes()).unwrap();
    harness.translator.apply_missed(history, messages, NOW);
}

#[test]
fn a_call_does_not_overtake_the_text_before_it() {
    let call = tool("p2", "running", &json!({ "command": "x" }), &json!({}));
    let whole = text("p1", "one two three", true);
    for begun in [true, false] {
        let mut harness = harness();
        if begun {
            harness.part(&text("p1", "", false));
            harness.delta("p1", "one ");
        }
        harness.translator.feed_lost();
        let history = [text("p1", "", false), call.clone(), whole.clone()];
        catch_up(&mut harness, &history, &[whole.clone(), call.clone()]);
        let lines = harness.lines();
        let told: Vec<usize> = (0..lines.len())
            .filter(|at| lines[*at].starts_with("output"))
            .collect();
        let called = lines.iter().position(|line| line.starts_with("tool_call"));
        assert!(told.last() < called.as_ref(), "{lines:#?}");
        let texts: Vec<&String> = told.iter().map(|at| &lines[*at]).collect();
        let expected = if begun {
            vec![said("one "), said("two three")]
        } else {
            vec![said("one two three")]
        };
        assert_eq!(texts, expected.iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_text_behind_the_call_stays_behind_it() {
    let mut harness = harness();
    harness.translator.feed_lost();
    let call = tool("p2", "running", &json!({ "command": "x" }), &json!({}));
    let behind = text("p3", "behind", true);
    catch_up(
        &mut harness,
        &[call.clone(), behind.clone()],
        &[call, behind],
    );
    let lines = harness.lines();
    assert!(lines[0].starts_with("tool_call"), "{lines:#?}");
    assert_eq!(lines.last(), Some(&said("behind")));
}
