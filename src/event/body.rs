//! An event and the types of events there are.

use std::sync::Arc;

use serde::Serialize;
use strum::{IntoStaticStr, VariantNames};
use utoipa::ToSchema;

use super::egress::Egress;
use super::failure::{Failure, FailureCode};
use super::prompt::PromptNote;
use super::request::{Permission, Question};
use super::status::{State, Status};
use super::tool::{ToolCall, ToolResult};
use super::usage::Usage;
use crate::clock::Timestamp;

/// Something that happened in a session.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Timestamp,
    /// The subagent it happened in; nothing for the session's own agent.
    pub(crate) agent: Option<Arc<Agent>>,
    pub(crate) body: Body,
    /// Nothing for what belongs to no part.
    pub(crate) note: Option<Note>,
}

/// How much of a part of the agent's answer is published, this event included. Clients do not see it: after a
/// restart of the sidecar it says where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// Which part; what else is in it is the driver's business.
    pub(crate) part: Arc<str>,
    /// Never less than before for the same part.
    pub(crate) value: u64,
}

/// A subagent. Shared by all its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Agent {
    /// The id that OpenCode gave the subagent's session.
    pub(crate) id: String,
    pub(crate) name: String,
    /// The id of the session whose agent called this one.
    pub(crate) parent: String,
}

/// What happened. Each variant is one type of event, and its payload has the fields of that type's JSON.
#[derive(Clone, Debug, Serialize, IntoStaticStr, VariantNames)]
#[serde(untagged)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum Body {
    Status(Status),
    Output(Output),
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    Error(Failure),
    Complete(Complete),
    Permission(Permission),
    Question(Question),
    Todo(Todo),
    Prompt(PromptNote),
    Egress(Egress),
}

/// More text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Output {
    #[serde(rename = "type")]
    pub(crate) channel: Channel,
    pub(crate) text: String,
    pub(crate) source: Source,
    /// The tool call that printed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(crate) call_id: Option<Arc<str>>,
    /// Text before this is missing, because there was too much of it at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub(crate) truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum Channel {
    Stdout,
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "of the contract; OpenCode joins both outputs of a command"
        )
    )]
    Stderr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum Source {
    Assistant,
    Tool,
    Reasoning,
}

/// The turn ended well.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct Complete {
    pub(crate) final_message: String,
    /// Absolute, sorted, without doubles.
    pub(crate) files_modified: Vec<String>,
    /// Those of `files_modified` that are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) files_deleted: Vec<String>,
    pub(crate) usage: Usage,
    pub(crate) duration_ms: u64,
    /// Why the model stopped: `stop`, `length`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finish_reason: Option<String>,
}

/// The agent's plan, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Todo {
    pub(crate) items: Vec<TodoItem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct TodoItem {
    pub(crate) content: String,
    pub(crate) status: String,
    pub(crate) priority: String,
}

// === impl Event ===

impl Event {
    /// An event of the session's own agent.
    pub(crate) const fn new(at: Timestamp, body: Body) -> Self {
        Self {
            at,
            agent: None,
            body,
            note: None,
        }
    }

    /// The name in the `event:` line.
    pub(crate) const fn kind(&self) -> &'static str {
        self.body.into_str()
    }

    /// How the turn ended, if this event ends it; with the code of a failure. Every turn has exactly one such event, and
    /// it is the last.
    pub(crate) const fn turn_end(&self) -> Option<(State, Option<FailureCode>)> {
        match &self.body {
            Body::Complete(_) => Some((State::Completed, None)),
            Body::Error(failure) if failure.fatal => Some((State::Failed, Some(failure.code))),
            Body::Status(status) if matches!(status.state, State::Cancelled) => {
                Some((State::Cancelled, None))
            }
            _ => None,
        }
    }

    /// Whether it ends the turn.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.turn_end().is_some()
    }

    /// Whether a reader gets it only when it asked for reasoning.
    pub(crate) const fn is_reasoning(&self) -> bool {
        matches!(
            &self.body,
            Body::Output(Output {
                source: Source::Reasoning,
                ..
            })
        )
    }
}
