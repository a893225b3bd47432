use proptest::prelude::*;

use super::*;

const CHAT: &str = concat!(
    "data: {\"choices\":[{\"delta\":{\"content\":\"the \\\"usage\\\": 7\"}}],\"usage\":null}\n\n",
    ": keep-alive\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":20,",
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
         \"usage\":{{\"input_tokens\":100,\"output_tokens\":20,\"input_tokens_details\":{{\"cached_tokens\":30}},\
         \"output_tokens_details\":{{\"reasoning_tokens\":5}}}},\"store\":false}}}}\n\n"
    )
}

const ALL: Tokens = Tokens {
    input: 100,
    output: 20,
    cached: 30,
    reasoning: 5,
};

fn read(dialect: Dialect, format: Format, chunks: &[&[u8]]) -> Option<Tokens> {
    let mut tap = Tap::new(dialect, format);
    for chunk in chunks {
        tap.see(chunk);
    }
    tap.finish()
}

/// The text in pieces of these sizes, over and over.
fn cut<'a>(text: &'a str, sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = text.as_bytes();
    let mut chunks = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at((*size).min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

#[test]
fn every_dialect_s_counts_are_understood() {
    assert_eq!(
        read(Dialect::Chat, Format::Stream, &[CHAT.as_bytes()]),
        Some(ALL)
    );
    assert_eq!(
        read(
            Dialect::Responses,
            Format::Stream,
            &[responses(3).as_bytes()]
        ),
        Some(ALL)
    );
    let messages = Tokens {
        input: 100,
        output: 20,
        cached: 20,
        reasoning: 0,
    };
    assert_eq!(
        read(Dialect::Messages, Format::Stream, &[MESSAGES.as_bytes()]),
        Some(messages)
    );
}

#[test]
fn a_body_that_is_one_json_text_is_read_too() {
    let body = "\n\n{\"choices\":[],\n\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"prompt_cache_hit_tokens\":2}}";
    let tokens = Tokens {
        input: 7,
        output: 3,
        cached: 2,
        reasoning: 0,
    };
    assert_eq!(
        read(Dialect::Chat, Format::Json, &[body.as_bytes()]),
        Some(tokens)
    );
}

#[test]
fn an_answer_without_counts_has_none() {
    assert_eq!(
        read(
            Dialect::Chat,
            Format::Stream,
            &[b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n"]
        ),
        None
    );
    assert_eq!(
        read(
            Dialect::Chat,
            Format::Stream,
            &[b"data: {\"usage\":{}}\n\ndata: {\"usage\":\n\n"]
        ),
        None
    );
    assert_eq!(read(Dialect::Chat, Format::Json, &[b""]), None);
}

#[test]
fn a_line_of_any_length_is_held_within_bounds() {
    let text = responses(5 * MAX_LINE);
    let mut tap = Tap::new(Dialect::Responses, Format::Stream);
    for chunk in cut(&text, &[10_000]) {
        tap.see(chunk);
        assert!(tap.held.len() <= MAX_LINE && tap.held.capacity() <= 3 * MAX_LINE);
    }
    assert_eq!(tap.finish(), Some(ALL));
}

#[test]
fn a_stream_in_whole_lines_needs_no_memory() {
    let mut tap = Tap::new(Dialect::Chat, Format::Stream);
    for _ in 0..1000 {
        tap.see(b"data: {\"choices\":[]}\n\n");
    }
    assert_eq!(tap.held.capacity(), 0);
}

proptest! {
    #[test]
    fn any_split_gives_the_same_numbers(sizes in prop::collection::vec(1..60_usize, 1..8)) {
        for (dialect, text) in
            [(Dialect::Chat, CHAT.to_owned()), (Dialect::Messages, MESSAGES.to_owned()), (Dialect::Responses, responses(9))]
        {
            for format in [Format::Stream, Format::Json] {
                let whole = read(dialect, format, &[text.as_bytes()]);
                prop_assert_eq!(read(dialect, format, &cut(&text, &sizes)), whole);
            }
        }
    }

    /// Lines about as long as is held, and far longer.
    #[test]
    fn any_split_of_a_long_line_gives_the_same_numbers(
        around in 0..600_usize, far in any::<bool>(), sizes in prop::collection::vec(1..200_000_usize, 1..5),
    ) {
        let text = responses(MAX_LINE - 500 + around + if far { MAX_LINE } else { 0 });
        for format in [Format::Stream, Format::Json] {
            let whole = read(Dialect::Responses, format, &[text.as_bytes()]);
            prop_assert_eq!(read(Dialect::Responses, format, &cut(&text, &sizes)), whole);
        }
        prop_assert_eq!(read(Dialect::Responses, Format::Stream, &[text.as_bytes()]), Some(ALL));
    }

    #[test]
    fn nothing_makes_it_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
        let mut tap = Tap::new(Dialect::Chat, Format::Stream);
        for chunk in &chunks {
            let ended = tap.see(chunk);
            prop_assert_eq!(ended, chunk.contains(&b'\n'));
        }
        tap.finish();
    }
}
