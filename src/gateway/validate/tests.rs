//! Every kind of answer, cut into every kind of piece.

mod merging;
mod usage;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fault::{CUT_CALL, FOREIGN, NO_CONTENT, ONLY_REASONING, SAME_INDEX, UNNAMED_CALL};
use super::*;
use crate::gateway::llm;
use crate::gateway::llm::wire::{Wire, unstreamed};
use crate::gateway::tests::mutate;
use crate::secret::Secret;

const ALL_DIALECTS: [(Dialect, llm::Dialect); 3] = [
    (Dialect::Chat, llm::Dialect::Chat),
    (Dialect::Responses, llm::Dialect::Responses),
    (Dialect::Messages, llm::Dialect::Messages),
];

const KEY: &str = "pl/ain-key";

fn validator(dialect: Dialect, merging: bool) -> Validator {
    let redactor = Redactor::new([Secret::new(KEY)]);
    Validator::new(dialect, redactor, Arc::default(), merging)
}

type Outcome = (String, Result<Answered, Fault>);

/// What goes on to the child, and how it was judged, with a cut after each of `cuts` bytes.
fn run(dialect: Dialect, bytes: &[u8], cuts: &[usize]) -> Outcome {
    feed(&mut validator(dialect, false), bytes, cuts)
}

fn feed(validator: &mut Validator, bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut passed = Vec::new();
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut cuts = cuts.iter().copied().cycle();
    while !rest.is_empty() {
        let cut = cuts.next().unwrap_or(rest.len()).clamp(1, rest.len());
        let taken = validator.take(&rest.split_to(cut));
        passed.extend_from_slice(&taken.pass);
        if let Some(fault) = taken.fault {
            return (String::from_utf8_lossy(&passed).into_owned(), Err(fault));
        }
    }
    let (taken, answered) = validator.end();
    passed.extend_from_slice(&taken.pass);
    let passed = String::from_utf8_lossy(&passed).into_owned();
    match (taken.fault, answered) {
        (None, Some(answered)) => (passed, Ok(answered)),
        (Some(fault), None) => (passed, Err(fault)),
        both => panic!("{both:?}"),
    }
}

fn whole(dialect: Dialect, bytes: &str) -> Outcome {
    run(dialect, bytes.as_bytes(), &[])
}

fn bash() -> Value {
    json!("bash")
}

