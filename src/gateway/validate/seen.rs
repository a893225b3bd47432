//! What was seen of one answer: whether it said anything, its tool calls, its token counts.
//!
//! The same for all dialects, so that the decision how an answer ended is made in one place.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::delta::{says, written};
use super::fault::{CUT_CALL, NO_CONTENT, ONLY_REASONING};
use crate::gateway::tool_arguments::ToolArguments;
use crate::gateway::usage::Tokens;
use crate::provider::Dialect;

/// At most this much of the content decides whether two answers are the same.
const DIGESTED: usize = 4 << 10;

#[derive(Debug)]
pub(super) struct Seen {
    pub(super) dialect: Dialect,
    pub(super) text: bool,
    pub(super) reasoning: bool,
    /// By the number that their pieces carry.
    pub(super) calls: BTreeMap<u64, Call>,
    pub(super) finish: Option<Finish>,
    pub(super) tokens: Option<Tokens>,
    hasher: DefaultHasher,
    /// How much was said.
    length: usize,
    arguments: Arc<ToolArguments>,
}

/// A tool call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: String,
    /// Whether all of its arguments have come.
    pub(super) whole: bool,
    pub(super) nesting: Nesting,
}

/// Why an answer ended, as the provider says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Calls,
    /// The limit of tokens, a filter or a refusal: it explains why there may be nothing.
    Limited,
    /// A reason after which OpenCode's client calls again.
    Unknown,
}

/// Whether the pieces of a JSON text make up a whole object so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nesting {
    depth: u32,
    in_string: bool,
    escaped: bool,
    closed: bool,
}

// === impl Seen ===

impl Seen {
    pub(super) fn new(dialect: Dialect, arguments: Arc<ToolArguments>) -> Self {
        Self {
            dialect,
            text: false,
            reasoning: false,
            calls: BTreeMap::new(),
            finish: None,
            tokens: None,
            hasher: DefaultHasher::new(),
            length: 0,
            arguments,
        }
    }

    /// Whether there is anything that may be shown.
    pub(super) fn has_content(&self) -> bool {
        self.text
            || self.reasoning
            || !self.calls.is_empty()
            || self.finish == Some(Finish::Limited)
    }

    /// A piece of the answer, if it is one.
    pub(super) fn said<'a>(&mut self, text: Option<&'a RawValue>) -> Option<&'a RawValue> {
        let text = text.filter(|text| says(text))?;
        self.text = true;
        self.digest(written(text));
        Some(text)
    }

    /// A piece of the reasoning, if it is one.
    pub(super) fn reasoned<'a>(&mut self, text: Option<&'a RawValue>) -> Option<&'a RawValue> {
        let text = text.filter(|text| says(text))?;
        self.reasoning = true;
        self.digest(written(text));
        Some(text)
    }

    /// A tool call begins; one that had the same number is forgotten and returned.
    pub(super) fn call(&mut self, index: u64, id: &str, name: &str) -> Option<Call> {
        self.digest(name.as_bytes());
        self.arguments.begin(id);
        let call = Call {
            id: id.to_owned(),
            whole: false,
            nesting: Nesting::default(),
        };
        self.calls.insert(index, call)
    }

    /// A piece of a tool call's arguments.
    pub(super) fn argued(&mut self, index: u64, piece: &str) {
        self.digest(piece.as_bytes());
        if let Some(call) = self.calls.get_mut(&index) {
            call.nesting.add(piece);
            self.arguments.append(&call.id, piece);
        }
    }

    /// All of a tool call's arguments have come.
    pub(super) fn close_call(&mut self, index: u64) {
        if let Some(call) = self.calls.get_mut(&index) {
            call.whole = true;
        }
    }

    /// Token counts. They only grow: providers repeat running totals, so each keeps its largest value.
    pub(super) fn count(&mut self, usage: Option<&RawValue>) {
        let counted = usage.and_then(|usage| Tokens::read(self.dialect, usage.get()));
        if let Some(counted) = counted {
            self.tokens = Some(self.tokens.unwrap_or_default().max(counted));
        }
    }

    /// The token counts of a body that is one JSON text.
    pub(super) fn count_body(&mut self, body: &[u8]) {
        self.tokens = self.tokens.or(Tokens::read_body(self.dialect, body));
    }

    /// Whether the answer ended well: `None` if it did, the reason to add if that is all that lacks, or what
    /// is wrong. `cut` says that a tool call is not whole.
    pub(super) fn ending(&self, cut: bool) -> Result<Option<Finish>, &'static str> {
        match self.finish {
            Some(Finish::Limited) => return Ok(None),
            _ if cut => return Err(CUT_CALL),
            Some(Finish::Stop) if self.has_content() => return Ok(None),
            Some(Finish::Calls) if !self.calls.is_empty() => return Ok(None),
            _ => {}
        }
        self.missing_finish().map(Some)
    }

    /// The reason for which an answer must have ended that gives none, or a wrong one.
    pub(super) fn missing_finish(&self) -> Result<Finish, &'static str> {
        if !self.calls.is_empty() {
            Ok(Finish::Calls)
        } else if self.text {
            Ok(Finish::Stop)
        } else if self.reasoning {
            Err(ONLY_REASONING)
        } else {
            Err(NO_CONTENT)
        }
    }

    pub(super) fn has_cut_call(&self) -> bool {
        self.calls.values().any(|call| !call.whole)
    }

    /// Content that decides whether two answers are the same.
    pub(super) fn digest(&mut self, said: &[u8]) {
        let room = DIGESTED.saturating_sub(self.length).min(said.len());
        self.hasher.write(said.get(..room).unwrap_or_default());
        self.length += said.len();
    }

    /// The same for two answers that say the same.
    pub(super) fn finished_digest(&self) -> u64 {
        let mut hasher = self.hasher.clone();
        hasher.write_usize(self.length);
        hasher.finish()
    }
}

// === impl Nesting ===

impl Nesting {
    fn add(&mut self, piece: &str) {
        for byte in piece.bytes() {
            if std::mem::take(&mut self.escaped) {
                continue;
            }
            match byte {
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => {
                    self.depth = self.depth.saturating_sub(1);
                    self.closed = self.depth == 0;
                }
                _ => {}
            }
        }
    }

    pub(super) const fn is_whole(self) -> bool {
        self.closed && self.depth == 0 && !self.in_string
    }
}
