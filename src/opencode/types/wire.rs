//! The shapes on the wire, and their way into ours.
//!
//! Every field nobody needs is left out, and a field a later version may drop has a default.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::part::{WirePart, pass_on};
use super::{
    Delta, Event, MessageInfo, PermissionAsked, ProviderError, QuestionAsked, Role, SessionStatus,
    Text, Todo,
};

#[derive(Deserialize)]
pub(super) struct WireEnvelope<'a> {
    #[serde(borrow)]
    pub(super) directory: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) payload: Option<WirePayload<'a>>,
    #[serde(rename = "type", borrow)]
    pub(super) kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) properties: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct WirePayload<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) properties: Option<&'a RawValue>,
    #[serde(rename = "syncEvent")]
    pub(super) sync: Option<WireSync>,
}

#[derive(Deserialize)]
pub(super) struct WireSync {
    pub(super) seq: u64,
    #[serde(rename = "aggregateID")]
    pub(super) session: String,
}

#[derive(Deserialize)]
pub(super) struct WireHistory<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    pub(super) aggregate_id: String,
    pub(super) seq: u64,
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) data: &'a RawValue,
}

#[derive(Deserialize)]
pub(super) struct WireMessage<'a> {
    pub(super) info: WireInfo,
    #[serde(borrow)]
    pub(super) parts: Vec<WirePart<'a>>,
}

#[derive(Deserialize)]
pub(super) struct WireDelta {
    #[serde(rename = "sessionID")]
    pub(super) session: String,
    #[serde(rename = "messageID")]
    pub(super) message: String,
    #[serde(rename = "partID")]
    pub(super) part: String,
    pub(super) field: String,
    pub(super) delta: Text,
}

#[derive(Deserialize)]
pub(super) struct WirePartUpdated<'a> {
    #[serde(borrow)]
    pub(super) part: WirePart<'a>,
    pub(super) time: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct WireMessageUpdated {
    pub(super) info: WireInfo,
}

#[derive(Deserialize)]
pub(super) struct WireInfo {
    pub(super) id: String,
    #[serde(rename = "sessionID")]
    pub(super) session: String,
    pub(super) role: WireRole,
    #[serde(rename = "parentID")]
    pub(super) parent: Option<String>,
    pub(super) agent: Option<String>,
    #[serde(default)]
    pub(super) summary: WireSummary,
    #[serde(default)]
    pub(super) time: WireMessageTime,
    pub(super) finish: Option<String>,
    pub(super) error: Option<WireError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WireRole {
    User,
    Assistant,
}

/// `true` on an assistant's summary, and an object of diffs on a user's message.
#[derive(Default)]
pub(super) struct WireSummary(pub(super) bool);

#[derive(Default, Deserialize)]
pub(super) struct WireMessageTime {
    #[serde(default)]
    pub(super) created: u64,
    pub(super) completed: Option<u64>,
}

#[derive(Default, Deserialize)]
pub(super) struct WireError {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) data: WireErrorData,
}

#[derive(Default, Deserialize)]
pub(super) struct WireErrorData {
    pub(super) message: Option<Text>,
    #[serde(rename = "statusCode")]
    pub(super) status: Option<u16>,
    #[serde(rename = "isRetryable", default)]
    pub(super) retryable: bool,
}

#[derive(Deserialize)]
pub(super) struct WireSession {
    #[serde(rename = "sessionID")]
    pub(super) session: String,
}

#[derive(Deserialize)]
pub(super) struct WireSessionUpdated {
    pub(super) info: WireSessionInfo,
}

#[derive(Deserialize)]
pub(super) struct WireSessionInfo {
    pub(super) id: String,
    #[serde(rename = "parentID")]
    pub(super) parent: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) title: Option<Text>,
}

#[derive(Deserialize)]
pub(super) struct WireSessionStatus {
    #[serde(rename = "sessionID")]
    pub(super) session: String,
    pub(super) status: WireStatus,
}

#[derive(Deserialize)]
pub(super) struct WireStatus {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) attempt: u64,
    pub(super) message: Option<Text>,
    #[serde(default)]
    pub(super) next: u64,
}

#[derive(Deserialize)]
pub(super) struct WireSessionError {
    #[serde(rename = "sessionID")]
    pub(super) session: Option<String>,
    pub(super) error: Option<WireError>,
}

