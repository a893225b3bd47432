//! From a message as OpenCode has stored it to one of ours. Pure.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::limits::{arguments, cut_result, cut_text, result_bytes};
use crate::clock::Timestamp;
use crate::conversation::{Attachment, Message, MessageError, Role, ToolStatus, ToolUse};
use crate::driver::translate::{classify, requested, stored_outcome};
use crate::event::Usage;
use crate::opencode::types::{self as oc, PartKind, StepFinish, StoredMessage, Text};

/// Which turns prompts began, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Our session: what another one's prompts began is none of its turns.
    session: String,
    /// The last turn, and OpenCode's newest message before it.
    last: Option<(u32, String)>,
    /// By the prompt's id; nothing for one of another session.
    prompts: HashMap<String, Option<u32>>,
}

// === impl Turns ===

impl Turns {
    pub(super) fn of(session: &str) -> Self {
        Self {
            session: session.to_owned(),
            ..Self::default()
        }
    }

    /// Of a session with this last turn.
    pub(super) fn with_last(session: &str, last: Option<(u32, String)>) -> Self {
        Self {
            last,
            ..Self::of(session)
        }
    }

    /// Learns the turn of a prompt of ours. OpenCode makes prompts as well, which say nothing.
    pub(super) fn learn(&mut self, message: &StoredMessage) {
        let label = message.parts.iter().find_map(|part| part.label.as_ref());
        if let Some(label) = label {
            let turn = (label.session == self.session).then_some(label.turn);
            self.prompts.insert(message.id.clone(), turn);
        } else if message.parts.iter().any(|part| part.is_task) {
            // A turn of its own, without a label.
            let is_last = self
                .last
                .as_ref()
                .filter(|(_, before)| message.id > *before);
            let turn = is_last.map(|(turn, _)| *turn);
            self.prompts.insert(message.id.clone(), turn);
        }
    }

    /// The prompt that `message` is or answers, if its turn is not known yet.
    pub(super) fn unknown<'a>(&self, message: &'a StoredMessage) -> Option<&'a str> {
        let parent = message.parent.as_deref()?;
        (!self.prompts.contains_key(parent)).then_some(parent)
    }

    pub(super) fn of_prompt(&self, id: &str) -> Option<u32> {
        self.prompts.get(id).copied().flatten()
    }

    /// The turn of each of `messages`, which are in order.
    pub(super) fn assign(&self, messages: &[StoredMessage]) -> Vec<Option<u32>> {
        let prompts = messages.iter();
        self.assign_prompts(prompts.map(|message| message.parent.as_ref().unwrap_or(&message.id)))
    }

    /// The turn of each of `prompts`, which are in order. What OpenCode put in belongs to the turn before it.
    pub(super) fn assign_prompts<'a>(
        &self,
        prompts: impl Iterator<Item = impl AsRef<str> + 'a>,
    ) -> Vec<Option<u32>> {
        let mut last = None;
        let turns = prompts.map(|prompt| {
            last = self.prompts.get(prompt.as_ref()).copied().unwrap_or(last);
            last
        });
        turns.collect()
    }
}

