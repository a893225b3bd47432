//! Messages: numbered content blocks that are opened and closed, an end that is a `message_delta` with the
//! reason and then `message_stop`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::delta::{Delta, Kind, says};
use super::fault::{FOREIGN, SAME_INDEX, UNNAMED_CALL};
use super::seen::{Finish, Seen};
use super::step::{Ending, Step, named};

#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Whether each content block is open.
    blocks: BTreeMap<u64, bool>,
    end: End,
    /// As counted in the event that gives the reason.
    output_tokens: u64,
}

/// How much of the end has gone on to the child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Nothing,
    /// The event with the reason.
    Reason,
    /// `message_stop`.
    Stop,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    content_block: Option<ContentBlock<'a>>,
    #[serde(borrow, default)]
    delta: Option<BlockDelta<'a>>,
    /// An object in `message_start`; a proxy's error has a sentence here.
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ContentBlock<'a> {
    #[serde(borrow, default)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct BlockDelta<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    partial_json: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    output_tokens: Option<u64>,
}

// === impl Messages ===

impl Messages {
    pub(super) fn event<'a>(&mut self, json: &'a [u8], seen: &mut Seen) -> Step<'a> {
        let Ok(event) = serde_json::from_slice::<Event<'a>>(json) else {
            return Step::Bad(FOREIGN);
        };
        let message = event
            .message
            .map(|message| serde_json::from_str(message.get()));
        if let Some(Ok(Message { usage })) = message {
            seen.count(usage);
        }
        seen.count(event.usage);
        match &*event.r#type {
            "message_start" | "ping" => Step::Pass,
            "error" => Step::Failed,
            "content_block_start" => self.opened(&event, seen),
            "content_block_delta" => self.said(&event, seen),
            "content_block_stop" => {
                let index = event.index.unwrap_or_default();
                let Some(open) = self.blocks.get_mut(&index) else {
                    return Step::Drop;
                };
                *open = false;
                seen.close_call(index);
                Step::Pass
            }
            "message_delta" => self.reason(&event, seen),
            "message_stop" => self.stop(seen),
            // Newer than the child's client, which would give up the answer for it.
            _ => Step::Drop,
        }
    }

    fn opened(&mut self, event: &Event<'_>, seen: &mut Seen) -> Step<'static> {
        let (Some(index), Some(content)) = (event.index, &event.content_block) else {
            return Step::Bad(FOREIGN);
        };
        if content.r#type == "tool_use" {
            let given = |text: &&str| !text.is_empty();
            let id = content.id.as_deref().filter(given);
            let (Some(id), Some(name)) = (id, content.name.as_deref().filter(given)) else {
                return Step::Bad(UNNAMED_CALL);
            };
            seen.call(index, id, name);
        }
        if self.blocks.insert(index, true).is_some() {
            return Step::Bad(SAME_INDEX);
        }
        Step::Pass
    }

    fn said<'a>(&self, event: &Event<'a>, seen: &mut Seen) -> Step<'a> {
        let Some(delta) = &event.delta else {
            return Step::Bad(FOREIGN);
        };
        let index = event.index.unwrap_or_default();
        if !self.blocks.contains_key(&index) {
            return Step::Bad(FOREIGN);
        }
        let arguments = delta.partial_json.filter(|piece| says(piece));
        if let Some(piece) = arguments
            && let Ok(piece) = serde_json::from_str::<Cow<'_, str>>(piece.get())
        {
            seen.argued(index, &piece);
        }
        let said = [
            (Kind::Text, seen.reasoned(delta.thinking)),
            (Kind::Text, seen.said(delta.text)),
            (Kind::Arguments, arguments),
        ];
        let mut said = said
            .into_iter()
            .filter_map(|(kind, text)| Some((kind, text?)));
        match (said.next(), said.next()) {
            (Some((kind, text)), None) => Step::Delta(Delta {
                kind,
                text,
                varying: [None; 4],
            }),
            _ => Step::Pass,
        }
    }

    fn reason(&mut self, event: &Event<'_>, seen: &mut Seen) -> Step<'static> {
        let delta = event.delta.as_ref();
        seen.finish = Some(finish(delta.and_then(|delta| delta.stop_reason.as_deref())));
        // Without the counts the child's client takes the event for broken.
        let counts = event
            .usage
            .and_then(|usage| serde_json::from_str::<Counts>(usage.get()).ok());
        let Some(counted) = counts.and_then(|counts| counts.output_tokens) else {
            self.end = End::Nothing;
            return Step::Drop;
        };
        self.output_tokens = counted;
        self.end = End::Reason;
        Step::Pass
    }

    /// The client ends at this event, so what is wrong is put right before it.
    fn stop(&mut self, seen: &Seen) -> Step<'static> {
        match self.missing_end(seen) {
            Ok(events) => {
                self.end = End::Stop;
                events.map_or(Step::Pass, Step::Behind)
            }
            Err(why) => Step::Bad(why),
        }
    }

    pub(super) fn end(&self, seen: &Seen) -> Ending {
        if self.end == End::Stop {
            return Ending::Whole;
        }
        match self.missing_end(seen) {
            Err(why) => Ending::Bad(why),
            Ok(before) => {
                let stop = named(&serde_json::json!({ "type": "message_stop" }));
                Ending::Mended(before.unwrap_or_default() + &stop)
            }
        }
    }

    /// What has to come before `message_stop`, or why the answer cannot be ended well.
    fn missing_end(&self, seen: &Seen) -> Result<Option<String>, &'static str> {
        let reason = match seen.ending(seen.has_cut_call())? {
            None if self.end == End::Reason => return Ok(None),
            None if seen.finish == Some(Finish::Limited) => "max_tokens",
            _ => match seen.missing_finish()? {
                Finish::Calls => "tool_use",
                _ => "end_turn",
            },
        };
        let open = self.blocks.iter().filter(|(_, open)| **open);
        let mut events: String = open
            .map(|(index, _)| {
                named(&serde_json::json!({ "type": "content_block_stop", "index": index }))
            })
            .collect();
        events.push_str(&named(&serde_json::json!({
            "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": null },
            "usage": { "output_tokens": self.output_tokens },
        })));
        Ok(Some(events))
    }
}

fn finish(reason: Option<&str>) -> Finish {
    match reason {
        Some("end_turn" | "stop_sequence" | "pause_turn") => Finish::Stop,
        Some("tool_use") => Finish::Calls,
        Some("max_tokens" | "model_context_window_exceeded" | "refusal") => Finish::Limited,
        _ => Finish::Unknown,
    }
}
