//! A conversation as OpenCode has stored it: everything a reader of old messages wants, which is more than the
//! events of a running turn need.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::decode::DecodeError;
use super::event::{ProviderError, Role};
use super::part::{Part, RawPart, StepFinish};
use super::text::{self, Text};

/// A stored message with its parts, in their order.
#[derive(Debug)]
pub(crate) struct StoredMessage {
    pub(crate) id: String,
    pub(crate) role: Role,
    /// The prompt that this answers.
    pub(crate) parent: Option<String>,
    pub(crate) agent: Option<String>,
    /// In milliseconds since 1970, like `completed`.
    pub(crate) created: u64,
    pub(crate) completed: Option<u64>,
    pub(crate) finish: Option<String>,
    pub(crate) error: Option<ProviderError>,
    /// It is the summary that a compaction wrote.
    pub(crate) is_summary: bool,
    pub(crate) tokens: StepFinish,
    /// Of a prompt: what its turn changed in the git work tree.
    pub(crate) diffs: Vec<StoredDiff>,
    pub(crate) parts: Vec<StoredPart>,
}

/// A part, and what only a reader of stored messages wants to know of it.
#[derive(Debug)]
pub(crate) struct StoredPart {
    pub(crate) part: Part,
    /// OpenCode wrote it into the prompt, not whoever prompted.
    pub(crate) is_synthetic: bool,
    /// A client began what it belongs to (a summary, or a command), and not OpenCode by itself.
    pub(crate) is_task: bool,
    pub(crate) label: Option<PromptLabel>,
    /// A file that was sent along with a prompt.
    pub(crate) file: Option<StoredFile>,
    /// What an `edit` changed.
    pub(crate) diff: Option<StoredDiff>,
    /// `write`: the file was there before.
    pub(crate) existed: bool,
}

/// What we write on the prompts we send, to know them again. It is kept with the prompt, also in a fork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PromptLabel {
    pub(crate) session: String,
    pub(crate) turn: u32,
    /// Which trace the turn is: our plugin gives it to commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StoredFile {
    #[serde(default, rename = "filename", deserialize_with = "text::optional")]
    pub(crate) name: Option<String>,
    pub(crate) mime: String,
}

/// One file's change. `patch` is empty for a binary file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct StoredDiff {
    #[serde(deserialize_with = "text::required")]
    pub(crate) file: String,
    #[serde(deserialize_with = "text::required")]
    pub(crate) patch: String,
    pub(crate) additions: u64,
    pub(crate) deletions: u64,
    /// `added`, `modified` or `deleted`.
    pub(crate) status: String,
}

