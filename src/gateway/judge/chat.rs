//! Chat completions: chunks with `choices`, an end that is a `finish_reason`, then `[DONE]`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::text::{Balance, TextAt, is_text, says, written};
use super::{
    CUT_CALL, Digest, Ending, FOREIGN, NO_CONTENT, ONLY_REASONING, SAME_INDEX, Step, UNNAMED_CALL,
};

/// What was seen of the answer.
#[derive(Debug, Default)]
pub(super) struct Chat {
    text: bool,
    reasoning: bool,
    calls: BTreeMap<u64, Call>,
    finish: Option<Finish>,
}

#[derive(Debug)]
struct Call {
    id: String,
    arguments: Balance,
}

/// The reasons that OpenCode's client knows; after any other it calls again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    Stop,
    Calls,
    /// The limit of tokens, or a filter: they say why there may be nothing.
    Limited,
    Unknown,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(default)]
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<Function>,
}

#[derive(Deserialize, Default)]
struct Function {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
}

// === impl Chat ===

impl Chat {
    pub(super) fn has_content(&self) -> bool {
        self.text
            || self.reasoning
            || !self.calls.is_empty()
            || self.finish == Some(Finish::Limited)
    }

    pub(super) fn event(&mut self, json: &[u8], digest: &mut Digest) -> Step {
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(json) else {
            return Step::Bad(FOREIGN);
        };
        if chunk.error.is_some() {
            return Step::Failed;
        }
        let Some(choices) = chunk.choices else {
            return Step::Bad(FOREIGN);
        };
        // The child reads the first only.
        let Some(choice) = choices.into_iter().next() else {
            return Step::Pass;
        };
        if let Some(reason) = choice.finish_reason.as_deref() {
            self.finish = Some(Finish::of(reason));
        }
        let Some(delta) = choice.delta else {
            return Step::Pass;
        };
        let reasoning = delta.reasoning_content.or(delta.reasoning);
        if !is_text(delta.content) || !is_text(reasoning) {
            return Step::Bad(FOREIGN);
        }
        for call in delta.tool_calls.into_iter().flatten() {
            if let Some(why) = self.call(call, digest) {
                return Step::Bad(why);
            }
        }
        if let Some(said) = reasoning.filter(|raw| says(Some(raw))) {
            self.reasoning = true;
            digest.add(written(said));
        }
        let Some(said) = delta.content.filter(|raw| says(Some(raw))) else {
            return Step::Pass;
        };
        self.text = true;
        digest.add(written(said));
        // An event that also ends the answer is no frame for more text.
        if choice.finish_reason.is_some() {
            return Step::Pass;
        }
        Step::Text(TextAt::of(json, said))
    }

    fn call(&mut self, delta: CallDelta, digest: &mut Digest) -> Option<&'static str> {
        let next = u64::try_from(self.calls.len()).unwrap_or(u64::MAX);
        let index = delta.index.unwrap_or(next);
        let function = delta.function.unwrap_or_default();
        let id = delta.id.filter(|id| !id.is_empty());
        let call = match self.calls.entry(index) {
            Entry::Occupied(known) => {
                let call = known.into_mut();
                if id.is_some_and(|id| id != call.id) {
                    return Some(SAME_INDEX);
                }
                call
            }
            Entry::Vacant(place) => {
                let name = function.name.filter(|name| !name.is_empty());
                let (Some(id), Some(name)) = (id, name) else {
                    return Some(UNNAMED_CALL);
                };
                digest.add(name.as_bytes());
                let arguments = Balance::default();
                place.insert(Call { id, arguments })
            }
        };
        let arguments = function.arguments.unwrap_or_default();
        call.arguments.add(&arguments);
        digest.add(arguments.as_bytes());
        None
    }

    pub(super) fn end(&self) -> Ending {
        let (finish, has_calls) = (self.finish, !self.calls.is_empty());
        let ends_itself = match finish {
            Some(Finish::Limited) => true,
            Some(Finish::Stop) => self.has_content(),
            Some(Finish::Calls) => has_calls,
            Some(Finish::Unknown) | None => false,
        };
        if ends_itself {
            return Ending::Whole;
        }
        if has_calls {
            if self.calls.values().all(|call| call.arguments.is_whole()) {
                return Ending::mended("tool_calls", true);
            }
            return Ending::Bad(CUT_CALL);
        }
        if self.text {
            // A reason that is not known, or is wrong, is an end all the same.
            return Ending::mended("stop", finish.is_none());
        }
        Ending::Bad(if self.reasoning {
            ONLY_REASONING
        } else {
            NO_CONTENT
        })
    }
}

// === impl Finish ===

impl Finish {
    fn of(reason: &str) -> Self {
        match reason {
            "stop" => Self::Stop,
            "tool_calls" | "function_call" => Self::Calls,
            "length" | "content_filter" => Self::Limited,
            _ => Self::Unknown,
        }
    }
}

// === impl Ending ===

impl Ending {
    /// The child's client takes the last reason it hears, also after `[DONE]`.
    fn mended(reason: &str, unended: bool) -> Self {
        let chunk = serde_json::json!({
            "id": "mended", "object": "chat.completion.chunk", "created": 0, "model": "",
            "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }],
        });
        let events = format!("data: {chunk}\n\ndata: [DONE]\n\n");
        Self::Mended { events, unended }
    }
}
