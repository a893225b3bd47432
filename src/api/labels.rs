//! `title` and `metadata` of a session, as clients send them.

use serde::de::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::session::{Change, LabelChange, Labels};

/// In characters.
const MAX_TITLE: usize = 256;

/// As JSON without blanks.
const MAX_METADATA: usize = 4096;

/// A field that may be left out, and may be null.
pub(super) fn if_given<'de, D, T>(deserializer: D) -> Result<Change<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let value = Option::deserialize(deserializer)?;
    Ok(value.map_or(Change::Remove, Change::Set))
}

/// The labels of a new session.
pub(super) fn labels(
    title: Option<String>,
    metadata: Option<Map<String, Value>>,
) -> Result<Labels, ApiError> {
    Ok(Labels {
        title: title.map(check_title).transpose()?,
        metadata: metadata.map(check_metadata).transpose()?,
    })
}

/// What is to change of the labels of a session.
pub(super) fn change(
    title: Change<String>,
    metadata: Change<Map<String, Value>>,
) -> Result<LabelChange, ApiError> {
    Ok(LabelChange {
        title: checked(title, check_title)?,
        metadata: checked(metadata, check_metadata)?,
    })
}

fn checked<T>(
    change: Change<T>,
    check: fn(T) -> Result<T, ApiError>,
) -> Result<Change<T>, ApiError> {
    match change {
        Change::Set(value) => check(value).map(Change::Set),
        other => Ok(other),
    }
}

fn check_title(title: String) -> Result<String, ApiError> {
    let is_title = !title.trim().is_empty()
        && title.chars().count() <= MAX_TITLE
        && !title.contains(char::is_control);
    if is_title {
        return Ok(title);
    }
    Err(ApiError::invalid(
        "title",
        "must have 1 to 256 characters, not only blanks, and none that control a terminal",
    ))
}

fn check_metadata(metadata: Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    let length = serde_json::to_string(&metadata).map_or(usize::MAX, |json| json.len());
    if length <= MAX_METADATA {
        return Ok(metadata);
    }
    let reason = format!("has {length} bytes as JSON, and at most {MAX_METADATA} are accepted");
    Err(ApiError::invalid("metadata", &reason))
}
