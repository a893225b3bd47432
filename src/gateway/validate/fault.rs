//! Why an answer cannot be used.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Fault {
    /// What is wrong with it, to follow "the provider's answer cannot be used: ".
    Bad(&'static str),
    /// The provider says in an event that it failed: the event's JSON, redacted.
    Told(String),
}

pub(super) const NO_STREAM: &str = "it is not an event stream";
pub(super) const EMPTY: &str = "it is empty";
pub(super) const ENDLESS_EVENT: &str = "one of its events does not end";
pub(super) const NO_CONTENT: &str = "its stream ended without any content";
pub(super) const CUT_CALL: &str = "its stream ended in the middle of a tool call";
pub(super) const ONLY_REASONING: &str = "its stream ended after the reasoning, without an answer";
pub(super) const UNNAMED_CALL: &str = "a tool call in it has no id or no name";
pub(super) const SAME_INDEX: &str = "two tool calls in it have the same index";
pub(super) const FOREIGN: &str = "it holds an event that is not of the provider's dialect";
pub(in crate::gateway) const BROKE_OFF: &str = "its stream broke off before there was any content";
