//! Each rule is shown to fail: a sound round is made worse in one way, and the checker names it.

mod asks;
mod order;
mod prompts;
mod words;

use serde_json::{Value, json};

use super::*;
use crate::trace::{Connection, End};

fn frame(number: u64, kind: &str, data: &Value) -> Frame {
    let raw = format!("event: {kind}\nid: aaaaaaaaaa-{number}\ndata: {data}\n\n");
    Frame::parse(raw.as_bytes()).unwrap().unwrap()
}

fn output(source: &str, text: &str) -> (&'static str, Value) {
    let call = (source == "tool").then_some("c1");
    let data = json!({ "type": "stdout", "text": text, "source": source, "call_id": call });
    ("output", data)
}

/// Two turns: a thought, two words, a command that prints two lines, two words, the end; broken off, and
/// resumed.
fn log() -> Vec<Frame> {
    let events = [
        ("status", json!({ "status": "running", "progress": 0 })),
        output("reasoning", "[1.1]"),
        output("assistant", "[1.1] [1."),
        output("assistant", "2]"),
        (
            "tool_call",
            json!({ "tool": "bash", "call_id": "c1", "args": { "command": "x # of-answer-1 " } }),
        ),
        output("tool", "[1.1]\n"),
        (
            "tool_result",
            json!({ "tool": "bash", "call_id": "c1", "is_error": false,
                "result": { "exit_code": 0, "stdout": "[1.1]\n[1.2]\n" } }),
        ),
        output("assistant", "[2.1] [2"),
        (
            "error",
            json!({ "error": "x", "fatal": true, "code": "interrupted" }),
        ),
        ("status", json!({ "status": "running", "progress": 0 })),
        output("assistant", "[3.1] [3.2]"),
        (
            "complete",
            json!({ "final_message": "[3.1] [3.2]", "progress": 100 }),
        ),
    ];
    let numbered = events.into_iter().zip(1..);
    numbered
        .map(|((kind, data), number)| {
            let turn = if number < 10 { 1 } else { 2 };
            frame(number, kind, &of_turn(turn, data))
        })
        .collect()
}

fn of_turn(turn: u64, mut data: Value) -> Value {
    data["turn"] = turn.into();
    data
}

fn connection(asked: Option<u64>, frames: &[Frame], end: End) -> Connection {
    Connection {
        asked: asked.map(|number| format!("aaaaaaaaaa-{number}")),
        status: 200,
        frames: frames.to_vec(),
        end,
    }
}

/// One client with three connections, and one that is not shown thoughts.
fn sound() -> Evidence {
    let log = log();
    let connections = vec![
        connection(None, &log[..4], End::Cut),
        connection(Some(4), &log[4..9], End::Clean),
        Connection {
            status: 204,
            ..connection(Some(9), &[], End::Clean)
        },
        connection(Some(9), &log[9..], End::Clean),
    ];
    let curious = Trace {
        name: "curious".into(),
        reasoning: true,
        connections,
        stuck: None,
    };
    let shown: Vec<Frame> = log
        .iter()
        .filter(|frame| !frame.is_hidden())
        .cloned()
        .collect();
    let plain = Trace {
        name: "plain".into(),
        reasoning: false,
        connections: vec![connection(None, &shown, End::Clean)],
        stuck: None,
    };
    Evidence {
        traces: vec![curious, plain],
        replay: Some(log.clone()),
        ordered: Some(ordered(&log)),
        id: "s".into(),
        all: Some(order::all(&ordered(&log))),
        journal: Some(log),
        resumed: vec![2],
        allowed: Allowed {
            broken: true,
            ..Allowed::default()
        },
        words: 2,
        thoughts: 1,
        lines: 2,
        key: "the-key".into(),
        ..Evidence::default()
    }
}

/// As the stream of all has it, with another session's events between them.
fn ordered(log: &[Frame]) -> Vec<Frame> {
    let one = |(frame, number): (&Frame, u64)| {
        let mut data = frame.data.clone();
        data["session_id"] = "s".into();
        data["event_id"] = frame.id.clone().into();
        let raw = format!(
            "event: {}\nid: bbbbbbbbbb-{}\ndata: {data}\n\n",
            frame.kind,
            3 * number
        );
        Frame::parse(raw.as_bytes()).unwrap().unwrap()
    };
    log.iter().zip(1..).map(one).collect()
}

/// The first fault found after `harm`.
fn found(harm: impl FnOnce(&mut Evidence)) -> String {
    let mut evidence = sound();
    harm(&mut evidence);
    check(&evidence).join("\n")
}

fn assert_found(rule: &str, harm: impl FnOnce(&mut Evidence)) {
    let faults = found(harm);
    let named = faults.lines().any(|fault| fault.starts_with(rule));
    assert!(named, "{rule} is not among: {faults}");
}

fn first(evidence: &mut Evidence) -> &mut Vec<Connection> {
    &mut evidence.traces[0].connections
}

/// Everywhere at once, so that only the rule about its content can see it. It stays in its turn.
fn rewrite(evidence: &mut Evidence, number: u64, kind: &str, data: &Value) {
    let old = &evidence.replay.as_ref().unwrap()[usize::try_from(number).unwrap() - 1];
    let new = frame(number, kind, &of_turn(turns::number(old), data.clone()));
    let kept = [evidence.replay.as_mut(), evidence.journal.as_mut()];
    let seen = evidence
        .traces
        .iter_mut()
        .flat_map(|trace| &mut trace.connections);
    let lists = kept
        .into_iter()
        .flatten()
        .chain(seen.map(|connection| &mut connection.frames));
    for frame in lists.flatten().filter(|frame| frame.id == new.id) {
        *frame = new.clone();
    }
}

