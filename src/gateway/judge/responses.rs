//! Responses: events with a `type`, output items that are opened and closed, an end that is
//! `response.completed` with the counts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::text::{TextAt, says, written};
use super::{
    CUT_CALL, Digest, Ending, FOREIGN, NO_CONTENT, ONLY_REASONING, SAME_INDEX, Step, UNNAMED_CALL,
    named,
};

/// What was seen of the answer.
#[derive(Debug, Default)]
pub(super) struct Responses {
    text: bool,
    reasoning: bool,
    /// By output index: the call's id, and whether it is whole.
    calls: BTreeMap<u64, (String, bool)>,
    /// The message that is open, by id.
    open: Option<String>,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Completed,
    /// By the limit of tokens, or a filter: that says why there may be nothing.
    Limited,
    /// One that the child's client cannot read, or calls again after.
    Unknown,
}

#[derive(Deserialize)]
struct Event<'a> {
    r#type: String,
    #[serde(default)]
    output_index: Option<u64>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(default)]
    item: Option<Item>,
    #[serde(default)]
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    call_id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    incomplete_details: Option<Details>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    reason: String,
}

/// Without these the child's client does not know the event.
#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    input_tokens: Option<f64>,
    #[serde(default)]
    output_tokens: Option<f64>,
}

/// A failed response is an end to the child's client, and only an error event a failure.
pub(super) fn as_error(told: String) -> String {
    let Ok(event) = serde_json::from_str::<Value>(&told) else {
        return told;
    };
    let Some(error) = event
        .pointer("/response/error")
        .filter(|error| error.is_object())
    else {
        return told;
    };
    let (code, message) = (&error["code"], &error["message"]);
    serde_json::json!({
        "type": "error", "sequence_number": 0, "code": code, "message": message, "param": null,
        "error": { "type": code, "code": code, "message": message, "param": null },
    })
    .to_string()
}

// === impl Responses ===

impl Responses {
    pub(super) fn has_content(&self) -> bool {
        self.text || self.reasoning || !self.calls.is_empty() || self.end == Some(End::Limited)
    }

    pub(super) fn event(&mut self, json: &[u8], digest: &mut Digest) -> Step {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(json) else {
            return Step::Bad(FOREIGN);
        };
        match &*event.r#type {
            "response.output_text.delta" => {
                let Some(said) = event.delta.filter(|raw| says(Some(raw))) else {
                    return Step::Pass;
                };
                self.text = true;
                digest.add(written(said));
                return Step::Text(TextAt::of(json, said));
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                if let Some(said) = event.delta.filter(|raw| says(Some(raw))) {
                    self.reasoning = true;
                    digest.add(written(said));
                }
            }
            "response.output_item.added" => return self.opened(event.output_index, event.item),
            "response.output_item.done" => {
                return self.closed(event.output_index, event.item, digest);
            }
            "response.completed" | "response.incomplete" => {
                self.end = Some(End::of(event.response));
            }
            "response.failed" | "error" => return Step::Failed,
            _ => {}
        }
        Step::Pass
    }

    fn opened(&mut self, index: Option<u64>, item: Option<Item>) -> Step {
        let Some(item) = item else {
            return Step::Bad(FOREIGN);
        };
        match &*item.r#type {
            "message" => self.open = item.id,
            "function_call" => {
                let Some(id) = item.call() else {
                    return Step::Bad(UNNAMED_CALL);
                };
                if self
                    .calls
                    .insert(index.unwrap_or_default(), (id, false))
                    .is_some()
                {
                    return Step::Bad(SAME_INDEX);
                }
            }
            _ => {}
        }
        Step::Pass
    }

    fn closed(&mut self, index: Option<u64>, item: Option<Item>, digest: &mut Digest) -> Step {
        let Some(item) = item else {
            return Step::Bad(FOREIGN);
        };
        match &*item.r#type {
            "message" => self.open = None,
            "function_call" => {
                let Some(id) = item.call() else {
                    return Step::Bad(UNNAMED_CALL);
                };
                let whole = item.arguments.is_some();
                if let Some(arguments) = &item.arguments {
                    digest.add(item.name.as_deref().unwrap_or_default().as_bytes());
                    digest.add(arguments.as_bytes());
                }
                let before = self
                    .calls
                    .insert(index.unwrap_or_default(), (id.clone(), whole));
                if before.is_some_and(|(before, _)| before != id) {
                    return Step::Bad(SAME_INDEX);
                }
            }
            _ => {}
        }
        Step::Pass
    }

    pub(super) fn end(&self) -> Ending {
        let cut = self.calls.values().any(|(_, whole)| !whole);
        match self.end {
            Some(End::Limited) => return Ending::Whole,
            Some(End::Completed) if self.has_content() && !cut => return Ending::Whole,
            _ => {}
        }
        if cut {
            return Ending::Bad(CUT_CALL);
        }
        if self.text || !self.calls.is_empty() {
            return self.mended();
        }
        Ending::Bad(if self.reasoning {
            ONLY_REASONING
        } else {
            NO_CONTENT
        })
    }

    fn mended(&self) -> Ending {
        let mut events = String::new();
        if let Some(id) = &self.open {
            let event = serde_json::json!({
                "type": "response.output_item.done", "sequence_number": 0, "output_index": 0,
                "item": { "type": "message", "id": id, "role": "assistant", "status": "completed", "content": [] },
            });
            events = named("response.output_item.done", &event);
        }
        let event = serde_json::json!({
            "type": "response.completed", "sequence_number": 0,
            "response": { "id": "mended", "object": "response", "created_at": 0, "status": "completed", "model": "",
                "output": [], "usage": { "input_tokens": 0, "output_tokens": 0, "total_tokens": 0 } },
        });
        events.push_str(&named("response.completed", &event));
        Ending::Mended {
            events,
            unended: self.end.is_none(),
        }
    }
}

// === impl Item ===

impl Item {
    /// The id of a function call that has a name.
    fn call(&self) -> Option<String> {
        let named = self.name.as_ref().is_some_and(|name| !name.is_empty());
        self.call_id.clone().filter(|id| named && !id.is_empty())
    }
}

// === impl End ===

impl End {
    fn of(response: Option<Response>) -> Self {
        let Some(response) = response else {
            return Self::Unknown;
        };
        let counted = response
            .usage
            .is_some_and(|counts| counts.input_tokens.is_some() && counts.output_tokens.is_some());
        if !counted {
            return Self::Unknown;
        }
        match response.incomplete_details {
            None => Self::Completed,
            Some(details) => match &*details.reason {
                "max_output_tokens" | "content_filter" => Self::Limited,
                _ => Self::Unknown,
            },
        }
    }
}