#[test]
fn a_right_answer_passes_byte_for_byte() {
    for (dialect, wire) in ALL_DIALECTS {
        for right in [
            Wire::begun(wire).text("hello").stop(),
            Wire::begun(wire).reasoning("hm").text("hello").stop(),
            Wire::begun(wire)
                .text("I look")
                .call(1, &json!("c1"), &bash(), r#"{"command":"ls"}"#)
                .call(2, &json!("c2"), &bash(), "{}")
                .stop_for_calls(),
            Wire::nothing(wire).raw(": hello\n\n").text("x").stop(),
        ] {
            let (passed, judged) = whole(dialect, &right.bytes);
            assert_eq!(passed, right.bytes);
            assert!(!judged.unwrap().unended, "{}", right.bytes);
        }
    }
}

#[test]
fn line_ends_of_windows_and_spaces_are_understood() {
    let right = Wire::begun(llm::Dialect::Chat).text("hello").stop().bytes;
    let windows = format!("\u{feff}{}", right.replace('\n', "\r\n"));
    let (passed, judged) = whole(Dialect::Chat, &windows);
    assert_eq!(passed, windows);
    judged.unwrap();
    let dense = right.replace("data: ", "data:");
    whole(Dialect::Chat, &dense).1.unwrap();
}

#[test]
fn what_is_no_answer_is_named() {
    use llm::Dialect as D;
    for (dialect, wire) in ALL_DIALECTS {
        let begun = || Wire::begun(wire);
        let other = if wire == D::Chat {
            D::Messages
        } else {
            D::Chat
        };
        for (bytes, why) in [
            ("<html>".to_owned(), "it is not an event stream"),
            (unstreamed(wire).to_string(), "it is not an event stream"),
            (String::new(), "it is empty"),
            (" \n".to_owned(), "it is empty"),
            ("dat".to_owned(), "it is not an event stream"),
            ("data: [DONE]\n\n".to_owned(), NO_CONTENT),
            (begun().stop().bytes, NO_CONTENT),
            (begun().stop_for_calls().bytes, NO_CONTENT),
            (begun().usage().bytes, NO_CONTENT),
            (begun().reasoning("hm").bytes, ONLY_REASONING),
            (
                begun().open_call(0, &json!("c1"), &bash(), "{\"a").bytes,
                CUT_CALL,
            ),
            (
                begun().call(0, &Value::Null, &bash(), "{}").bytes,
                UNNAMED_CALL,
            ),
            (
                begun().call(0, &json!(""), &bash(), "{}").bytes,
                UNNAMED_CALL,
            ),
            (
                begun().call(0, &json!("c1"), &Value::Null, "{}").bytes,
                UNNAMED_CALL,
            ),
            (
                begun()
                    .open_call(0, &json!("c1"), &bash(), "{")
                    .open_call(0, &json!("c2"), &bash(), "{")
                    .bytes,
                SAME_INDEX,
            ),
            (begun().raw("data: nonsense\n\n").bytes, FOREIGN),
            (begun().raw("data: {\"id\":\n\n").bytes, FOREIGN),
            (
                begun()
                    .raw(&format!("data: {}", "x".repeat(MAX_EVENT + 1)))
                    .bytes,
                "one of its events does not end",
            ),
        ] {
            let (_, judged) = whole(dialect, &bytes);
            let start: String = bytes.chars().take(300).collect();
            assert_eq!(judged, Err(Fault::Bad(why)), "{dialect:?} {start}");
        }
        let foreign = Wire::begun(other).text("hello").stop().bytes;
        assert!(matches!(whole(dialect, &foreign).1, Err(Fault::Bad(_))));
    }
}

#[test]
fn a_limit_says_why_there_is_nothing() {
    for ((dialect, wire), reason) in
        ALL_DIALECTS
            .into_iter()
            .zip(["length", "max_output_tokens", "max_tokens"])
    {
        let limited = Wire::begun(wire).end(reason).bytes;
        let (passed, judged) = whole(dialect, &limited);
        assert_eq!(passed, limited);
        judged.unwrap();
    }
}

/// The last reason that the child's client hears, whatever it was told before.
fn last_reason(dialect: Dialect, passed: &str) -> String {
    let events = passed
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = events
        .filter_map(|data| serde_json::from_str(data).ok())
        .collect();
    let mut reasons = events.iter().filter_map(|event| match dialect {
        Dialect::Chat => event["choices"][0]["finish_reason"].as_str(),
        Dialect::Responses => {
            let counted = event["response"]["usage"]["input_tokens"].is_number();
            let end = event["type"]
                .as_str()
                .filter(|kind| *kind == "response.completed");
            end.filter(|_| counted && event["response"]["incomplete_details"].is_null())
        }
        Dialect::Messages => event["delta"]["stop_reason"].as_str(),
    });
    if dialect == Dialect::Messages {
        assert_eq!(events.last().unwrap()["type"], "message_stop", "{passed}");
    }
    reasons.next_back().unwrap_or_default().to_owned()
}

#[test]
fn a_text_gets_the_end_that_it_lacks() {
    for ((dialect, wire), stop) in
        ALL_DIALECTS
            .into_iter()
            .zip(["stop", "response.completed", "end_turn"])
    {
        let text = || Wire::begun(wire).open_text("hello");
        for (bytes, unended) in [
            (text().bytes, true),
            (text().raw("data: {\"half").bytes, true),
            (text().bytes.trim_end().to_owned(), true),
            (text().end("eos_token").bytes, false),
        ] {
            let (passed, judged) = whole(dialect, &bytes);
            assert_eq!(judged.unwrap().unended, unended, "{bytes}");
            assert_eq!(last_reason(dialect, &passed), stop, "{passed}");
            assert!(
                passed.contains("hello") && passed.ends_with("\n\n"),
                "{passed}"
            );
            // It is right now.
            let (again, judged) = whole(dialect, &passed);
            assert_eq!(again, passed);
            judged.unwrap();
        }
    }
}

#[test]
fn a_call_that_is_whole_gets_the_end_that_it_lacks() {
    for ((dialect, wire), stop) in
        ALL_DIALECTS
            .into_iter()
            .zip(["tool_calls", "response.completed", "tool_use"])
    {
        let called = Wire::begun(wire).call(0, &json!("c1"), &bash(), "{\"a\":\"}\"}");
        let (passed, judged) = whole(dialect, &called.bytes);
        assert!(judged.unwrap().unended);
        assert_eq!(last_reason(dialect, &passed), stop, "{passed}");
    }
}

#[test]
fn an_end_that_the_client_cannot_read_is_made_again() {
    let uncounted = Wire::begun(llm::Dialect::Responses).text("hello").event(
        &json!({ "type": "response.completed", "response": { "id": "r", "status": "completed" } }),
    );
    let (passed, judged) = whole(Dialect::Responses, &uncounted.bytes);
    judged.unwrap();
    assert_eq!(
        last_reason(Dialect::Responses, &passed),
        "response.completed"
    );

    let uncounted = Wire::begun(llm::Dialect::Messages)
        .text("hello")
        .event(&json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } }))
        .event(&json!({ "type": "news" }))
        .event(&json!({ "type": "message_stop" }));
    let (passed, judged) = whole(Dialect::Messages, &uncounted.bytes);
    judged.unwrap();
    assert_eq!(last_reason(Dialect::Messages, &passed), "end_turn");
    assert!(!passed.contains("news"), "{passed}");
}

