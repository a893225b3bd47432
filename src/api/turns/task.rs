//! Turns that are no prompt of the client's own words: `POST /sessions/{id}/compact`, `/shell` and `/command`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::request::{ToolsGiven, model};
use super::response::PromptResponse;
use super::{PromptAccepted, PromptErrors, Reply, answer, begun_before, prompt, take};
use crate::api::deserialize::{object_if_given, whole_number};
use crate::api::error::{ApiError, ErrorCode};
use crate::api::extract::{BodyBytes, Id, parse, parse_optional};
use crate::api::idempotency;
use crate::api::lookup;
use crate::api::model_config::ModelConfigChange;
use crate::api::openapi::StreamEvent;
use crate::api::prompt_body::check_text;
use crate::api::timeout;
use crate::api::{Shared, State as ApiState};
use crate::driver::ConversationError;
use crate::model::ModelChange;
use crate::permission::PolicyChange;
use crate::session::{Idempotency, Labels, OnBusy, Prompt, Request, Task};

#[derive(Default, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = CompactRequest)]
pub(in crate::api) struct CompactBody {
    /// What is left out is as in the turn before. Absent: all of it, the key too.
    #[serde(default, deserialize_with = "object_if_given")]
    #[schema(value_type = Option<ModelConfigChange>)]
    model_config: Option<ModelConfigChange>,
    /// Longest the turn may take. Absent: `SESSION_TIMEOUT`, which is also the most.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1)]
    timeout_secs: Option<i64>,
}

#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = ShellRequest)]
pub(in crate::api) struct ShellBody {
    /// For bash, in the workspace.
    #[schema(pattern = "\\S")]
    command: String,
    /// Longest the turn may take. Absent: `SESSION_TIMEOUT`, which is also the most.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1)]
    timeout_secs: Option<i64>,
}

#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = CommandRequest)]
pub(in crate::api) struct CommandBody {
    /// The name of a command that OpenCode has.
    command: String,
    /// What is put into its text.
    #[serde(default)]
    arguments: String,
    /// The other fields of a prompt.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    rest: Map<String, Value>,
}

/// Have the model summarise the conversation, which goes on from the summary. A turn of its own.
#[utoipa::path(
    post,
    path = "/sessions/{id}/compact",
    operation_id = "compact_session",
    params(
        ("id" = String, Path, description = "the `session_id`"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "the same key and body again is the same turn"),
    ),
    request_body = Option<CompactBody>,
    responses(
        (status = 202, description = "it is taken", body = PromptResponse),
        (status = 200, description = "with `Accept: text/event-stream`: the events of the turn",
            content_type = "text/event-stream", body = StreamEvent),
        PromptErrors,
    )
)]
pub(in crate::api) async fn compact(
    State(state): Shared,
    Id(id): Id,
    headers: HeaderMap,
    BodyBytes(body): BodyBytes,
) -> Result<Response, ApiError> {
    let idempotency = idempotency::of_route(&headers, "compact", &body)?;
    let body: CompactBody = parse_optional(&body)?;
    let (model, policy, tools) = model(body.model_config, &state)?;
    let asked = TaskAsked {
        task: Task::Compact,
        model,
        policy,
        timeout_secs: body.timeout_secs,
        idempotency,
    };
    let accepted = run(&state, &id, asked, &tools, Reply::of(&headers)).await?;
    Ok(answer(&state, accepted))
}

