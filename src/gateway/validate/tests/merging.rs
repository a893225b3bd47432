//! Pieces of text that reach the child as one event.

use super::*;

/// Something an answer says: a piece of its text, its reasoning, or the arguments of two calls, or none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Text,
    Reasoning,
    Call(u64),
    Other,
}

const SLOTS: [Slot; 5] = [
    Slot::Text,
    Slot::Reasoning,
    Slot::Call(2),
    Slot::Call(3),
    Slot::Other,
];

/// What comes before the pieces: everything they belong to is open.
fn opened(wire: llm::Dialect) -> Wire {
    let begun = Wire::begun(wire)
        .open_call(2, &json!("c2"), &bash(), "{")
        .open_call(3, &json!("c3"), &bash(), "{");
    match wire {
        llm::Dialect::Chat => begun,
        llm::Dialect::Responses | llm::Dialect::Messages => begun.reasoning("hm").open_text("so"),
    }
}

/// One piece, as the official servers write it: with a number, a time or noise that differs each time.
fn piece(dialect: Dialect, slot: Slot, number: usize, text: &str) -> Value {
    let noise = "x".repeat(number % 7);
    match dialect {
        Dialect::Chat => {
            let delta = match slot {
                Slot::Text => json!({ "content": text }),
                Slot::Reasoning => json!({ "reasoning_content": text }),
                Slot::Call(index) => {
                    json!({ "tool_calls": [{ "index": index, "function": { "arguments": text } }] })
                }
                Slot::Other => json!({}),
            };
            json!({ "id": "c", "created": number, "usage": { "completion_tokens": number }, "obfuscation": noise, "p": noise,
                "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
        }
        Dialect::Responses => {
            let (kind, item, index) = match slot {
                Slot::Text => ("output_text.delta", "item_0", 0),
                Slot::Reasoning => ("reasoning_summary_text.delta", "rs_5", 5),
                Slot::Call(index) => ("function_call_arguments.delta", "fc_1", index),
                Slot::Other => ("in_progress", "", 0),
            };
            json!({ "type": format!("response.{kind}"), "sequence_number": number, "item_id": item,
                "output_index": index, "delta": text, "obfuscation": noise })
        }
        Dialect::Messages => {
            let (index, delta) = match slot {
                Slot::Text => (0, json!({ "type": "text_delta", "text": text })),
                Slot::Reasoning => (5, json!({ "type": "thinking_delta", "thinking": text })),
                Slot::Call(index) => (
                    index,
                    json!({ "type": "input_json_delta", "partial_json": text }),
                ),
                Slot::Other => return json!({ "type": "ping" }),
            };
            json!({ "type": "content_block_delta", "index": index, "delta": delta })
        }
    }
}

/// What the child's client reads in a stream: pieces in a row that go to the same place are one.
fn read(dialect: Dialect, stream: &str) -> Vec<(String, String)> {
    let mut read: Vec<(String, String)> = Vec::new();
    for data in stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
    {
        let Ok(mut event) = serde_json::from_str::<Value>(data) else {
            read.push((data.to_owned(), String::new()));
            continue;
        };
        let places: &[&str] = match dialect {
            Dialect::Chat => &[
                "/choices/0/delta/content",
                "/choices/0/delta/reasoning_content",
                "/choices/0/delta/tool_calls/0/function/arguments",
            ],
            Dialect::Responses => &["/delta"],
            Dialect::Messages => &["/delta/text", "/delta/thinking", "/delta/partial_json"],
        };
        let mut text = None;
        for place in places {
            if let Some(value) = event.pointer_mut(place) {
                text = value.take().as_str().map(str::to_owned);
            }
        }
        for varying in ["sequence_number", "created", "usage", "obfuscation", "p"] {
            event.as_object_mut().unwrap().remove(varying);
        }
        let event = event.to_string();
        match (read.last_mut(), text) {
            // Also a piece that says nothing, which merging drops.
            (Some((known, all)), Some(text)) if *known == event => all.push_str(&text),
            (_, text) => read.push((event, text.unwrap_or_default())),
        }
    }
    read
}

/// What a validator that merges passes on, which is asked for what it keeps every so many chunks.
fn merged(
    dialect: Dialect,
    stream: &str,
    cuts: &[usize],
    every: usize,
) -> (Vec<String>, Validator) {
    let mut validator = validator(dialect, true);
    let mut writes = Vec::new();
    let mut rest = Bytes::copy_from_slice(stream.as_bytes());
    for (number, cut) in cuts.iter().cycle().enumerate() {
        if rest.is_empty() {
            break;
        }
        let taken = validator.take(&rest.split_to((*cut).clamp(1, rest.len())));
        assert_eq!(taken.fault, None);
        writes.push(taken.pass);
        if number % every == 0 {
            writes.push(validator.take_merged());
            assert_eq!(validator.merged_bytes(), 0);
        }
    }
    let (taken, answered) = validator.end();
    assert!(answered.is_some(), "{:?}", taken.fault);
    writes.push(taken.pass);
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    (
        writes
            .into_iter()
            .map(text)
            .filter(|text| !text.is_empty())
            .collect(),
        validator,
    )
}

#[test]
fn pieces_of_one_text_become_one_event_with_their_very_bytes() {
    for (dialect, wire) in ALL_DIALECTS {
        let mut stream = opened(wire);
        for slot in [Slot::Text, Slot::Reasoning, Slot::Call(2)] {
            for (number, text) in ["a", "\"b\\", "é\n", "🦀"].into_iter().enumerate() {
                stream = stream.event(&piece(dialect, slot, number, text));
            }
        }
        let stream = stream.end(match dialect {
            Dialect::Chat => "length",
            Dialect::Responses => "max_output_tokens",
            Dialect::Messages => "max_tokens",
        });
        let (writes, _) = merged(dialect, &stream.bytes, &[stream.bytes.len()], 2);
        let all = writes.concat();
        let texts = all.matches(r#"a\"b\\é\n🦀"#).count();
        assert_eq!(texts, 3, "{all}");
        assert_eq!(read(dialect, &all), read(dialect, &stream.bytes));
    }
}

#[test]
fn what_is_no_piece_of_a_text_takes_what_was_kept_with_it() {
    for (dialect, wire) in ALL_DIALECTS {
        let mut validator = validator(dialect, true);
        let mut pass = |wire: Wire| {
            let taken = validator.take(&Bytes::from(wire.bytes));
            String::from_utf8(taken.pass.to_vec()).unwrap()
        };
        pass(opened(wire));
        let said = |text: &str| Wire::nothing(wire).event(&piece(dialect, Slot::Text, 1, text));
        assert_eq!(pass(said("one")) + &pass(said("two")), "");
        let other = pass(Wire::nothing(wire).raw(": alive\n\n"));
        assert!(
            other.contains("onetwo") && other.ends_with(": alive\n\n"),
            "{other}"
        );
        assert_eq!(pass(said("three")), "");
        let failed = pass(Wire::nothing(wire).error("api_error", "no"));
        assert!(
            failed.contains("three") && !failed.contains("api_error"),
            "{failed}"
        );
    }
}

#[test]
fn nothing_is_kept_where_nothing_is_merged() {
    for (dialect, wire) in ALL_DIALECTS {
        let stream = opened(wire)
            .event(&piece(dialect, Slot::Text, 1, "one"))
            .event(&piece(dialect, Slot::Text, 2, "two"));
        let mut validator = validator(dialect, false);
        let taken = validator.take(&Bytes::from(stream.bytes.clone()));
        assert_eq!(taken.pass, stream.bytes);
        assert_eq!(
            (validator.merged_bytes(), validator.take_merged()),
            (0, Bytes::new())
        );
    }
}

proptest! {
    /// Whatever comes in whatever pieces: the child reads the same, and the answer is judged and metered the same.
    #[test]
    fn the_child_reads_the_same_text(
        which in 0..3_usize,
        said in prop::collection::vec((0..5_usize, "[a-z\"\\\\\n é🦀]{1,6}"), 0..40),
        cuts in prop::collection::vec(1..400_usize, 1..6), every in 1..9_usize,
    ) {
        let (dialect, wire) = ALL_DIALECTS[which];
        let mut stream = opened(wire);
        for (number, (slot, text)) in said.iter().enumerate() {
            stream = stream.event(&piece(dialect, SLOTS[*slot], number, text));
        }
        let stream = stream.end(["length", "max_output_tokens", "max_tokens"][which]).bytes;
        let (writes, merging) = merged(dialect, &stream, &cuts, every);
        let all = writes.concat();
        prop_assert_eq!(read(dialect, &all), read(dialect, &stream));
        let mut plain = validator(dialect, false);
        let (_, judged) = feed(&mut plain, stream.as_bytes(), &[]);
        prop_assert!(judged.is_ok());
        prop_assert_eq!(merging.seen.finished_digest(), plain.seen.finished_digest());
        prop_assert_eq!(merging.tokens(), plain.tokens());
        for write in &writes {
            prop_assert!(write.ends_with("\n\n"), "whole events only: {}", write);
        }
    }

    /// Merging decides nothing: a broken answer is found out as well, and what comes before is shown.
    #[test]
    fn merging_does_not_change_the_judgement((dialect, bytes) in mutated()) {
        let (plain, judged) = run(dialect, &bytes, &[]);
        let (merged, merged_judged) = feed(&mut validator(dialect, true), &bytes, &[]);
        prop_assert_eq!(merged_judged, judged);
        prop_assert_eq!(read_lossily(dialect, &merged), read_lossily(dialect, &plain));
    }
}

/// The events of a stream that may be broken, without those that differ in how they are cut.
fn read_lossily(dialect: Dialect, stream: &str) -> Vec<(String, String)> {
    let objects = stream.lines().filter(|line| {
        line.strip_prefix("data: ")
            .is_none_or(|data| data.starts_with('{'))
    });
    read(dialect, &objects.collect::<Vec<_>>().join("\n"))
}

#[test]
fn an_event_that_opens_a_call_is_no_piece_of_a_text() {
    let opens = |text: &str| {
        json!({ "id": "c", "choices": [{ "index": 0, "delta": { "content": text,
            "tool_calls": [{ "index": 0, "id": "x", "function": { "name": "f", "arguments": "{}" } }] } }] })
    };
    let stream = Wire::begun(llm::Dialect::Chat)
        .event(&opens("a"))
        .event(&opens("b"))
        .bytes;
    let taken = validator(Dialect::Chat, true).take(&Bytes::from(stream.clone()));
    assert_eq!(String::from_utf8_lossy(&taken.pass), stream);
}