/// `GET /session/{id}`, and each of the list of subagents.
#[derive(Debug, Deserialize)]
pub(crate) struct StoredSession {
    pub(crate) id: String,
    #[serde(rename = "parentID")]
    pub(crate) parent: Option<String>,
    pub(crate) agent: Option<String>,
    #[serde(default, deserialize_with = "text::optional")]
    pub(crate) title: Option<String>,
    #[serde(default)]
    pub(crate) time: StoredTimes,
    #[serde(default, rename = "tokens", deserialize_with = "tokens")]
    pub(crate) tokens: StepFinish,
    #[serde(default)]
    pub(crate) cost: f64,
    /// What is undone, until the next prompt removes it for good.
    pub(crate) revert: Option<Revert>,
    /// The session's rules, as they were given.
    #[serde(default, rename = "permission")]
    pub(crate) rules: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StoredTimes {
    pub(crate) created: u64,
    pub(crate) updated: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Revert {
    #[serde(rename = "messageID")]
    pub(crate) message: String,
    /// The state of the files before; only in a git work tree.
    pub(crate) snapshot: Option<String>,
    /// What the undoing changed in the files.
    #[serde(default, deserialize_with = "text::optional")]
    pub(crate) diff: Option<String>,
}

/// What OpenCode says to the model before the output of a command of the client.
const CLIENT_COMMAND: &str = "The following tool was executed by the user";

/// Reads the answer of `GET /session/{id}/message`.
pub(crate) fn stored_messages(body: &[u8]) -> Result<Vec<StoredMessage>, DecodeError> {
    let messages: Vec<RawMessage<'_>> = list("messages", body)?;
    messages
        .into_iter()
        .map(RawMessage::into_message)
        .collect::<Result<_, _>>()
        .map_err(|source| DecodeError::List {
            what: "messages",
            source,
        })
}

/// Reads the answer of `GET /session/{id}/message/{message}`.
pub(crate) fn stored_message(body: &[u8]) -> Result<StoredMessage, DecodeError> {
    let message: RawMessage<'_> = list("parts of a message", body)?;
    message.into_message().map_err(|source| DecodeError::List {
        what: "parts of a message",
        source,
    })
}

fn list<'a, T: Deserialize<'a>>(what: &'static str, body: &'a [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(body).map_err(|source| DecodeError::List { what, source })
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    info: RawInfo<'a>,
    #[serde(borrow)]
    parts: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawInfo<'a> {
    id: String,
    role: Role,
    #[serde(rename = "parentID")]
    parent: Option<String>,
    agent: Option<String>,
    time: RawTimes,
    finish: Option<String>,
    error: Option<ProviderError>,
    /// `true` on the answer of a compaction, an object with the changes on a prompt.
    #[serde(borrow)]
    summary: Option<&'a RawValue>,
    #[serde(default, rename = "tokens", deserialize_with = "tokens")]
    tokens: StepFinish,
    #[serde(default)]
    cost: f64,
}

#[derive(Deserialize)]
struct RawTimes {
    created: u64,
    completed: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSummary {
    diffs: Vec<StoredDiff>,
}

/// What [`RawPart`] leaves out. A field of another shape counts as absent.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RawExtras<'a> {
    synthetic: bool,
    /// Of a compaction: OpenCode began it.
    auto: Option<bool>,
    text: Option<Text>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    state: Option<RawState<'a>>,
}

#[derive(Deserialize)]
struct RawState<'a> {
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawToolMetadata {
    exists: bool,
    #[serde(rename = "filediff")]
    diff: Option<StoredDiff>,
}

#[derive(Deserialize)]
struct RawLabel {
    sidecar: PromptLabel,
}

// === impl RawMessage ===

impl RawMessage<'_> {
    fn into_message(self) -> Result<StoredMessage, serde_json::Error> {
        let Self { info, parts } = self;
        let parts = parts.into_iter().map(part).collect::<Result<_, _>>()?;
        let summary = info.summary.map_or("", RawValue::get);
        let diffs = serde_json::from_str::<RawSummary>(summary).unwrap_or_default();
        Ok(StoredMessage {
            id: info.id,
            role: info.role,
            parent: info.parent,
            agent: info.agent,
            created: info.time.created,
            completed: info.time.completed,
            finish: info.finish,
            error: info.error,
            is_summary: summary == "true",
            tokens: StepFinish {
                cost: info.cost,
                ..info.tokens
            },
            diffs: diffs.diffs,
            parts,
        })
    }
}

fn part(raw: &RawValue) -> Result<StoredPart, serde_json::Error> {
    let part: RawPart<'_> = serde_json::from_str(raw.get())?;
    let extras: RawExtras<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
    let metadata = extras.state.and_then(|state| state.metadata);
    let of_tool: RawToolMetadata = metadata
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    let label = extras
        .metadata
        .and_then(|raw| serde_json::from_str(raw.get()).ok());
    let file = part
        .is_file()
        .then(|| serde_json::from_str(raw.get()).ok())
        .flatten();
    Ok(StoredPart {
        part: part.into_part(None),
        is_synthetic: extras.synthetic,
        is_task: extras.auto == Some(false)
            || (extras.synthetic
                && extras
                    .text
                    .is_some_and(|text| text.into_whole() == CLIENT_COMMAND)),
        label: label.map(|RawLabel { sidecar }| sidecar),
        file,
        diff: of_tool.diff,
        existed: of_tool.exists,
    })
}

/// As a message or a session has them: the same fields as a part's, without the cost.
fn tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StepFinish, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Tokens {
        input: u64,
        output: u64,
        reasoning: u64,
        cache: Cache,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Cache {
        read: u64,
        write: u64,
    }
    let tokens = Tokens::deserialize(deserializer)?;
    Ok(StepFinish {
        input: tokens.input,
        output: tokens.output,
        reasoning: tokens.reasoning,
        cache_read: tokens.cache.read,
        cache_write: tokens.cache.write,
        cost: 0.0,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::opencode::types::PartKind;

    #[test]
    fn a_prompt_has_its_label_its_files_and_what_its_turn_changed() {
        let body = json!([{
            "info": { "id": "msg_1", "sessionID": "ses_1", "role": "user", "time": { "created": 7 },
                "agent": "build", "summary": { "diffs": [{ "file": "a", "patch": "@@", "additions": 1,
                    "deletions": 2, "status": "modified" }] } },
            "parts": [
                { "id": "prt_1", "sessionID": "ses_1", "messageID": "msg_1", "type": "text", "text": "hi",
                    "metadata": { "sidecar": { "session": "s1", "turn": 3 } } },
                { "id": "prt_2", "sessionID": "ses_1", "messageID": "msg_1", "type": "text",
                    "text": "Called the Read tool", "synthetic": true, "metadata": 7 },
                { "id": "prt_3", "sessionID": "ses_1", "messageID": "msg_1", "type": "file",
                    "mime": "text/plain", "filename": "n.txt", "url": "data:" },
            ],
        }]);
        let messages = stored_messages(body.to_string().as_bytes()).unwrap();
        let [message] = &messages[..] else {
            panic!("{messages:?}")
        };
        assert_eq!((message.created, message.completed), (7, None));
        assert!(!message.is_summary);
        assert_eq!(message.diffs[0].status, "modified");
        let label = message.parts[0].label.as_ref().unwrap();
        assert_eq!((&*label.session, label.turn), ("s1", 3));
        assert!(message.parts[1].is_synthetic && message.parts[1].label.is_none());
        let file = message.parts[2].file.as_ref().unwrap();
        assert_eq!(
            (file.name.as_deref(), &*file.mime),
            (Some("n.txt"), "text/plain")
        );
    }

    #[test]
    fn an_answer_has_its_tokens_and_what_its_tools_changed() {
        let body = json!({
            "info": { "id": "msg_2", "sessionID": "ses_1", "role": "assistant", "parentID": "msg_1",
                "time": { "created": 8, "completed": 9 }, "summary": true, "cost": 0.5, "finish": "stop",
                "tokens": { "input": 1, "output": 2, "reasoning": 3, "cache": { "read": 4, "write": 5 } } },
            "parts": [{ "id": "prt_4", "sessionID": "ses_1", "messageID": "msg_2", "type": "tool",
                "callID": "c", "tool": "edit", "state": { "status": "completed", "input": {},
                    "output": "", "metadata": { "exists": true, "filediff": { "file": "/w/a", "patch": "p" } } } }],
        });
        let message = stored_message(body.to_string().as_bytes()).unwrap();
        assert!(message.is_summary && message.diffs.is_empty());
        assert_eq!((message.tokens.cache_write, message.tokens.cost), (5, 0.5));
        let part = &message.parts[0];
        assert!(part.existed && matches!(part.part.kind, PartKind::Tool(_)));
        assert_eq!(part.diff.as_ref().unwrap().file, "/w/a");
    }
}