fn data(number: usize) -> Value {
    log()[number - 1].data.clone()
}

#[test]
fn a_sound_round_has_no_fault() {
    assert_eq!(found(|_| {}), "");
}

#[test]
fn other_bytes_under_the_same_id() {
    let other = || frame(3, "output", &json!({ "text": "other" }));
    assert_found("bytes", |evidence| first(evidence)[0].frames[2] = other());
    assert_found("bytes", |evidence| {
        evidence.journal.as_mut().unwrap()[2] = other();
    });
}

#[test]
fn an_event_twice_and_an_event_that_is_missing() {
    assert_found("once", |evidence| {
        let again = first(evidence)[0].frames[3].clone();
        first(evidence)[1].frames.insert(0, again);
    });
    assert_found("hole", |evidence| {
        first(evidence)[1].frames.remove(1);
    });
    assert_found("hole", |evidence| {
        evidence.traces[1].connections[0].frames.remove(0);
    });
    assert_found("hole", |evidence| {
        evidence.replay.as_mut().unwrap().remove(4);
        evidence.journal.as_mut().unwrap().remove(4);
    });
    assert_found("hole", |evidence| {
        // What this client did not ask for is not for it.
        let thought = log()[1].clone();
        evidence.traces[1].connections[0].frames.insert(1, thought);
    });
}

#[test]
fn a_journal_that_does_not_have_what_was_shown() {
    assert_found("journal", |evidence| {
        evidence.journal.as_mut().unwrap().pop();
    });
    assert_found("journal", |evidence| evidence.replay = None);
    assert_found("journal", |evidence| {
        (evidence.replay, evidence.journal) = (None, None);
    });
}

#[test]
fn a_cursor_that_is_answered_wrongly() {
    assert_found("gone", |evidence| first(evidence)[1].status = 404);
    assert_found("status", |evidence| first(evidence)[1].status = 500);
    assert_found("end", |evidence| {
        // Nothing follows, it says, in the middle of a turn.
        first(evidence)[1] = Connection {
            status: 204,
            ..connection(Some(4), &[], End::Clean)
        };
    });
    assert_found("end", |evidence| first(evidence)[0].end = End::Clean);
    assert_found("stuck", |evidence| {
        evidence.traces[0].stuck = Some("why".into());
    });
}

#[test]
fn a_gap_with_wrong_numbers_or_without_need() {
    let gap = |data: Value| {
        let raw = format!("event: gap\ndata: {data}\n\n");
        Frame::parse(raw.as_bytes()).unwrap().unwrap()
    };
    let alone = |id: &str| {
        Frame::parse(format!("id: {id}\n\n").as_bytes())
            .unwrap()
            .unwrap()
    };
    let evicted = |missed: u64| json!({ "reason": "evicted", "requested": "aaaaaaaaaa-4", "resume_after": "aaaaaaaaaa-5", "missed": missed });
    let told = |missed: u64, allowed: bool| {
        found(|evidence| {
            evidence.allowed.lost = allowed;
            let frames = &mut first(evidence)[1].frames;
            frames.splice(0..1, [gap(evicted(missed)), alone("aaaaaaaaaa-5")]);
        })
    };
    assert_eq!(told(1, true), "");
    assert!(told(2, true).contains("gap: "));
    assert!(
        told(1, false).contains("gap: "),
        "nothing was lost in this round"
    );
    assert_found("gap", |evidence| {
        evidence.allowed.lost = true;
        // The block with the id alone does not come.
        first(evidence)[1].frames.splice(0..1, [gap(evicted(1))]);
    });
    let changed = json!({ "reason": "epoch_changed", "requested": "aaaaaaaaaa-4",
        "resume_after": "bbbbbbbbbb-0", "missed": null });
    assert_found("gap", |evidence| {
        let frames = [gap(changed), alone("bbbbbbbbbb-0")];
        first(evidence)[1] = connection(Some(4), &frames, End::Cut);
    });
}

#[test]
fn a_turn_without_an_end_with_two_and_one_that_nothing_explains() {
    let running = || json!({ "status": "running", "progress": 0 });
    assert_found("turns", |evidence| {
        rewrite(evidence, 9, "status", &running());
    });
    assert_found("turns", |evidence| {
        rewrite(evidence, 10, "complete", &data(12));
    });
    assert_found("turns", |evidence| {
        rewrite(evidence, 12, "status", &running());
    });
    assert_found("ends", |evidence| {
        rewrite(
            evidence,
            9,
            "error",
            &json!({ "fatal": true, "code": "internal" }),
        );
    });
    assert_found("ends", |evidence| {
        rewrite(evidence, 9, "status", &json!({ "status": "cancelled" }));
    });
    assert_found("ends", |evidence| evidence.allowed.broken = false);
    assert_found("progress", |evidence| {
        rewrite(
            evidence,
            1,
            "status",
            &json!({ "status": "running", "progress": 50 }),
        );
        rewrite(evidence, 8, "status", &running());
    });
}

#[test]
fn a_call_without_a_result_with_two_and_output_of_nothing() {
    let quiet = || json!({ "status": "running", "progress": 0 });
    assert_found("tools", |evidence| rewrite(evidence, 7, "status", &quiet()));
    assert_found("tools", |evidence| {
        rewrite(evidence, 8, "tool_result", &data(7));
    });
    assert_found("tools", |evidence| {
        rewrite(evidence, 8, "tool_call", &data(5));
    });
    assert_found("tools", |evidence| rewrite(evidence, 4, "output", &data(6)));
    assert_found("tools", |evidence| rewrite(evidence, 5, "status", &quiet()));
}

#[test]
fn the_key_in_an_event() {
    assert_found("key", |evidence| {
        rewrite(evidence, 8, "output", &output("assistant", "the-key").1);
    });
}