#[derive(Deserialize)]
pub(super) struct WireCall {
    #[serde(rename = "callID")]
    pub(super) call: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct WirePermission<'a> {
    pub(super) id: String,
    #[serde(rename = "sessionID")]
    pub(super) session: String,
    #[serde(default)]
    pub(super) permission: String,
    #[serde(default)]
    pub(super) patterns: Vec<String>,
    #[serde(default)]
    pub(super) always: Vec<String>,
    #[serde(borrow)]
    pub(super) metadata: Option<&'a RawValue>,
    pub(super) tool: Option<WireCall>,
}

#[derive(Deserialize)]
pub(super) struct WireQuestion<'a> {
    pub(super) id: String,
    #[serde(rename = "sessionID")]
    pub(super) session: String,
    #[serde(borrow)]
    pub(super) questions: &'a RawValue,
    pub(super) tool: Option<WireCall>,
}

#[derive(Deserialize)]
pub(super) struct WireReplied {
    #[serde(rename = "sessionID")]
    pub(super) session: String,
    #[serde(rename = "requestID")]
    pub(super) request: String,
    pub(super) reply: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct WireTodos {
    #[serde(rename = "sessionID")]
    pub(super) session: String,
    pub(super) todos: Vec<WireTodo>,
}

#[derive(Deserialize)]
pub(super) struct WireTodo {
    pub(super) content: Text,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) priority: String,
}

#[derive(Deserialize)]
pub(super) struct WireDisposed {
    pub(super) directory: Option<String>,
}

// === impl Wire* ===

impl WireDelta {
    pub(super) fn into_event(self) -> Event {
        let Self {
            session,
            message,
            part,
            field,
            delta: more,
        } = self;
        Event::Delta(Delta {
            session,
            message,
            part,
            field,
            more,
        })
    }
}

impl WireInfo {
    pub(super) fn into_info(self) -> MessageInfo {
        MessageInfo {
            id: self.id,
            session: self.session,
            role: match self.role {
                WireRole::User => Role::User,
                WireRole::Assistant => Role::Assistant,
            },
            parent: self.parent,
            agent: self.agent,
            summary: self.summary.0,
            created: self.time.created,
            completed: self.time.completed,
            finish: self.finish,
            error: self.error.map(WireError::into_error),
        }
    }
}

impl<'de> Deserialize<'de> for WireSummary {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = WireSummary;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a summary")
            }
            fn visit_bool<E>(self, summary: bool) -> Result<WireSummary, E> {
                Ok(WireSummary(summary))
            }
            fn visit_unit<E>(self) -> Result<WireSummary, E> {
                Ok(WireSummary(false))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<WireSummary, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(WireSummary(false))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl WireError {
    pub(super) fn into_error(self) -> ProviderError {
        ProviderError {
            name: self.name,
            message: self.data.message.map(Text::into_whole).unwrap_or_default(),
            status: self.data.status,
            retryable: self.data.retryable,
        }
    }
}

impl WireStatus {
    pub(super) fn into_status(self) -> SessionStatus {
        match &*self.kind {
            "idle" => SessionStatus::Idle,
            "busy" => SessionStatus::Busy,
            "retry" => SessionStatus::Retry {
                attempt: self.attempt,
                message: self.message.map(Text::into_whole).unwrap_or_default(),
                next: self.next,
            },
            _ => SessionStatus::Other,
        }
    }
}

impl WirePermission<'_> {
    pub(super) fn into_event(self) -> Event {
        Event::PermissionAsked(PermissionAsked {
            id: self.id,
            session: self.session,
            permission: self.permission,
            patterns: self.patterns,
            always: self.always,
            metadata: self.metadata.map(pass_on),
            call: self.tool.and_then(|tool| tool.call),
        })
    }
}

impl WireQuestion<'_> {
    pub(super) fn into_event(self) -> Event {
        Event::QuestionAsked(QuestionAsked {
            id: self.id,
            session: self.session,
            questions: pass_on(self.questions),
            call: self.tool.and_then(|tool| tool.call),
        })
    }
}

impl WireTodos {
    pub(super) fn into_event(self) -> Event {
        let todos = self.todos.into_iter().map(|todo| Todo {
            content: todo.content.into_whole(),
            status: todo.status,
            priority: todo.priority,
        });
        Event::Todos {
            session: self.session,
            todos: todos.collect(),
        }
    }
}
