//! Whatever a provider answers, OpenCode's loop around the gateway comes to an end.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::gateway::llm::wire::{self, Wire};
use crate::gateway::llm::{Scope, Turn};

/// More calls than this no turn makes of a provider that only repeats itself: three answers that differ,
/// and as many as may bring nothing new.
const MOST_CALLS: u64 = 3 + 11;

/// OpenCode's own limit of further tries of one step.
const RETRIES: u32 = 5;

/// What a provider sends: status, content type, and bytes that were once an answer.
#[derive(Clone)]
struct Sent {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    bytes: Vec<u8>,
    drops: bool,
}

/// How OpenCode's step ended.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The turn is over, with an answer.
    Done,
    /// The model is called again: tools ran, or the end is one that OpenCode does not know.
    Again,
    /// The turn is over, for this reason.
    Failed(String),
}

/// What OpenCode makes of one attempt.
enum Attempt {
    Ended(Step),
    Retry(String),
}

fn any_answer(wire: llm::Dialect) -> impl Strategy<Value = Wire> {
    let parts = proptest::collection::vec((0..9_u8, "[a-z ]{0,8}"), 0..6);
    parts.prop_map(move |parts| {
        let mut stream = Wire::begun(wire);
        for (n, (part, text)) in parts.into_iter().enumerate() {
            let (index, id) = (u64::try_from(n).unwrap(), json!(format!("c{n}")));
            stream = match part {
                0 => stream.text(&text),
                1 => stream.open_text(&text),
                2 => stream.reasoning(&text),
                3 => stream.call(index, &id, &json!("bash"), "{}"),
                4 => stream.open_call(index, &id, &json!("bash"), "{\"a"),
                5 => stream.usage(),
                6 => stream.stop(),
                7 => stream.stop_for_calls(),
                _ => stream.error("api_error", &text),
            };
        }
        stream
    })
}

fn any_sent(wire: llm::Dialect) -> impl Strategy<Value = Sent> {
    let status = prop_oneof![
        12 => Just(200_u16),
        1 => Just(204),
        1 => Just(302),
        1 => Just(400),
        1 => Just(401),
        1 => Just(429),
        2 => Just(503),
    ];
    let kind = prop_oneof![
        6 => Just("text/event-stream"),
        1 => Just("application/json"),
        1 => Just("text/html; charset=utf-8"),
    ];
    let extra = prop_oneof![
        8 => Just(None),
        1 => Just(Some(("content-encoding", "gzip"))),
        1 => Just(Some(("retry-after", "soon"))),
    ];
    let changes = proptest::collection::vec(
        (any::<proptest::sample::Index>(), 0..4_u8, any::<u8>()),
        0..4,
    );
    let drops = prop::bool::weighted(0.1);
    (status, kind, extra, any_answer(wire), changes, drops).prop_map(
        |(status, kind, extra, answer, changes, drops)| {
            let bytes = mutate(answer.bytes, changes);
            let headers = std::iter::once(("content-type", kind)).chain(extra);
            Sent {
                status,
                headers: headers.collect(),
                bytes,
                drops,
            }
        },
    )
}

// === impl Sent ===

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = String::from_utf8_lossy(&self.bytes);
        write!(
            f,
            "{} {:?} drops: {} {bytes:?}",
            self.status, self.headers, self.drops
        )
    }
}

impl Sent {
    fn turn(&self) -> Turn {
        let turn = Turn::plain(self.status, self.bytes.clone());
        let turn = self
            .headers
            .iter()
            .fold(turn, |turn, (name, value)| turn.header(name, value));
        if self.drops { turn.drop_here() } else { turn }
    }
}

/// What OpenCode 1.18.33 takes for a passing fault, wherever it stands: enough of its list for what the
/// gateway and the scripted provider say.
fn looks_passing(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let words = ["429", "500", "502", "503", "504", "524", "timed out"];
    let more = ["server error", "server_error", "provider returned error"];
    words.iter().chain(&more).any(|word| text.contains(word))
}

/// The ends of answers after which OpenCode does not call again, unless tools ran.
const KNOWN: [&str; 9] = [
    "stop",
    "length",
    "content_filter",
    "end_turn",
    "stop_sequence",
    "max_tokens",
    "refusal",
    "max_output_tokens",
    "pause_turn",
];

