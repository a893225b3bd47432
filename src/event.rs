//! What we publish: the closed vocabulary of a session's stream.
//!
//! Owns the types, their JSON and the bound on its size. [`Event::encode`] is the only way to the wire,
//! so nothing larger than [`encode::MAX_DATA`] gets there: text is split, everything else is cut and says so.
//! It does not know ids, cursors, heartbeats or gaps; those belong to the log and its readers. And it
//! knows nothing of OpenCode.

mod body;
mod egress;
mod encode;
mod failure;
mod merge;
mod prompt;
mod request;
mod shrink;
mod status;
#[cfg(test)]
mod tests;
mod tool;
mod usage;

pub(crate) use self::body::{
    Agent, Body, Channel, Complete, Event, Note, Output, Source, Todo, TodoItem,
};
pub(crate) use self::egress::{Egress, EgressDecision};
pub(crate) use self::encode::Encoded;
pub(crate) use self::encode::MAX_DATA;
pub(crate) use self::failure::{Failure, FailureCode};
pub(crate) use self::prompt::{PromptNote, PromptState};
pub(crate) use self::request::{
    AnsweredBy, Permission, PermissionRequest, PermissionStep, Question, QuestionStep, Reply,
};
pub(crate) use self::shrink::cut;
pub(crate) use self::status::{Phase, State, Status};
pub(crate) use self::tool::{ResultBody, ToolCall, ToolResult};
pub(crate) use self::usage::Usage;