#[test]
fn an_error_in_the_stream_comes_without_the_key_however_it_is_written() {
    for (dialect, wire) in ALL_DIALECTS {
        for written in ["pl/ain-key", r"pl\/ain-key", r"\u0070l/ain-\u006bey"] {
            let told = Wire::begun(wire)
                .open_text("so far")
                .error("api_error", "bad key KEY_HERE!");
            let bytes = told.bytes.replace("KEY_HERE", written);
            let (passed, judged) = whole(dialect, &bytes);
            let Err(Fault::Told(json)) = judged else {
                panic!("{judged:?}");
            };
            let error: Value = serde_json::from_str(&json).unwrap();
            assert_eq!(error["error"]["message"], "bad key [redacted]!", "{json}");
            assert!(
                passed.contains("so far") && !passed.contains("bad key"),
                "{passed}"
            );
        }
    }
    let failed = json!({ "type": "response.failed", "sequence_number": 3, "response":
        { "error": { "code": "server_error", "message": format!("no {KEY}") } } });
    let failed = Wire::begun(llm::Dialect::Responses).event(&failed);
    let Err(Fault::Told(json)) = whole(Dialect::Responses, &failed.bytes).1 else {
        panic!("it failed");
    };
    let error: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&error["type"], &error["message"]),
        (&json!("error"), &json!("no [redacted]"))
    );
}

#[test]
fn an_error_whose_message_is_no_object_is_the_providers() {
    let told = Wire::begun(llm::Dialect::Messages)
        .event(&json!({ "type": "error", "message": "overloaded" }));
    let judged = whole(Dialect::Messages, &told.bytes).1;
    assert!(matches!(judged, Err(Fault::Told(_))), "{judged:?}");
}

#[test]
fn the_same_words_have_the_same_digest_and_others_another() {
    for (dialect, wire) in ALL_DIALECTS {
        let digest = |text: &str| {
            let said = Wire::begun(wire).text(text).stop().bytes;
            whole(dialect, &said).1.unwrap().digest
        };
        assert_eq!(digest("hello"), digest("hello"));
        assert_ne!(digest("hello"), digest("hello you"));
        let call = |arguments: &str| {
            let called = Wire::begun(wire).call(0, &json!("c1"), &bash(), arguments);
            whole(dialect, &called.stop_for_calls().bytes)
                .1
                .unwrap()
                .digest
        };
        assert_ne!(call(r#"{"a":1}"#), call(r#"{"a":2}"#));
    }
}

/// Pieces of answers, right and wrong.
fn any_wire() -> impl Strategy<Value = (Dialect, String)> {
    let parts = proptest::collection::vec((0..9_u8, "[a-z\"\\\\ é]{0,12}"), 0..8);
    (0..3_usize, parts).prop_map(|(dialect, parts)| {
        let (dialect, wire) = ALL_DIALECTS[dialect];
        let mut stream = Wire::begun(wire);
        for (n, (part, text)) in parts.into_iter().enumerate() {
            let (index, id) = (u64::try_from(n).unwrap(), json!(format!("c{n}")));
            stream = match part {
                0 | 1 => stream.text(&text),
                2 => stream.open_text(&text),
                3 => stream.reasoning(&text),
                4 => stream.call(index, &id, &bash(), "{}"),
                5 => stream.open_call(index, &id, &bash(), "{\"a"),
                6 => stream.usage(),
                7 => stream.stop(),
                _ => stream.error("api_error", &text),
            };
        }
        (dialect, stream.bytes)
    })
}

/// What a network, a proxy or a broken server makes of an answer.
fn mutated() -> impl Strategy<Value = (Dialect, Vec<u8>)> {
    let changes = proptest::collection::vec(
        (any::<proptest::sample::Index>(), 0..4_u8, any::<u8>()),
        0..6,
    );
    (any_wire(), changes).prop_map(|((dialect, bytes), changes)| (dialect, mutate(bytes, changes)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// However the network cuts it, the same goes on and the same is thought of it.
    #[test]
    fn the_judgement_does_not_depend_on_the_chunks(
        (dialect, bytes) in mutated(),
        cuts in proptest::collection::vec(1..40_usize, 1..8),
    ) {
        prop_assert_eq!(run(dialect, &bytes, &[]), run(dialect, &bytes, &cuts));
    }

    /// What was found right is right for the child too: no answer is one that OpenCode calls again after.
    #[test]
    fn what_passes_as_an_answer_ends_as_the_dialect_ends((dialect, bytes) in mutated()) {
        let (passed, judged) = run(dialect, &bytes, &[]);
        if judged.is_ok() {
            let (again, judged) = whole(dialect, &passed);
            prop_assert!(judged.is_ok_and(|answered| !answered.unended), "{}", passed);
            prop_assert_eq!(again, passed);
        }
    }
}
