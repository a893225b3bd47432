//! Puts a session's model, temperature, limits and tools into a request body.
//!
//! The fields it owns are written first; every other field goes out with the bytes it came in with (white
//! space between fields is lost). Nothing large is copied: the result is a list of slices of the body.
//! An owned field that comes twice, or under an escaped name, cannot outlive its replacement. Pure; what
//! is not JSON comes back as an error and never as a panic.

use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;

use super::fix::Fixes;
use super::scan::{self, Member, ScanError};
use super::segments::Segments;
use crate::provider::Dialect;

/// What a call of one session is to say.
#[derive(Debug, Default)]
pub(super) struct Changes<'a> {
    pub(super) model: &'a str,
    /// `None` leaves what the child asked for; the same for the next.
    pub(super) temperature: Option<f64>,
    pub(super) max_tokens: Option<u32>,
    /// Responses only: without this, a reasoning model forgets its reasoning between two tool calls.
    pub(super) keep_reasoning: bool,
    /// `None`: every tool.
    pub(super) enabled_tools: Option<&'a [String]>,
    pub(super) fixes: Fixes,
}

/// Tools OpenCode adds for its own ends; they do nothing in the world.
const INTERNAL_TOOLS: [&str; 3] = ["invalid", "_noop", "StructuredOutput"];

const KEEP_REASONING: &[u8] = br#""include":["reasoning.encrypted_content"]"#;

/// Writes `changes` into `body`.
pub(super) fn rewrite(
    body: &Bytes,
    dialect: Dialect,
    changes: &Changes<'_>,
) -> Result<Segments, ScanError> {
    let members = scan::members(body)?;
    let mut kept = Vec::with_capacity(members.len());
    let mut limit = changes
        .max_tokens
        .map(|tokens| Bytes::from(tokens.to_string()));
    let mut tools = Tools::new(body, changes.enabled_tools);
    let mut unstored = false;
    let mut includes = false;
    for member in members {
        let name = scan::string(body, &member.key)?;
        match name.as_ref() {
            "model" => continue,
            "temperature" if changes.temperature.is_some() => continue,
            name if is_limit(dialect, name) => {
                limit.get_or_insert_with(|| body.slice(member.value));
                continue;
            }
            name if changes.fixes.drops(name) => continue,
            "store" => unstored = body.get(member.value.clone()) == Some(b"false"),
            "include" => includes = true,
            _ => {}
        }
        if name == "tools" {
            tools.filter(&member)?;
        }
        kept.push((name.into_owned(), member));
    }

    let mut out = Fields::new();
    out.new_field("model", &serde_json::Value::from(changes.model).to_string());
    if let Some(temperature) = changes
        .temperature
        .filter(|_| !changes.fixes.drops("temperature"))
    {
        out.new_field(
            "temperature",
            &temperature.min(dialect.temperature_cap()).to_string(),
        );
    }
    let limit_name = limit_name(dialect, changes.fixes);
    if let Some(limit) = limit.filter(|_| !changes.fixes.drops(limit_name)) {
        out.new_field(limit_name, "");
        out.0.push(limit);
    }
    if changes.keep_reasoning && unstored && !includes && !changes.fixes.drops("include") {
        out.raw_field(Bytes::from_static(KEEP_REASONING));
    }
    for (name, member) in &kept {
        tools.write(name, member, &mut out);
    }
    Ok(out.finish())
}

fn is_limit(dialect: Dialect, name: &str) -> bool {
    match dialect {
        Dialect::Chat => matches!(name, "max_tokens" | "max_completion_tokens"),
        Dialect::Responses => name == "max_output_tokens",
        Dialect::Messages => name == "max_tokens",
    }
}

fn limit_name(dialect: Dialect, fixes: Fixes) -> &'static str {
    match dialect {
        Dialect::Chat if fixes.completion_limit => "max_completion_tokens",
        Dialect::Chat | Dialect::Messages => "max_tokens",
        Dialect::Responses => "max_output_tokens",
    }
}

