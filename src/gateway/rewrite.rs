//! Puts a session's model, temperature, limits and tools into a request body.
//!
//! The fields it owns are written first; every other field goes out with the bytes it came in with (white
//! space between fields is lost). Nothing large is copied: the result is a list of slices of the body.
//! An owned field that comes twice, or under an escaped name, cannot outlive its replacement. Pure.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json_parts::{NotAnObject, elements, members};
use super::segments::Segments;
use super::unsupported::Unsupported;
use crate::provider::Dialect;

/// What the calls of one session say.
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
    pub(super) unsupported: Unsupported,
}

/// Tools OpenCode adds for its own ends; they do nothing in the world.
const INTERNAL_TOOLS: [&str; 3] = ["invalid", "_noop", "StructuredOutput"];

/// Writes `changes` into `body`.
pub(super) fn rewrite(
    body: &Bytes,
    dialect: Dialect,
    changes: &Changes<'_>,
) -> Result<Segments, NotAnObject> {
    let unsupported = changes.unsupported;
    let mut kept = Vec::new();
    let mut limit = changes
        .max_tokens
        .map(|tokens| Bytes::from(tokens.to_string()));
    let mut tools = Tools::new(changes.enabled_tools);
    let mut unstored = false;
    let mut includes = false;
    for (key, value) in members(body)? {
        let name: Cow<'_, str> = serde_json::from_str(key.get()).map_err(|_| NotAnObject)?;
        match name.as_ref() {
            "model" => continue,
            "temperature" if changes.temperature.is_some() => continue,
            name if is_limit(dialect, name) => {
                limit.get_or_insert_with(|| slice(body, value, value));
                continue;
            }
            name if unsupported.drops(name) => continue,
            "store" => unstored = value.get() == "false",
            "include" => includes = true,
            "tools" => tools.filter(value)?,
            _ => {}
        }
        kept.push((name, key, value));
    }

    let mut out = Fields::default();
    out.made("model", &serde_json::Value::from(changes.model).to_string());
    if let Some(temperature) = changes
        .temperature
        .filter(|_| !unsupported.drops("temperature"))
    {
        let temperature = temperature.min(dialect.temperature_cap());
        out.made("temperature", &temperature.to_string());
    }
    let limit_name = limit_name(dialect, unsupported);
    if let Some(limit) = limit.filter(|_| !unsupported.drops(limit_name)) {
        out.made(limit_name, "");
        out.0.push(limit);
    }
    if changes.keep_reasoning && unstored && !includes && !unsupported.drops("include") {
        out.made("include", r#"["reasoning.encrypted_content"]"#);
    }
    for (name, key, value) in kept {
        match name.as_ref() {
            "tools" if !tools.removed.is_empty() => out.array("tools", body, &tools.enabled(value)),
            // A provider refuses a choice without tools, or of a tool that is not there.
            "tool_choice" if tools.forbid(value) => {}
            _ => out.kept(slice(body, key, value)),
        }
    }
    Ok(out.finish())
}

/// The bytes of `body` from the beginning of one of its parts to the end of another.
fn slice(body: &Bytes, first: &RawValue, last: &RawValue) -> Bytes {
    let offset = |part: &str| part.as_ptr().addr() - body.as_ptr().addr();
    body.slice(offset(first.get())..offset(last.get()) + last.get().len())
}

fn is_limit(dialect: Dialect, name: &str) -> bool {
    match dialect {
        Dialect::Chat => matches!(name, "max_tokens" | "max_completion_tokens"),
        Dialect::Responses => name == "max_output_tokens",
        Dialect::Messages => name == "max_tokens",
    }
}

fn limit_name(dialect: Dialect, unsupported: Unsupported) -> &'static str {
    match dialect {
        Dialect::Chat if unsupported.max_tokens => "max_completion_tokens",
        Dialect::Chat | Dialect::Messages => "max_tokens",
        Dialect::Responses => "max_output_tokens",
    }
}

/// The fields of the new object.
#[derive(Default)]
struct Fields(Segments);

// === impl Fields ===

impl Fields {
    fn separate(&mut self) {
        let separator = if self.0.is_empty() { b"{" } else { b"," };
        self.0.push(Bytes::from_static(separator));
    }

    fn made(&mut self, name: &str, value: &str) {
        self.separate();
        self.0.push(Bytes::from(format!("\"{name}\":{value}")));
    }

    fn kept(&mut self, field: Bytes) {
        self.separate();
        self.0.push(field);
    }

    /// Some elements of an array; no field if there are none.
    fn array(&mut self, name: &str, body: &Bytes, elements: &[&RawValue]) {
        for (index, element) in elements.iter().enumerate() {
            if index == 0 {
                self.made(name, "[");
            } else {
                self.0.push(Bytes::from_static(b","));
            }
            self.0.push(slice(body, element, element));
        }
        if !elements.is_empty() {
            self.0.push(Bytes::from_static(b"]"));
        }
    }

    fn finish(mut self) -> Segments {
        self.0.push(Bytes::from_static(b"}"));
        self.0
    }
}

/// The tools of a session against those of a call.
struct Tools<'a> {
    enabled: Option<&'a [String]>,
    removed: Vec<String>,
    any_left: bool,
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

// === impl Tools ===

impl<'a> Tools<'a> {
    const fn new(enabled: Option<&'a [String]>) -> Self {
        Self {
            enabled,
            removed: Vec::new(),
            any_left: false,
        }
    }

    /// Notes which elements of the array `tools` go.
    fn filter(&mut self, tools: &RawValue) -> Result<(), NotAnObject> {
        if self.enabled.is_some() {
            for tool in elements(tools)? {
                if self.is_enabled(tool) {
                    self.any_left = true;
                } else {
                    self.removed.push(tool_name(tool).unwrap_or_default());
                }
            }
        }
        Ok(())
    }

    /// The elements of the array `tools` that stay.
    fn enabled<'b>(&self, tools: &'b RawValue) -> Vec<&'b RawValue> {
        let mut tools = elements(tools).unwrap_or_default();
        tools.retain(|tool| self.is_enabled(tool));
        tools
    }

    fn is_enabled(&self, tool: &RawValue) -> bool {
        let name = tool_name(tool).unwrap_or_default();
        INTERNAL_TOOLS.contains(&name.as_str())
            || self.enabled.is_none_or(|enabled| enabled.contains(&name))
    }

    /// Whether this choice is of a tool that went, or there is none left to choose.
    fn forbid(&self, choice: &RawValue) -> bool {
        let removed = || tool_name(choice).is_some_and(|chosen| self.removed.contains(&chosen));
        !self.removed.is_empty() && (!self.any_left || removed())
    }
}

fn tool_name(tool: &RawValue) -> Option<String> {
    let tool: Tool = serde_json::from_str(tool.get()).ok()?;
    tool.function
        .and_then(|function| function.name)
        .or(tool.name)
        .or(tool.r#type)
}

#[cfg(test)]
mod tests;