/// The message for clients, without what the model thought unless `reasoning`.
pub(super) fn message(stored: StoredMessage, turn: Option<u32>, reasoning: bool) -> Message {
    let role = match stored.role {
        oc::Role::User => Role::User,
        oc::Role::Assistant => Role::Assistant,
    };
    let usage = (role == Role::Assistant).then(|| usage(&stored.tokens, stored.tokens.cost));
    let error = stored.error.as_ref().map(classify);
    let mut message = Message {
        id: stored.id,
        turn,
        role,
        agent: stored.agent,
        text: String::new(),
        reasoning: reasoning.then(String::new),
        files: Vec::new(),
        tools: Vec::new(),
        usage,
        finish_reason: stored.finish,
        error: error.map(|failure| MessageError {
            code: failure.code,
            error: failure.error,
        }),
        compaction: stored.is_summary,
        reverted: false,
        truncated: false,
        created_at: Timestamp::from_millis(stored.created),
        completed_at: stored.completed.map(Timestamp::from_millis),
    };
    for part in stored.parts {
        if let Some(file) = part.file {
            message.files.push(Attachment {
                name: file.name,
                mime: file.mime,
            });
            continue;
        }
        match part.part.kind {
            // What OpenCode read for the model is not what the client said.
            PartKind::Text { .. } if part.is_synthetic && role == Role::User => {}
            PartKind::Text { text, .. } => add(&mut message.text, text),
            PartKind::Reasoning { text, .. } => {
                if let Some(all) = &mut message.reasoning {
                    add(all, text);
                }
            }
            PartKind::Tool(tool) => message.tools.push(tool_use(*tool)),
            PartKind::Compaction => message.compaction = true,
            PartKind::StepStart
            | PartKind::StepFinish(_)
            | PartKind::Patch { .. }
            | PartKind::Other => {}
        }
    }
    if message.reasoning.as_ref().is_some_and(String::is_empty) {
        message.reasoning = None;
    }
    message.truncated = cut_text(&mut message.text);
    if let Some(all) = &mut message.reasoning {
        message.truncated |= cut_text(all);
    }
    message
}

/// About how many bytes it has.
pub(super) fn bytes(message: &Message) -> usize {
    const OVERHEAD: usize = 512;
    let tools = message.tools.iter().map(|tool| {
        let result = tool.result.as_ref().map_or(0, result_bytes);
        OVERHEAD + tool.args.get().len() + result
    });
    let reasoning = message.reasoning.as_ref().map_or(0, String::len);
    OVERHEAD + message.text.len() + reasoning + tools.sum::<usize>()
}

pub(super) fn usage(tokens: &StepFinish, cost: f64) -> Usage {
    Usage {
        input_tokens: tokens.input,
        output_tokens: tokens.output,
        reasoning_tokens: tokens.reasoning,
        cache_read_tokens: tokens.cache_read,
        cache_write_tokens: tokens.cache_write,
        cost,
    }
}

/// Parts of a text are paragraphs.
fn add(all: &mut String, text: Text) {
    let text = text.into_whole();
    if !all.is_empty() && !text.is_empty() {
        all.push_str("\n\n");
    }
    all.push_str(&text);
}

