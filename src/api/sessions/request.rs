//! The body of `POST /sessions`, checked field by field. The first mistake is named by its path.

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::State;
use crate::api::deserialize::{object, text_if_given};
use crate::api::error::ApiError;
use crate::api::extract::parse;
use crate::api::idempotency;
use crate::api::labels::labels;
use crate::api::model_config::ModelConfig;
use crate::api::prompt_body::{Bounds, PartBody, prompt, system_prompt};
use crate::api::timeout;
use crate::id::is_id;
use crate::model::ModelChange;
use crate::session::{Request, Task};

#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = CreateRequest)]
pub(in crate::api) struct Body {
    /// A UUID, or anything else that is harmless in a path. Absent: a UUID is made.
    #[serde(default, deserialize_with = "text_if_given")]
    #[schema(value_type = String, required = false, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$")]
    session_id: Option<String>,
    /// At most `MAX_PROMPT_LENGTH` characters. Needed where there are no `parts`.
    #[serde(default, deserialize_with = "text_if_given")]
    #[schema(value_type = String, required = false, pattern = "\\S")]
    prompt: Option<String>,
    /// In place of `prompt`: texts and files.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 32)]
    parts: Option<Vec<PartBody>>,
    #[serde(deserialize_with = "object")]
    model_config: ModelConfig,
    /// Added to the agent's own, with every prompt. At most `MAX_PROMPT_LENGTH` characters.
    #[serde(default)]
    system_prompt: Option<String>,
    /// What you call it.
    #[serde(default)]
    #[schema(max_length = 256)]
    title: Option<String>,
    /// For your own ids. At most 4 KiB.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// Longest the turn may take. Absent: `SESSION_TIMEOUT`, which is also the most.
    #[serde(default, deserialize_with = "crate::api::deserialize::whole_number")]
    #[schema(minimum = 1)]
    timeout_secs: Option<i64>,
}

/// The request that a body and its headers make.
pub(super) async fn check(
    body: &[u8],
    headers: &HeaderMap,
    state: &State,
) -> Result<Request, ApiError> {
    let parsed: Body = parse(body)?;
    let id = parsed
        .session_id
        .unwrap_or_else(|| Uuid::new_v4().to_string());
    session_id(&id)?;
    let rules = &state.rules;
    let bounds = Bounds {
        workspace: &state.workspace_dir,
        max_prompt: rules.max_prompt,
    };
    let prompt = prompt(parsed.prompt, parsed.parts, bounds).await?;
    let system_prompt = system_prompt(parsed.system_prompt, rules.max_prompt)?;
    let mut model_config = parsed.model_config;
    let tools = model_config.tools()?;
    let policy = model_config.policy(&state.egress.policy)?;
    let model = model_config.model(rules.demo)?;
    Ok(Request {
        id,
        task: Task::Prompt,
        prompt,
        system_prompt,
        model: ModelChange::Whole(Box::new(model)),
        tools,
        labels: labels(parsed.title, parsed.metadata)?,
        policy,
        timeout: timeout::check(parsed.timeout_secs, rules.max_timeout)?,
        idempotency: idempotency::of_request(headers, body)?,
    })
}

fn session_id(id: &str) -> Result<(), ApiError> {
    if is_id(id) {
        return Ok(());
    }
    Err(ApiError::invalid(
        "session_id",
        "must be a UUID, or 1 to 128 of the characters A-Z a-z 0-9 - _ .",
    ))
}
