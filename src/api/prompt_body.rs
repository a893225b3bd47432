//! What a request tells the agent: a text, or texts and files.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use utoipa::ToSchema;

use super::deserialize::object;
use super::error::ApiError;
use super::file_type::{sent_as, type_of};
use crate::session::{Part, Prompt};
use crate::workspace;

/// The parts of one prompt.
const MAX_PARTS: usize = 32;

/// One part of a prompt.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(as = PromptPart)]
pub(super) struct PartBody(#[serde(deserialize_with = "object")] PartFields);

#[derive(Deserialize, ToSchema)]
struct PartFields {
    #[serde(rename = "type")]
    kind: PartType,
    /// Of a `text`.
    #[serde(default)]
    text: Option<String>,
    /// Of a `file` in the workspace: relative to it, or absolute.
    #[serde(default)]
    path: Option<String>,
    /// Of a `file` that comes along: `data:<type>;base64,<content>`.
    #[serde(default)]
    url: Option<String>,
    /// The type of a `file`. Absent: known by its name, or by its address.
    #[serde(default)]
    mime: Option<String>,
    /// What a `file` that comes along is called.
    #[serde(default)]
    filename: Option<String>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PartType {
    Text,
    File,
}

/// Where files of prompts may lie, and how long texts may be.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) workspace: &'a Path,
    /// In characters.
    pub(super) max_prompt: usize,
}

/// Text that is not longer than `MAX_PROMPT_LENGTH`.
pub(super) fn check_text(field: &str, text: &str, most: usize) -> Result<(), ApiError> {
    let length = text.chars().count();
    if length > most {
        let reason =
            format!("has {length} characters, and at most {most} are accepted (MAX_PROMPT_LENGTH)");
        return Err(ApiError::invalid(field, &reason));
    }
    Ok(())
}

/// A system prompt; a blank one is none.
pub(super) fn system_prompt(text: Option<String>, most: usize) -> Result<Option<String>, ApiError> {
    let text = text.filter(|text| !text.trim().is_empty());
    if let Some(text) = &text {
        check_text("system_prompt", text, most)?;
    }
    Ok(text)
}

/// The prompt that `prompt` or `parts` make. Without both it is a mistake.
pub(super) async fn prompt(
    text: Option<String>,
    parts: Option<Vec<PartBody>>,
    bounds: Bounds<'_>,
) -> Result<Prompt, ApiError> {
    match (text, parts) {
        (None, None) => Err(ApiError::invalid("prompt", "is missing")),
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "parts",
            "cannot be given beside prompt; make the prompt one of the parts",
        )),
        (Some(text), None) => {
            check_text("prompt", &text, bounds.max_prompt)?;
            if text.trim().is_empty() {
                return Err(ApiError::invalid("prompt", "must not be empty"));
            }
            Ok(Prompt::text(text))
        }
        (None, Some(parts)) => from_parts(parts, bounds).await,
    }
}

async fn from_parts(bodies: Vec<PartBody>, bounds: Bounds<'_>) -> Result<Prompt, ApiError> {
    if bodies.is_empty() || bodies.len() > MAX_PARTS {
        let reason = format!("must have 1 to {MAX_PARTS} parts");
        return Err(ApiError::invalid("parts", &reason));
    }
    let mut prompt = Prompt::default();
    for (index, PartBody(fields)) in bodies.into_iter().enumerate() {
        let at = format!("parts[{index}]");
        prompt
            .parts
            .push(part(&at, fields, bounds.workspace).await?);
    }
    check_text("parts", &prompt.words(), bounds.max_prompt)?;
    if prompt.words().trim().is_empty() {
        return Err(ApiError::invalid(
            "parts",
            "must have a text that says what to do",
        ));
    }
    Ok(prompt)
}

async fn part(at: &str, fields: PartFields, workspace: &Path) -> Result<Part, ApiError> {
    let invalid = |name: &str, reason: &str| ApiError::invalid(&format!("{at}.{name}"), reason);
    match (fields.kind, fields.path, fields.url) {
        (PartType::Text, _, _) => match fields.text {
            Some(text) => Ok(Part::Text { text }),
            None => Err(invalid("text", "is missing")),
        },
        (PartType::File, Some(_), Some(_)) => Err(invalid("url", "cannot be given beside path")),
        (PartType::File, None, None) => Err(invalid(
            "path",
            "is missing: a file is a path in the workspace, or a url that begins with data:",
        )),
        (PartType::File, Some(path), None) => {
            let resolved = workspace::resolve_file(workspace, Path::new(&path)).await;
            let path = resolved.map_err(|error| invalid("path", &error.to_string()))?;
            let mime = fields.mime.unwrap_or_else(|| type_of(&path).to_owned());
            let mime = sent_as(&mime).ok_or_else(|| invalid("mime", &not_readable(&mime)))?;
            Ok(Part::WorkspaceFile {
                path,
                mime: mime.to_owned(),
            })
        }
        (PartType::File, None, Some(url)) => {
            let inline = Inline::parse(&url).map_err(|reason| invalid("url", reason))?;
            let mime = fields.mime.as_deref().unwrap_or(inline.mime);
            let mime = sent_as(mime).ok_or_else(|| invalid("mime", &not_readable(mime)))?;
            Ok(Part::InlineFile {
                url: format!("data:{mime};base64,{}", inline.data),
                mime: mime.to_owned(),
                filename: fields.filename,
            })
        }
    }
}

fn not_readable(mime: &str) -> String {
    let mime: String = mime.chars().take(100).collect();
    format!(
        "{mime:?} is no type that the agent can read; text, PNG, JPEG, GIF, WebP and PDF are, and other files can be put into the workspace"
    )
}

/// A `data:` address taken apart.
struct Inline<'a> {
    mime: &'a str,
    data: &'a str,
}

// === impl Inline ===

impl<'a> Inline<'a> {
    fn parse(url: &'a str) -> Result<Self, &'static str> {
        const FORM: &str = "must be data:<type>;base64,<content>; a file elsewhere has to be put into the workspace";
        let (head, data) = url
            .strip_prefix("data:")
            .and_then(|rest| rest.split_once(','))
            .ok_or(FORM)?;
        let head = head.strip_suffix(";base64").ok_or(FORM)?;
        let mime = head.split(';').next().unwrap_or_default();
        if STANDARD.decode(data).is_err() {
            return Err("has content that is not base64");
        }
        Ok(Self { mime, data })
    }
}