fn tool_use(part: oc::ToolPart) -> ToolUse {
    let oc::ToolPart { tool, call, state } = part;
    let input = state.input.as_deref().map_or("{}", RawValue::get);
    let (name, input) = requested(&tool, input);
    let (args, mut truncated) = arguments(input);
    let status = match state.status {
        oc::ToolStatus::Pending => ToolStatus::Pending,
        oc::ToolStatus::Running => ToolStatus::Running,
        oc::ToolStatus::Completed => ToolStatus::Completed,
        oc::ToolStatus::Error => ToolStatus::Error,
    };
    let name = name.into_owned();
    let (started_at, completed_at) = (state.start, state.end);
    let has_ended = matches!(status, ToolStatus::Completed | ToolStatus::Error);
    let outcome = has_ended.then(|| stored_outcome(&tool, state));
    let is_error = outcome.as_ref().is_some_and(|outcome| outcome.is_error);
    let result = outcome.map(|mut outcome| {
        truncated |= outcome.truncated | cut_result(&mut outcome.body);
        outcome.body
    });
    ToolUse {
        tool: name,
        call_id: call,
        status,
        args,
        result,
        is_error,
        started_at: started_at.map(Timestamp::from_millis),
        completed_at: completed_at.map(Timestamp::from_millis),
        truncated,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stored(messages: &Value) -> Vec<StoredMessage> {
        oc::stored_messages(messages.to_string().as_bytes()).unwrap()
    }

    fn prompt(id: &str, label: Option<(&str, u32)>) -> Value {
        let mut text =
            json!({ "id": "p", "sessionID": "s", "messageID": id, "type": "text", "text": id });
        if let Some((session, turn)) = label {
            text["metadata"] = json!({ "sidecar": { "session": session, "turn": turn } });
        }
        json!({ "info": { "id": id, "role": "user", "time": { "created": 1 } }, "parts": [text] })
    }

    fn answer(id: &str, parent: &str) -> Value {
        json!({ "info": { "id": id, "role": "assistant", "parentID": parent, "time": { "created": 2 } },
            "parts": [] })
    }

    #[test]
    fn a_message_belongs_to_the_turn_whose_prompt_it_answers() {
        let messages = stored(&json!([
            answer("a0", "p0"),
            prompt("p1", Some(("s1", 2))),
            answer("a1", "p1"),
            prompt("by-opencode", None),
            answer("a2", "by-opencode"),
            prompt("p2", Some(("another", 9))),
            answer("a3", "p2"),
        ]));
        let mut turns = Turns::of("s1");
        for message in &messages {
            turns.learn(message);
        }
        assert_eq!(turns.unknown(&messages[0]), Some("p0"));
        assert_eq!(turns.unknown(&messages[2]), None);
        let (two, none) = (Some(2), None);
        assert_eq!(
            turns.assign(&messages),
            [none, two, two, two, two, none, none]
        );
        turns.learn(&stored(&json!([prompt("p0", Some(("s1", 1)))]))[0]);
        assert_eq!(turns.assign(&messages)[0], Some(1));
    }

    #[test]
    fn what_a_client_began_without_a_prompt_belongs_to_no_earlier_turn() {
        let summary = |id: &str, auto: bool| {
            let mut message = prompt(id, None);
            message["parts"] = json!([{ "id": "p", "sessionID": "s", "messageID": id, "type": "compaction", "auto": auto }]);
            message
        };
        let messages = stored(&json!([
            prompt("m1", Some(("s1", 1))),
            summary("m2", true),
            summary("m3", false),
            summary("m5", false),
            answer("m6", "m5"),
        ]));
        let mut turns = Turns::with_last("s1", Some((3, "m4".into())));
        for message in &messages {
            turns.learn(message);
        }
        assert_eq!(
            turns.assign(&messages),
            [Some(1), Some(1), None, Some(3), Some(3)]
        );
    }

    #[test]
    fn what_opencode_read_for_the_model_is_not_what_the_client_said() {
        let parts = json!([
            { "id": "1", "sessionID": "s", "messageID": "m", "type": "text", "text": "see" },
            { "id": "2", "sessionID": "s", "messageID": "m", "type": "text", "text": "Called", "synthetic": true },
            { "id": "3", "sessionID": "s", "messageID": "m", "type": "file", "mime": "text/plain",
                "filename": "n.txt", "url": "data:text/plain;base64,aGk=" },
        ]);
        let mut one = prompt("m", None);
        one["parts"] = parts;
        let shown = message(stored(&json!([one])).pop().unwrap(), None, true);
        assert_eq!((&*shown.text, shown.reasoning), ("see", None));
        assert_eq!(shown.files[0].name.as_deref(), Some("n.txt"));
        assert!(shown.usage.is_none());
    }

    #[test]
    fn a_huge_text_is_cut_and_says_so() {
        let mut one = answer("a", "p");
        one["parts"] = json!([
            { "id": "1", "sessionID": "s", "messageID": "a", "type": "text", "text": "x".repeat(10 << 20) },
            { "id": "2", "sessionID": "s", "messageID": "a", "type": "tool", "tool": "bash", "callID": "c",
                "state": { "status": "completed", "input": { "command": "y".repeat(1 << 20) },
                    "output": "z".repeat(1 << 20), "metadata": { "exit": 0 }, "time": { "start": 1, "end": 2 } } },
        ]);
        let shown = message(stored(&json!([one])).pop().unwrap(), Some(1), false);
        assert!(shown.truncated && shown.tools[0].truncated);
        assert!(bytes(&shown) < 600 << 10, "{}", bytes(&shown));
    }
}
