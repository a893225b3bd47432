//! A span as it is handed to the exporter, when it has ended.

use std::borrow::Cow;
use std::time::SystemTime;

use super::context::{SpanId, TraceContext};
use crate::clock::Timestamp;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    pub(super) context: TraceContext,
    pub(super) parent: Option<SpanId>,
    pub(super) name: Cow<'static, str>,
    pub(super) kind: Kind,
    /// In nanoseconds since 1970, like every time here.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Vec<Attribute>,
    pub(super) events: Vec<SpanEvent>,
    /// Spans of other traces that it belongs to.
    pub(super) links: Vec<TraceContext>,
    /// What kind of failure it ended with; it is an attribute too.
    pub(super) error: Option<Cow<'static, str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Internal,
    Server,
    Client,
}

pub(crate) type Attribute = (&'static str, Value);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
    Float(f64),
    Flag(bool),
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SpanEvent {
    pub(super) at: u64,
    pub(super) name: &'static str,
    pub(super) attributes: Vec<Attribute>,
}

/// The present time.
pub(crate) fn now() -> u64 {
    nanos(SystemTime::now())
}

pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

pub(super) const fn of_timestamp(at: Timestamp) -> u64 {
    at.as_millis().saturating_mul(1_000_000)
}

// === impl Span ===

impl Span {
    pub(super) fn new(
        context: TraceContext,
        parent: Option<SpanId>,
        name: impl Into<Cow<'static, str>>,
        kind: Kind,
        (start, end): (u64, u64),
    ) -> Self {
        Self {
            context,
            parent,
            name: name.into(),
            kind,
            start,
            // A clock that is set back makes no span negative.
            end: end.max(start),
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            error: None,
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    pub(super) fn with_some(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// `error.type`, as the conventions have it, and the status.
    pub(super) fn failed(mut self, kind: Option<impl Into<Cow<'static, str>>>) -> Self {
        if let Some(kind) = kind {
            let kind = kind.into();
            self.attributes
                .push(("error.type", Value::Text(kind.to_string())));
            self.error = Some(kind);
        }
        self
    }
}

// === impl Value ===

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}