/// The fields of the new object.
struct Fields(Segments);

/// The tool list of a session, held against the tools of a call.
struct Tools<'a> {
    body: &'a Bytes,
    enabled: Option<&'a [String]>,
    removed: Vec<String>,
    any_left: bool,
    /// The elements to keep, by where their array began.
    filtered: Vec<(usize, Vec<Range<usize>>)>,
}

/// As much of a tool as names it, in all three dialects.
#[derive(Deserialize)]
struct Tool {
    name: Option<String>,
    function: Option<Function>,
    /// The provider's own tools have nothing else.
    r#type: Option<String>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
}

// === impl Fields ===

impl Fields {
    fn new() -> Self {
        Self(Segments::from(Bytes::from_static(b"{")))
    }

    fn separate(&mut self) {
        if self.0.count() > 1 {
            self.0.push(Bytes::from_static(b","));
        }
    }

    fn new_field(&mut self, name: &str, value: &str) {
        self.separate();
        self.0.push(Bytes::from(format!("\"{name}\":{value}")));
    }

    fn raw_field(&mut self, field: Bytes) {
        self.separate();
        self.0.push(field);
    }

    fn finish(mut self) -> Segments {
        self.0.push(Bytes::from_static(b"}"));
        self.0
    }
}

// === impl Tools ===

impl<'a> Tools<'a> {
    const fn new(body: &'a Bytes, enabled: Option<&'a [String]>) -> Self {
        Self {
            body,
            enabled,
            removed: Vec::new(),
            any_left: false,
            filtered: Vec::new(),
        }
    }

    /// Decides which elements of the array `tools` stay.
    fn filter(&mut self, member: &Member) -> Result<(), ScanError> {
        let Some(enabled) = self.enabled else {
            return Ok(());
        };
        let elements = scan::elements(self.body, &member.value)?.unwrap_or_default();
        let mut kept = Vec::with_capacity(elements.len());
        for element in elements {
            let name = self
                .body
                .get(element.clone())
                .and_then(tool_name)
                .unwrap_or_default();
            if INTERNAL_TOOLS.contains(&name.as_str()) || enabled.contains(&name) {
                kept.push(element);
            } else {
                self.removed.push(name);
            }
        }
        self.any_left |= !kept.is_empty();
        self.filtered.push((member.value.start, kept));
        Ok(())
    }

    /// Writes a kept field; `tools` and `tool_choice` as the list has it.
    fn write(&self, name: &str, member: &Member, out: &mut Fields) {
        let whole = self.body.slice(member.key.start..member.value.end);
        if self.removed.is_empty() {
            return out.raw_field(whole);
        }
        match name {
            "tools" => {
                let filtered = self
                    .filtered
                    .iter()
                    .find(|(start, _)| *start == member.value.start);
                if let Some((_, kept)) = filtered.filter(|(_, kept)| !kept.is_empty()) {
                    out.new_field("tools", "[");
                    for (index, element) in kept.iter().enumerate() {
                        if index > 0 {
                            out.0.push(Bytes::from_static(b","));
                        }
                        out.0.push(self.body.slice(element.clone()));
                    }
                    out.0.push(Bytes::from_static(b"]"));
                }
            }
            // A provider refuses a choice without tools, or of a tool that is not there.
            "tool_choice" if !self.any_left || self.chooses_a_removed_one(member) => {}
            _ => out.raw_field(whole),
        }
    }

    fn chooses_a_removed_one(&self, member: &Member) -> bool {
        let chosen = self.body.get(member.value.clone()).and_then(tool_name);
        chosen.is_some_and(|chosen| self.removed.contains(&chosen))
    }
}

fn tool_name(json: &[u8]) -> Option<String> {
    let tool: Tool = serde_json::from_slice(json).ok()?;
    tool.function
        .and_then(|function| function.name)
        .or(tool.name)
        .or(tool.r#type)
}

#[cfg(test)]
mod tests;
