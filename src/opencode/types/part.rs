//! The parts of a message: text, reasoning, tool calls, and what a step cost.
//!
//! All kinds are read in one pass through one wide struct, as their fields do not clash.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::raw::{Raw, pass_on};
use super::text::Text;

#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) id: String,
    pub(crate) session: String,
    pub(crate) message: String,
    /// When this state of it was stored, in milliseconds since 1970; a messages list does not say.
    pub(crate) time: Option<u64>,
    pub(crate) kind: PartKind,
}

#[derive(Debug)]
pub(crate) enum PartKind {
    Text {
        text: Text,
        ended: bool,
    },
    Reasoning {
        text: Text,
        ended: bool,
    },
    Tool(Box<ToolPart>),
    StepStart,
    StepFinish(StepFinish),
    /// Files that differ since the step began, by whomever.
    Patch {
        files: Vec<String>,
    },
    Compaction,
    Other,
}

#[derive(Debug)]
pub(crate) struct ToolPart {
    pub(crate) tool: String,
    pub(crate) call: String,
    pub(crate) state: ToolState,
}

#[derive(Debug)]
pub(crate) struct ToolState {
    pub(crate) status: ToolStatus,
    /// Valid JSON without lone surrogates.
    pub(crate) input: Option<Raw>,
    pub(crate) output: Option<Text>,
    pub(crate) error: Option<Text>,
    pub(crate) title: Option<String>,
    pub(crate) metadata: ToolMetadata,
    pub(crate) start: Option<u64>,
    pub(crate) end: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ToolStatus {
    Pending,
    Running,
    Completed,
    Error,
}

/// What the tools we know say besides their output. A field of another shape counts as absent.
#[derive(Debug, Default)]
pub(crate) struct ToolMetadata {
    /// All output so far, or `...`, an empty line and the last 30 000 code units of it.
    pub(crate) output: Option<Text>,
    /// Absent in a result: the command did not exit by itself.
    pub(crate) exit: Option<i64>,
    pub(crate) truncated: bool,
    /// The text of a file without line numbers.
    pub(crate) file_text: Option<Text>,
    /// `write`: the file it wrote.
    pub(crate) file: Option<String>,
    /// `apply_patch`: what became of each file.
    pub(crate) files: Vec<PatchedFile>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PatchedFile {
    #[serde(rename = "filePath")]
    pub(crate) path: String,
    #[serde(rename = "movePath")]
    pub(crate) moved_to: Option<String>,
    #[serde(rename = "type", default)]
    pub(crate) change: String,
}

/// What one call of the model cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct StepFinish {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) reasoning: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
    pub(crate) cost: f64,
}

#[derive(Deserialize)]
pub(super) struct RawPart<'a> {
    id: String,
    #[serde(rename = "sessionID")]
    session: String,
    #[serde(rename = "messageID")]
    message: String,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    text: Option<Text>,
    #[serde(default)]
    time: RawTime,
    tool: Option<String>,
    #[serde(rename = "callID")]
    call: Option<String>,
    #[serde(borrow)]
    state: Option<RawState<'a>>,
    #[serde(default)]
    tokens: RawTokens,
    #[serde(default)]
    cost: f64,
    #[serde(borrow)]
    files: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct RawTime {
    start: Option<u64>,
    end: Option<u64>,
}

#[derive(Deserialize)]
struct RawState<'a> {
    status: ToolStatus,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    output: Option<Text>,
    error: Option<Text>,
    title: Option<Text>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(default)]
    time: RawTime,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawTokens {
    input: u64,
    output: u64,
    reasoning: u64,
    cache: RawCache,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCache {
    read: u64,
    write: u64,
}

/// Each field is read by itself, so that one of a foreign shape does not spoil the others.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMetadata<'a> {
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    exit: Option<&'a RawValue>,
    #[serde(borrow)]
    truncated: Option<&'a RawValue>,
    #[serde(borrow)]
    display: Option<&'a RawValue>,
    #[serde(borrow)]
    filepath: Option<&'a RawValue>,
    #[serde(borrow)]
    files: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawDisplay {
    text: Option<Text>,
    #[serde(default)]
    truncated: bool,
}

// === impl RawPart ===

impl RawPart<'_> {
    pub(super) fn is_file(&self) -> bool {
        self.kind == "file"
    }

    pub(super) fn into_part(self, time: Option<u64>) -> Part {
        let text = self.text.unwrap_or_default();
        let ended = self.time.end.is_some();
        let kind = match (&*self.kind, self.tool, self.state) {
            ("text", ..) => PartKind::Text { text, ended },
            ("reasoning", ..) => PartKind::Reasoning { text, ended },
            ("tool", Some(tool), Some(state)) => PartKind::Tool(Box::new(ToolPart {
                tool,
                call: self.call.unwrap_or_else(|| self.id.clone()),
                state: state.into_state(),
            })),
            ("step-start", ..) => PartKind::StepStart,
            ("step-finish", ..) => PartKind::StepFinish(StepFinish {
                input: self.tokens.input,
                output: self.tokens.output,
                reasoning: self.tokens.reasoning,
                cache_read: self.tokens.cache.read,
                cache_write: self.tokens.cache.write,
                cost: self.cost,
            }),
            ("patch", ..) => PartKind::Patch {
                files: read(self.files).unwrap_or_default(),
            },
            ("compaction", ..) => PartKind::Compaction,
            _ => PartKind::Other,
        };
        Part {
            id: self.id,
            session: self.session,
            message: self.message,
            time,
            kind,
        }
    }
}

// === impl RawState ===

impl RawState<'_> {
    fn into_state(self) -> ToolState {
        ToolState {
            status: self.status,
            input: self.input.map(pass_on),
            output: self.output,
            error: self.error,
            title: self.title.map(Text::into_whole),
            metadata: read::<RawMetadata<'_>>(self.metadata)
                .unwrap_or_default()
                .into_metadata(),
            start: self.time.start,
            end: self.time.end,
        }
    }
}

// === impl RawMetadata ===

impl RawMetadata<'_> {
    fn into_metadata(self) -> ToolMetadata {
        let display = read::<RawDisplay>(self.display);
        let cut = display.as_ref().is_some_and(|display| display.truncated);
        ToolMetadata {
            output: read(self.output),
            exit: read(self.exit),
            truncated: cut || read(self.truncated).unwrap_or_default(),
            file_text: display.and_then(|display| display.text),
            file: read(self.filepath),
            files: read(self.files).unwrap_or_default(),
        }
    }
}

/// A value of the expected shape, or nothing.
fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}