/// Run a command in the workspace, as the agent's commands run. A turn of its own, without a model.
#[utoipa::path(
    post,
    path = "/sessions/{id}/shell",
    operation_id = "run_in_session",
    params(
        ("id" = String, Path, description = "the `session_id`"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "the same key and body again is the same turn"),
    ),
    request_body = ShellBody,
    responses(
        (status = 202, description = "it is taken", body = PromptResponse),
        (status = 200, description = "with `Accept: text/event-stream`: the events of the turn",
            content_type = "text/event-stream", body = StreamEvent),
        PromptErrors,
    )
)]
pub(in crate::api) async fn shell(
    State(state): Shared,
    Id(id): Id,
    headers: HeaderMap,
    BodyBytes(body): BodyBytes,
) -> Result<Response, ApiError> {
    let idempotency = idempotency::of_route(&headers, "shell", &body)?;
    let body: ShellBody = parse(&body)?;
    check_text("command", &body.command, state.rules.max_prompt)?;
    if body.command.trim().is_empty() {
        return Err(ApiError::invalid("command", "must not be empty"));
    }
    let session = lookup::session(&state, &id).await?;
    let reply = Reply::of(&headers);
    let known = begun_before(&state, &session, idempotency.as_ref(), reply).await?;
    if let Some(known) = known {
        return Ok(answer(&state, known));
    }
    if !state.conversations.may_use(&session, "bash").await? {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            "this session may not use bash, so it runs no command; create one with bash among its enabled_tools",
        ));
    }
    let asked = TaskAsked {
        task: Task::Shell(body.command),
        model: ModelChange::Nothing,
        policy: PolicyChange::default(),
        timeout_secs: body.timeout_secs,
        idempotency,
    };
    let accepted = run(&state, &id, asked, &ToolsGiven::default(), reply).await?;
    Ok(answer(&state, accepted))
}

/// Give the agent a prompt that OpenCode has a name for.
#[utoipa::path(
    post,
    path = "/sessions/{id}/command",
    operation_id = "command_session",
    params(
        ("id" = String, Path, description = "the `session_id`"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "the same key and body again is the same turn"),
    ),
    request_body = CommandBody,
    responses(
        (status = 202, description = "it is taken", body = PromptResponse),
        (status = 200, description = "with `Accept: text/event-stream`: the events of the turn",
            content_type = "text/event-stream", body = StreamEvent),
        PromptErrors,
    )
)]
pub(in crate::api) async fn command(
    State(state): Shared,
    Id(id): Id,
    headers: HeaderMap,
    BodyBytes(body): BodyBytes,
) -> Result<Response, ApiError> {
    // Of the body as the client sent it: what the command stands for may change.
    let idempotency = idempotency::of_request(&headers, &body)?;
    let CommandBody {
        command,
        arguments,
        mut rest,
    } = parse(&body)?;
    let session = lookup::session(&state, &id).await?;
    let reply = Reply::of(&headers);
    let known = begun_before(&state, &session, idempotency.as_ref(), reply).await?;
    if let Some(known) = known {
        return Ok(answer(&state, known));
    }
    let words = match state.conversations.command(&command, &arguments).await {
        Err(ConversationError::NoCommand(names)) => {
            let reason = format!("is none; the commands are {}", names.join(", "));
            return Err(ApiError::invalid("command", &reason));
        }
        words => words?,
    };
    rest.remove("parts");
    rest.insert("prompt".to_owned(), words.into());
    let body = Value::Object(rest).to_string();
    let accepted = prompt(&state, &id, body.as_bytes(), idempotency, reply).await?;
    Ok(answer(&state, accepted))
}

/// A turn that is no prompt.
struct TaskAsked {
    task: Task,
    model: ModelChange,
    policy: PolicyChange,
    timeout_secs: Option<i64>,
    idempotency: Option<Idempotency>,
}

/// Begins a turn of session `id` that is no prompt. It does not wait for one that runs.
async fn run(
    state: &ApiState,
    id: &str,
    asked: TaskAsked,
    tools: &ToolsGiven,
    reply: Reply,
) -> Result<PromptAccepted, ApiError> {
    let request = Request {
        id: id.to_owned(),
        task: asked.task,
        prompt: Prompt::default(),
        system_prompt: None,
        model: asked.model,
        tools: None,
        labels: Labels::default(),
        policy: asked.policy,
        timeout: timeout::check(asked.timeout_secs, state.rules.max_timeout)?,
        idempotency: asked.idempotency,
    };
    take(state, (request, OnBusy::Reject), tools, reply).await
}
