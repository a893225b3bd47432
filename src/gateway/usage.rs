//! Reads token counts from an answer as it passes.
//!
//! [`Tap`] sees every byte and keeps at most one line of a stream, and of a line or body that is too long
//! only its end, where the counts are. Whatever the network does to the chunks, the numbers are the same
//! (property). Counts only grow: providers repeat running totals, so each field keeps its largest value.

use std::sync::Arc;

use serde::Deserialize;

use super::tool_arguments::{Reader, ToolArguments};
use crate::provider::Dialect;

/// What one call cost. `input` holds `cached`, and `output` holds `reasoning`, in every dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cached: u64,
    pub(crate) reasoning: u64,
}

/// How the counts are laid out in what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `text/event-stream`.
    Stream,
    /// One JSON text.
    Json,
}

/// Reads the counts of one answer.
#[derive(Debug)]
pub(super) struct Tap {
    dialect: Dialect,
    format: Format,
    /// The unfinished line (of a JSON answer: all of it), or its last bytes.
    held: Vec<u8>,
    /// The line is longer than what is held.
    cut: bool,
    tokens: Option<Tokens>,
    calls: Option<Reader>,
}

/// A line is held whole up to here. Anything longer is one of the events that repeat a whole answer.
const MAX_LINE: usize = 256 * 1024;
/// What is kept of the end of a longer line. `usage` follows the output; only small fields come after it.
const TAIL: usize = 16 * 1024;

#[derive(Deserialize)]
struct Chunk {
    usage: Option<Counts>,
    /// Responses: the last event holds the answer.
    response: Option<Holder>,
    /// Messages: the first event holds the input's counts.
    message: Option<Holder>,
}

#[derive(Deserialize)]
struct Holder {
    usage: Option<Counts>,
}

/// The three dialects' names for the same things.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Counts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    /// `DeepSeek`.
    prompt_cache_hit_tokens: Option<u64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
    output_tokens_details: Option<Details>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

// === impl Tokens ===

impl Tokens {
    pub(crate) const fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }

    pub(super) fn add(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cached = self.cached.saturating_add(other.cached);
        self.reasoning = self.reasoning.saturating_add(other.reasoning);
    }

    fn max(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cached: self.cached.max(other.cached),
            reasoning: self.reasoning.max(other.reasoning),
        }
    }
}

// === impl Counts ===

impl Counts {
    fn tokens(&self, dialect: Dialect) -> Tokens {
        let details = |details: &Option<Details>, field: fn(&Details) -> Option<u64>| {
            details.as_ref().and_then(field)
        };
        match dialect {
            Dialect::Chat => Tokens {
                input: self.prompt_tokens.unwrap_or_default(),
                output: self.completion_tokens.unwrap_or_default(),
                cached: details(&self.prompt_tokens_details, |d| d.cached_tokens)
                    .or(self.prompt_cache_hit_tokens)
                    .unwrap_or_default(),
                reasoning: details(&self.completion_tokens_details, |d| d.reasoning_tokens)
                    .unwrap_or_default(),
            },
            Dialect::Responses => Tokens {
                input: self.input_tokens.unwrap_or_default(),
                output: self.output_tokens.unwrap_or_default(),
                cached: details(&self.input_tokens_details, |d| d.cached_tokens)
                    .unwrap_or_default(),
                reasoning: details(&self.output_tokens_details, |d| d.reasoning_tokens)
                    .unwrap_or_default(),
            },
            Dialect::Messages => {
                let cached = self.cache_read_input_tokens.unwrap_or_default();
                let written = self.cache_creation_input_tokens.unwrap_or_default();
                Tokens {
                    // Anthropic counts what was cached apart.
                    input: self
                        .input_tokens
                        .unwrap_or_default()
                        .saturating_add(cached)
                        .saturating_add(written),
                    output: self.output_tokens.unwrap_or_default(),
                    cached,
                    reasoning: 0,
                }
            }
        }
    }
}

// === impl Tap ===

impl Tap {
    pub(super) const fn new(dialect: Dialect, format: Format) -> Self {
        Self {
            dialect,
            format,
            held: Vec::new(),
            cut: false,
            tokens: None,
            calls: None,
        }
    }

    /// Also keeps what the model writes as arguments of tool calls.
    pub(super) fn keeping(mut self, arguments: Arc<ToolArguments>) -> Self {
        self.calls = Some(Reader::new(self.dialect, arguments));
        self
    }

    /// Sees the next bytes. Says whether a line ended in them.
    pub(super) fn see(&mut self, chunk: &[u8]) -> bool {
        let mut rest = chunk;
        let mut ended = false;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(at);
            rest = after.get(1..).unwrap_or_default();
            ended = true;
            if self.format == Format::Json {
                // White space to JSON; providers send it to show that they are alive.
                self.hold(line);
                continue;
            }
            if self.held.is_empty() {
                self.read_line(line);
            } else {
                self.hold(line);
                self.finish_line();
            }
        }
        self.hold(rest);
        ended
    }

    /// What was read; `None` if the answer gave no counts.
    pub(super) fn finish(mut self) -> Option<Tokens> {
        self.finish_line();
        self.tokens
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        if self.held.len() > MAX_LINE {
            self.cut = true;
            self.held.drain(..self.held.len() - TAIL);
        }
    }

    fn finish_line(&mut self) {
        let held = std::mem::take(&mut self.held);
        if std::mem::take(&mut self.cut) {
            // Where the last cut fell depends on the chunks; the last bytes do not.
            let tail = held
                .get(held.len().saturating_sub(TAIL)..)
                .unwrap_or_default();
            self.read_tail(tail);
        } else if self.format == Format::Json {
            self.read_json(&held);
        } else {
            self.read_line(&held);
        }
        // One allocation serves a whole stream, unless a line made it large.
        if held.capacity() <= TAIL {
            self.held = held;
            self.held.clear();
        }
    }

    fn read_line(&mut self, line: &[u8]) {
        if line.len() > MAX_LINE {
            self.read_tail(line.get(line.len() - TAIL..).unwrap_or_default());
        } else if let Some(data) = line.strip_prefix(b"data:") {
            self.read_json(data);
        }
    }

    fn read_json(&mut self, json: &[u8]) {
        if let Some(calls) = &mut self.calls {
            calls.see(json);
        }
        // Nearly every line of a stream is text: it is not parsed.
        if memchr::memmem::find(json, b"\"usage\"").is_none() {
            return;
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk>(json) else {
            return;
        };
        let held = [chunk.response, chunk.message]
            .into_iter()
            .flatten()
            .filter_map(|holder| holder.usage);
        for counts in held.chain(chunk.usage) {
            self.count(&counts);
        }
    }

    /// Reads the last `"usage":{…}` of a text whose beginning is gone.
    fn read_tail(&mut self, tail: &[u8]) {
        let Some(at) = memchr::memmem::rfind(tail, b"\"usage\":") else {
            return;
        };
        let after = tail.get(at + b"\"usage\":".len()..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_slice(after).into_iter::<Counts>();
        if let Some(Ok(counts)) = values.next() {
            self.count(&counts);
        }
    }

    fn count(&mut self, counts: &Counts) {
        let seen = counts.tokens(self.dialect);
        if seen != Tokens::default() {
            self.tokens = Some(self.tokens.unwrap_or_default().max(seen));
        }
    }
}

#[cfg(test)]
mod tests;
