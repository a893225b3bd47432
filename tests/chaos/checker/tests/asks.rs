//! A session whose agent asks, and what may go wrong with that.

use super::*;

fn ask(request: &str, state: &str, by: Option<&str>, reply: Option<&str>) -> (&'static str, Value) {
    let data = json!({ "request_id": request, "state": state, "by": by, "reply": reply });
    ("permission", data)
}

/// One is answered by a client, one by a rule, one by nobody, and a question by a client.
fn asked() -> Vec<Frame> {
    let events = [
        ("status", json!({ "status": "running", "progress": 0 })),
        output("assistant", "[1.1] [1.2]"),
        ask("a", "asked", None, None),
        ask("a", "answered", Some("client"), Some("always")),
        ask("b", "answered", Some("rule"), Some("once")),
        ask("c", "asked", None, None),
        ask("c", "answered", Some("timeout"), Some("reject")),
        ("question", json!({ "request_id": "d", "state": "asked" })),
        (
            "question",
            json!({ "request_id": "d", "state": "answered", "answers": [["A"]], "by": "client" }),
        ),
        (
            "complete",
            json!({ "final_message": "[1.1] [1.2]", "finish_reason": "rejected" }),
        ),
    ];
    let numbered = events.into_iter().zip(1..);
    numbered
        .map(|((kind, data), number)| frame(number, kind, &of_turn(1, data)))
        .collect()
}

fn given(request: &str, reply: &'static str, status: u16, earlier: Option<&str>) -> Given {
    Given {
        request: request.into(),
        reply,
        status,
        earlier: earlier.map(str::to_owned),
    }
}

fn sound() -> Evidence {
    let log = asked();
    Evidence {
        journal: Some(log.clone()),
        replay: Some(log),
        given: vec![
            given("a", "always", 200, None),
            given("a", "reject", 409, Some("always")),
            given("d", "A", 200, None),
            given("d", "reject", 409, Some("A")),
        ],
        key: "the-key".into(),
        words: 2,
        ..Evidence::default()
    }
}

fn assert_harmed(harm: impl FnOnce(&mut Evidence)) {
    let mut evidence = sound();
    harm(&mut evidence);
    let faults = check(&evidence);
    let named = faults.iter().any(|fault| fault.starts_with("asks"));
    assert!(named, "nothing is said of what was asked: {faults:?}");
}

#[test]
fn a_sound_round_of_asks_has_no_fault() {
    assert_eq!(check(&sound()), [""; 0]);
}

#[test]
fn a_request_without_an_end_with_two_and_with_an_end_only() {
    let put = |evidence: &mut Evidence, number, (kind, data): (&str, Value)| {
        rewrite(evidence, number, kind, &data);
    };
    assert_harmed(|evidence| put(evidence, 4, output("assistant", "")));
    assert_harmed(|evidence| put(evidence, 3, output("assistant", "")));
    assert_harmed(|evidence| {
        put(evidence, 5, ask("a", "withdrawn", None, None));
    });
    assert_harmed(|evidence| put(evidence, 6, ask("a", "asked", None, None)));
    assert_harmed(|evidence| {
        put(evidence, 5, ask("b", "answered", Some("client"), None));
    });
    // Nobody said no.
    assert_harmed(|evidence| {
        put(
            evidence,
            7,
            ask("c", "answered", Some("timeout"), Some("once")),
        );
    });
}

#[test]
fn what_was_given_is_read_from_events_and_from_answers() {
    let cases = [
        (
            json!({ "state": "answered", "reply": "always" }),
            Some("always"),
        ),
        (
            json!({ "state": "answered", "answers": [["A"]] }),
            Some("A"),
        ),
        (
            json!({ "state": "rejected", "by": "timeout" }),
            Some("reject"),
        ),
        (json!({ "request_id": "d", "reject": true }), Some("reject")),
        (json!({ "state": "withdrawn" }), None),
    ];
    for (told, reply) in cases {
        assert_eq!(crate::answerer::reply_of(&told).as_deref(), reply, "{told}");
    }
}

#[test]
fn a_client_that_is_told_something_else_than_the_stream() {
    for other in [
        given("a", "once", 200, None),
        given("c", "reject", 200, None),
        given("d", "reject", 200, None),
        given("d", "A", 409, Some("reject")),
        given("x", "once", 200, None),
        given("a", "once", 409, Some("once")),
        given("a", "once", 409, None),
        given("a", "once", 404, None),
        given("a", "once", 500, None),
    ] {
        assert_harmed(|evidence| evidence.given.push(other));
    }
}