/// How OpenCode and its clients read an answer.
fn attempt(dialect: Dialect, answered: &Answered) -> Attempt {
    if answered.status != 200 {
        let passing = answered.status >= 500 || matches!(answered.status, 408 | 409 | 429);
        return if passing || looks_passing(&answered.body) {
            Attempt::Retry(answered.body.clone())
        } else {
            Attempt::Ended(Step::Failed(answered.body.clone()))
        };
    }
    let (mut reason, mut calls) = (None, false);
    for event in answered.body.split("\n\n") {
        let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) else {
            continue;
        };
        let Ok(event) = serde_json::from_str::<Value>(data) else {
            assert_eq!(data, "[DONE]", "{answered:?}");
            continue;
        };
        if event["error"].is_object() || event["type"] == "error" {
            let passing = match dialect {
                Dialect::Responses => event["error"]["code"] != "invalid_prompt",
                Dialect::Chat | Dialect::Messages => looks_passing(data),
            };
            return if passing {
                Attempt::Retry(data.to_owned())
            } else {
                Attempt::Ended(Step::Failed(data.to_owned()))
            };
        }
        calls |= event["choices"][0]["delta"]["tool_calls"].is_array()
            || event["item"]["type"] == "function_call"
            || event["content_block"]["type"] == "tool_use";
        let said = match dialect {
            Dialect::Chat => event["choices"][0]["finish_reason"].as_str(),
            Dialect::Messages => event["delta"]["stop_reason"].as_str(),
            Dialect::Responses => {
                let counted = event["response"]["usage"]["input_tokens"].is_number();
                let kind = event["type"].as_str().unwrap_or_default();
                let ends = matches!(kind, "response.completed" | "response.incomplete");
                let why = event["response"]["incomplete_details"]["reason"].as_str();
                (counted && ends).then_some(why.unwrap_or("stop"))
            }
        };
        reason = said.map(str::to_owned).or(reason);
    }
    if answered.broken {
        return Attempt::Retry("connection reset".to_owned());
    }
    let known = reason.is_some_and(|reason| KNOWN.contains(&reason.as_str()));
    Attempt::Ended(if known && !calls {
        Step::Done
    } else {
        Step::Again
    })
}

/// One turn as OpenCode makes it, without its pauses. Its calls are counted as the gateway sees them.
async fn turn(rig: &Rig, dialect: Dialect) -> Result<(), String> {
    for step in 0..100_u32 {
        let mut retries = 0;
        let ended = loop {
            // A step's question differs from the one before: the conversation has grown.
            let body = json!({ "model": "m", "stream": true, "step": step, "messages": [] });
            let request = rig.request(dialect, "ses_a").body(body.to_string());
            match attempt(dialect, &rig.send(request).await) {
                Attempt::Ended(ended) => break ended,
                Attempt::Retry(why) if retries == RETRIES => break Step::Failed(why),
                Attempt::Retry(_) => retries += 1,
            }
        };
        match ended {
            Step::Done => return Ok(()),
            Step::Failed(why) => return Err(why),
            Step::Again => {}
        }
    }
    panic!("the turn does not end");
}

#[test]
fn whatever_a_provider_answers_the_turn_ends_with_few_calls_and_a_reason() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (rig, llm) = runtime.block_on(async { (Rig::start().await, Llm::start().await) });
    let sessions = (0..3_usize).prop_flat_map(|index| {
        let answers = proptest::collection::vec(any_sent(wire::DIALECTS[index]), 1..4);
        (Just(DIALECTS[index]), answers)
    });
    let mut number = 0;
    let number = std::cell::RefCell::new(&mut number);
    let mut runner = TestRunner::new(ProptestConfig {
        // A case is printed; nothing is kept between runs.
        failure_persistence: None,
        ..ProptestConfig::with_cases(192)
    });
    let outcome = runner.run(&sessions, |(dialect, answers)| {
        **number.borrow_mut() += 1;
        let key = format!("key-of-case-{}", number.borrow());
        for answer in answers.iter().cycle().take(40) {
            llm.reply_to(Scope::key(&key), answer.turn());
        }
        let grant = rig
            .handle
            .register(route_with(dialect, &llm.base(), |model| {
                model.key = Some(Secret::new(key));
            }));
        let ended = runtime.block_on(turn(&rig, dialect));
        let usage = grant.usage();
        prop_assert!(usage.calls <= MOST_CALLS, "{} calls", usage.calls);
        if let Err(why) = ended {
            prop_assert!(!why.is_empty());
            let said = usage.last_error.is_some_and(|message| !message.is_empty());
            prop_assert!(said || grant.stopped().is_some(), "{why}");
        }
        Ok(())
    });
    outcome.unwrap();
}
