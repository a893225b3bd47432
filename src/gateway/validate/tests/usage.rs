//! The token counts and the arguments of tool calls that are read while an answer passes.

use super::*;

const CHAT: &str = concat!(
    "data: {\"choices\":[{\"delta\":{\"content\":\"the \\\"usage\\\": 7\"}}],\"usage\":null}\n\n",
    ": keep-alive\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":20,\"cost\":0.0025,",
    "\"prompt_tokens_details\":{\"cached_tokens\":30},\"completion_tokens_details\":{\"reasoning_tokens\":5}}}\r\n\r\n",
    "data: [DONE]\n\n",
);

const MESSAGES: &str = concat!(
    "event: message_start\n",
    "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":70,",
    "\"cache_read_input_tokens\":20,\"cache_creation_input_tokens\":10,\"output_tokens\":1}}}\n\n",
    "event: message_delta\n",
    "data: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":20}}\n\n",
);

fn responses(padding: usize) -> String {
    let text = "x".repeat(padding);
    format!(
        "event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{{\"output\":[\"{text}\"],\
         \"usage\":{{\"cost\":0.0025,\"input_tokens\":100,\"output_tokens\":20,\"input_tokens_details\":{{\"cached_tokens\":30}},\
         \"output_tokens_details\":{{\"reasoning_tokens\":5}}}},\"store\":false}}}}\n\n"
    )
}

const ALL: Tokens = Tokens {
    input: 100,
    output: 20,
    cached: 30,
    reasoning: 5,
    nano_usd: Some(2_500_000),
};

fn read(dialect: Dialect, text: &str, cuts: &[usize]) -> Option<Tokens> {
    let mut validator = validator(dialect, false);
    drop(feed(&mut validator, text.as_bytes(), cuts));
    validator.tokens()
}

#[test]
fn every_dialect_s_counts_are_understood() {
    assert_eq!(read(Dialect::Chat, CHAT, &[]), Some(ALL));
    assert_eq!(read(Dialect::Responses, &responses(3), &[]), Some(ALL));
    let messages = Tokens {
        input: 100,
        output: 20,
        cached: 20,
        reasoning: 0,
        nano_usd: None,
    };
    assert_eq!(read(Dialect::Messages, MESSAGES, &[]), Some(messages));
}

#[test]
fn a_cost_that_is_no_sum_of_dollars_spoils_no_counts() {
    for (cost, nano_usd) in [
        ("0", Some(0)),
        ("3e-10", Some(0)),
        ("12", Some(12_000_000_000)),
        ("-1", None),
        ("1e300", None),
        ("null", None),
        ("{\"total_cost\":1}", None),
        ("\"0.1\"", None),
    ] {
        let body = format!("{{\"usage\":{{\"prompt_tokens\":7,\"cost\":{cost}}}}}");
        let tokens = Tokens::read_body(Dialect::Chat, body.as_bytes()).unwrap();
        assert_eq!((tokens.input, tokens.nano_usd), (7, nano_usd), "{cost}");
    }
}

#[test]
fn a_body_that_is_one_json_text_is_read_too() {
    let body = "\n\n{\"choices\":[],\n\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"prompt_cache_hit_tokens\":2}}";
    let tokens = Tokens {
        input: 7,
        output: 3,
        cached: 2,
        reasoning: 0,
        nano_usd: None,
    };
    assert_eq!(read(Dialect::Chat, body, &[]), Some(tokens));
}

#[test]
fn an_answer_without_counts_has_none() {
    for text in [
        "data: {\"choices\":[]}\n\ndata: [DONE]\n\n",
        "data: {\"choices\":[],\"usage\":{}}\n\ndata: {\"usage\":\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":\"many\"}}\n\n",
        "",
    ] {
        assert_eq!(read(Dialect::Chat, text, &[]), None, "{text}");
    }
}

#[test]
fn the_counts_behind_a_long_answer_are_read() {
    assert_eq!(
        read(Dialect::Responses, &responses(2 << 20), &[10_000]),
        Some(ALL)
    );
}

#[test]
fn a_stream_in_whole_events_needs_no_memory() {
    let mut validator = validator(Dialect::Chat, false);
    for _ in 0..1000 {
        validator.take(&Bytes::from_static(b"data: {\"choices\":[]}\n\n"));
    }
    assert_eq!(validator.held.capacity(), 0);
}

/// The arguments of these calls, as they were kept.
fn arguments(dialect: Dialect, stream: &Wire, ids: [&str; 3]) -> [Option<String>; 3] {
    let kept = Arc::new(ToolArguments::default());
    let mut validator = Validator::new(dialect, Redactor::default(), Arc::clone(&kept), false);
    drop(feed(&mut validator, stream.bytes.as_bytes(), &[]));
    ids.map(|id| kept.of(id))
}

#[test]
fn the_pieces_of_two_calls_are_joined_in_every_dialect() {
    let piece = |index: u64, id: Option<&str>, name: Option<&str>, arguments: &str| {
        json!({ "choices": [{ "delta": { "tool_calls": [
            { "index": index, "id": id, "function": { "name": name, "arguments": arguments } }] } }] })
    };
    let chat = vec![
        json!({ "choices": [{ "delta": { "content": "tool_calls" } }] }),
        piece(0, Some("a"), Some("x"), "{\"n\""),
        piece(1, Some("b"), Some("y"), ""),
        piece(0, None, None, ":1}"),
        // The id again with a piece, as some servers do.
        piece(1, Some("b"), None, "{}"),
    ];
    let item = |kind: &str, index: u64, id: &str, arguments: &str| {
        json!({ "type": format!("response.output_item.{kind}"), "output_index": index, "item":
            { "type": "function_call", "name": "x", "call_id": id, "arguments": arguments } })
    };
    let responses = vec![
        item("added", 0, "a", ""),
        item("done", 0, "a", "{\"n\":1}"),
        item("done", 1, "b", "{}"),
    ];
    let start = |index: u64, id: &str| json!({ "type": "content_block_start", "index": index, "content_block": { "type": "tool_use", "id": id, "name": "x", "input": {} } });
    let delta = |index: u64, text: &str| json!({ "type": "content_block_delta", "index": index, "delta": { "type": "input_json_delta", "partial_json": text } });
    let messages = vec![
        start(1, "a"),
        delta(1, "{\"n\""),
        start(2, "b"),
        delta(2, "{}"),
        delta(1, ":1}"),
    ];
    for ((dialect, wire), events) in ALL_DIALECTS.into_iter().zip([chat, responses, messages]) {
        let stream = events.iter().fold(Wire::nothing(wire), Wire::event);
        let whole = |text: &str| Some(text.to_owned());
        assert_eq!(
            arguments(dialect, &stream, ["a", "b", "c"]),
            [whole("{\"n\":1}"), whole("{}"), None],
            "{dialect:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_numbers(sizes in prop::collection::vec(1..60_usize, 1..8)) {
        for (dialect, text) in
            [(Dialect::Chat, CHAT.to_owned()), (Dialect::Messages, MESSAGES.to_owned()), (Dialect::Responses, responses(9))]
        {
            prop_assert_eq!(read(dialect, &text, &sizes), read(dialect, &text, &[]));
        }
    }

    #[test]
    fn nothing_makes_it_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
        for (dialect, _) in ALL_DIALECTS {
            let mut validator = validator(dialect, true);
            for chunk in &chunks {
                validator.take(&Bytes::copy_from_slice(chunk));
            }
            validator.end();
        }
    }
}
