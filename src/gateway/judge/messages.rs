//! Messages: numbered content blocks that are opened and closed, an end that is a `message_delta` with the
//! reason and then `message_stop`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::text::{TextAt, says, written};
use super::{
    CUT_CALL, Digest, Ending, FOREIGN, NO_CONTENT, ONLY_REASONING, SAME_INDEX, Step, UNNAMED_CALL,
    named,
};

/// What was seen of the answer.
#[derive(Debug, Default)]
pub(super) struct Messages {
    text: bool,
    reasoning: bool,
    blocks: BTreeMap<u64, Block>,
    stop: Option<Stop>,
    progress: Progress,
    /// As counted in that event.
    output_tokens: u64,
}

/// How far the end has gone on to the child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Open,
    /// With its reason.
    Told,
    Stopped,
}

#[derive(Debug)]
struct Block {
    is_call: bool,
    open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Turn,
    Calls,
    /// A limit of tokens, or a refusal: that says why there may be nothing.
    Limited,
    /// One after which the child's client calls again.
    Unknown,
}

#[derive(Deserialize)]
struct Event<'a> {
    r#type: String,
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    content_block: Option<ContentBlock>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct ContentBlock {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    partial_json: Option<&'a RawValue>,
    #[serde(default)]
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    output_tokens: Option<u64>,
}

// === impl Messages ===

impl Messages {
    pub(super) fn has_content(&self) -> bool {
        self.text || self.reasoning || self.has_calls() || self.stop == Some(Stop::Limited)
    }

    fn has_calls(&self) -> bool {
        self.blocks.values().any(|block| block.is_call)
    }

    pub(super) fn event(&mut self, json: &[u8], digest: &mut Digest) -> Step {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(json) else {
            return Step::Bad(FOREIGN);
        };
        match &*event.r#type {
            "message_start" | "ping" => {}
            "error" => return Step::Failed,
            "content_block_start" => return self.opened(&event, digest),
            "content_block_delta" => return self.said(json, &event, digest),
            "content_block_stop" => {
                let index = event.index.unwrap_or_default();
                let Some(block) = self.blocks.get_mut(&index) else {
                    return Step::Drop;
                };
                block.open = false;
            }
            "message_delta" => return self.reason(&event),
            "message_stop" => return self.stop(),
            // Newer than the child's client, which would give up the answer for it.
            _ => return Step::Drop,
        }
        Step::Pass
    }

    fn opened(&mut self, event: &Event<'_>, digest: &mut Digest) -> Step {
        let (Some(index), Some(content)) = (event.index, &event.content_block) else {
            return Step::Bad(FOREIGN);
        };
        let is_call = content.r#type == "tool_use";
        if is_call {
            let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
            if !given(&content.id) || !given(&content.name) {
                return Step::Bad(UNNAMED_CALL);
            }
            digest.add(content.name.as_deref().unwrap_or_default().as_bytes());
        }
        let block = Block {
            is_call,
            open: true,
        };
        if self.blocks.insert(index, block).is_some() {
            return Step::Bad(SAME_INDEX);
        }
        Step::Pass
    }

    fn said(&mut self, json: &[u8], event: &Event<'_>, digest: &mut Digest) -> Step {
        let Some(delta) = &event.delta else {
            return Step::Bad(FOREIGN);
        };
        if !self.blocks.contains_key(&event.index.unwrap_or_default()) {
            return Step::Bad(FOREIGN);
        }
        let given = |raw: Option<&'_ RawValue>| raw.is_some_and(|raw| says(Some(raw)));
        if let Some(said) = delta.thinking.filter(|raw| given(Some(raw))) {
            self.reasoning = true;
            digest.add(written(said));
        }
        if let Some(said) = delta.partial_json {
            digest.add(written(said));
        }
        let Some(said) = delta.text.filter(|raw| given(Some(raw))) else {
            return Step::Pass;
        };
        self.text = true;
        digest.add(written(said));
        Step::Text(TextAt::of(json, said))
    }

    fn reason(&mut self, event: &Event<'_>) -> Step {
        let reason = event
            .delta
            .as_ref()
            .and_then(|delta| delta.stop_reason.as_deref());
        let stop = Stop::of(reason);
        // Without the counts the child's client takes it for broken.
        let counted = event.usage.as_ref().and_then(|usage| usage.output_tokens);
        self.output_tokens = counted.unwrap_or(self.output_tokens);
        self.stop = Some(stop);
        if counted.is_none() {
            self.progress = Progress::Open;
            return Step::Drop;
        }
        self.progress = Progress::Told;
        Step::Pass
    }

    /// The client ends at this event, so what is wrong is put right before it.
    fn stop(&mut self) -> Step {
        let before = match self.verdict() {
            Ok(before) => before,
            Err(why) => return Step::Bad(why),
        };
        self.progress = Progress::Stopped;
        before.map_or(Step::Pass, Step::Behind)
    }

    pub(super) fn end(&mut self) -> Ending {
        if self.progress == Progress::Stopped {
            return Ending::Whole;
        }
        match self.verdict() {
            Err(why) => Ending::Bad(why),
            Ok(before) => Ending::Mended {
                unended: self.stop.is_none(),
                events: format!(
                    "{}event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n",
                    before.unwrap_or_default()
                ),
            },
        }
    }

    /// What has to come before `message_stop`, or why there is no way to end well.
    fn verdict(&self) -> Result<Option<String>, &'static str> {
        let open_call = self
            .blocks
            .values()
            .any(|block| block.is_call && block.open);
        if open_call && self.stop != Some(Stop::Limited) {
            return Err(CUT_CALL);
        }
        let fits = match self.stop {
            Some(Stop::Limited) => true,
            Some(Stop::Turn) => self.has_content(),
            Some(Stop::Calls) => self.has_calls(),
            Some(Stop::Unknown) | None => false,
        };
        if fits && self.progress == Progress::Told {
            return Ok(None);
        }
        let reason = if self.stop == Some(Stop::Limited) {
            "max_tokens"
        } else if self.has_calls() {
            "tool_use"
        } else if self.text {
            "end_turn"
        } else if self.reasoning {
            return Err(ONLY_REASONING);
        } else {
            return Err(NO_CONTENT);
        };
        Ok(Some(self.closing(reason)))
    }

    fn closing(&self, reason: &str) -> String {
        let mut events = String::new();
        for (index, _) in self.blocks.iter().filter(|(_, block)| block.open) {
            let event = serde_json::json!({ "type": "content_block_stop", "index": index });
            events.push_str(&named("content_block_stop", &event));
        }
        let event = serde_json::json!({
            "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": null },
            "usage": { "output_tokens": self.output_tokens },
        });
        events.push_str(&named("message_delta", &event));
        events
    }
}

// === impl Stop ===

impl Stop {
    fn of(reason: Option<&str>) -> Self {
        match reason {
            Some("end_turn" | "stop_sequence" | "pause_turn") => Self::Turn,
            Some("tool_use") => Self::Calls,
            Some("max_tokens" | "model_context_window_exceeded" | "refusal") => Self::Limited,
            _ => Self::Unknown,
        }
    }
}
