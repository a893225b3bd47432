//! Responses: events with a `type`, output items that are opened and closed, an end that is
//! `response.completed` with the token counts.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::delta::{Delta, Kind, says};
use super::fault::{FOREIGN, SAME_INDEX, UNNAMED_CALL};
use super::seen::{Finish, Seen};
use super::step::{Ending, Step, named};

#[derive(Debug, Default)]
pub(super) struct Responses {
    /// The id of the message that is open.
    open: Option<String>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(default)]
    output_index: Option<u64>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    item: Option<Item<'a>>,
    #[serde(borrow, default)]
    response: Option<Response<'a>>,
    #[serde(borrow, default)]
    sequence_number: Option<&'a RawValue>,
    /// Noise by which OpenAI hides how long the text is.
    #[serde(borrow, default)]
    obfuscation: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default)]
    r#type: Cow<'a, str>,
    #[serde(default)]
    id: Option<String>,
    #[serde(borrow, default)]
    call_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    arguments: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    incomplete_details: Option<Details<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

/// Without these the child's client does not know the event.
#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    input_tokens: Option<f64>,
    #[serde(default)]
    output_tokens: Option<f64>,
}

/// To the child's client a failed response is an end, and only an error event is a failure.
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
    pub(super) fn event<'a>(&mut self, json: &'a [u8], seen: &mut Seen) -> Step<'a> {
        let Ok(event) = serde_json::from_slice::<Event<'a>>(json) else {
            return Step::Bad(FOREIGN);
        };
        if let Some(response) = &event.response {
            seen.count(response.usage);
        }
        let (kind, text) = match &*event.r#type {
            "response.output_text.delta" => (Kind::Text, seen.said(event.delta)),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                (Kind::Text, seen.reasoned(event.delta))
            }
            // What they add up to is in the item's last event.
            "response.function_call_arguments.delta" => {
                (Kind::Arguments, event.delta.filter(|delta| says(delta)))
            }
            "response.output_item.added" => {
                return self.item(event.output_index, event.item, false, seen);
            }
            "response.output_item.done" => {
                return self.item(event.output_index, event.item, true, seen);
            }
            "response.completed" | "response.incomplete" => {
                seen.finish = Some(finish(event.response));
                return Step::Pass;
            }
            "response.failed" | "error" => return Step::Failed,
            _ => return Step::Pass,
        };
        text.map_or(Step::Pass, |text| {
            Step::Delta(Delta {
                kind,
                text,
                varying: [event.sequence_number, event.obfuscation, None, None],
            })
        })
    }

    /// An output item is opened or, when it is `done`, closed.
    fn item(
        &mut self,
        index: Option<u64>,
        item: Option<Item<'_>>,
        done: bool,
        seen: &mut Seen,
    ) -> Step<'static> {
        let Some(item) = item else {
            return Step::Bad(FOREIGN);
        };
        match &*item.r#type {
            "message" => self.open = item.id.filter(|_| !done),
            "function_call" => {
                let Some((id, name)) = item.call() else {
                    return Step::Bad(UNNAMED_CALL);
                };
                let index = index.unwrap_or_default();
                let before = seen.call(index, id, name);
                if before.is_some_and(|before| !done || before.id != id) {
                    return Step::Bad(SAME_INDEX);
                }
                if let Some(arguments) = item.arguments.as_deref().filter(|_| done) {
                    seen.argued(index, arguments);
                    seen.close_call(index);
                }
            }
            _ => {}
        }
        Step::Pass
    }

    pub(super) fn end(&self, seen: &Seen) -> Ending {
        match seen.ending(seen.has_cut_call()) {
            Ok(None) => return Ending::Whole,
            Ok(Some(_)) => {}
            Err(why) => return Ending::Bad(why),
        }
        let mut events = String::new();
        if let Some(id) = &self.open {
            events = named(&serde_json::json!({
                "type": "response.output_item.done", "sequence_number": 0, "output_index": 0,
                "item": { "type": "message", "id": id, "role": "assistant", "status": "completed", "content": [] },
            }));
        }
        events.push_str(&named(&serde_json::json!({
            "type": "response.completed", "sequence_number": 0,
            "response": { "id": "mended", "object": "response", "created_at": 0, "status": "completed", "model": "",
                "output": [], "usage": { "input_tokens": 0, "output_tokens": 0, "total_tokens": 0 } },
        })));
        Ending::Mended(events)
    }
}

// === impl Item ===

impl Item<'_> {
    /// The id and the name of a function call that has both.
    fn call(&self) -> Option<(&str, &str)> {
        let given = |text: &&str| !text.is_empty();
        Some((
            self.call_id.as_deref().filter(given)?,
            self.name.as_deref().filter(given)?,
        ))
    }
}

fn finish(response: Option<Response<'_>>) -> Finish {
    let Some(response) = response else {
        return Finish::Unknown;
    };
    let counts = response.usage.map(RawValue::get).map(serde_json::from_str);
    let counted = counts.is_some_and(|counts: Result<Counts, _>| {
        counts.is_ok_and(|counts| counts.input_tokens.is_some() && counts.output_tokens.is_some())
    });
    if !counted {
        return Finish::Unknown;
    }
    match response.incomplete_details {
        None => Finish::Stop,
        Some(details) => match &*details.reason {
            "max_output_tokens" | "content_filter" => Finish::Limited,
            _ => Finish::Unknown,
        },
    }
}
