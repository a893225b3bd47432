//! The bodies of `POST /sessions/{id}/prompt` and `/resume`, checked field by field.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::deserialize::{object_if_given, text_if_given, whole_number};
use crate::api::error::ApiError;
use crate::api::extract::parse;
use crate::api::model_config::ModelConfigChange;
use crate::api::prompt_body::{Bounds, PartBody, check_text, prompt, system_prompt};
use crate::api::timeout;
use crate::model::ModelChange;
use crate::permission::PolicyChange;
use crate::session::{Labels, OnBusy, Prompt, Request, Task};

#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = PromptRequest)]
pub(in crate::api) struct PromptBody {
    /// At most `MAX_PROMPT_LENGTH` characters. Needed where there are no `parts`.
    #[serde(default, deserialize_with = "text_if_given")]
    #[schema(value_type = String, required = false, pattern = "\\S")]
    prompt: Option<String>,
    /// In place of `prompt`: texts and files.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 32)]
    parts: Option<Vec<PartBody>>,
    /// What is left out is as in the turn before. Absent: all of it, the key too.
    #[serde(default, deserialize_with = "object_if_given")]
    #[schema(value_type = Option<ModelConfigChange>)]
    model_config: Option<ModelConfigChange>,
    /// Added to the agent's own for this turn.
    #[serde(default)]
    system_prompt: Option<String>,
    /// What becomes of it while a turn of the session runs. Absent: `queue`.
    #[serde(default)]
    #[schema(inline)]
    on_busy: Option<OnBusyBody>,
    /// Longest the turn may take. Absent: `SESSION_TIMEOUT`, which is also the most.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1)]
    timeout_secs: Option<i64>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OnBusyBody {
    Queue,
    Steer,
    Interrupt,
    Reject,
}

#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = ResumeRequest)]
pub(in crate::api) struct ResumeBody {
    /// What is left out is as in the turn before. Absent: all of it, the key too.
    #[serde(default, deserialize_with = "object_if_given")]
    #[schema(value_type = Option<ModelConfigChange>)]
    model_config: Option<ModelConfigChange>,
    /// What the agent is to do now. Absent: it goes on where it was interrupted.
    #[serde(default)]
    prompt: Option<String>,
    /// Added to the agent's own; it is not kept from the turn before.
    #[serde(default)]
    system_prompt: Option<String>,
    /// Longest the turn may take. Absent: `SESSION_TIMEOUT`, which is also the most.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1)]
    timeout_secs: Option<i64>,
}

/// What concerns the model, to be compared with the session.
#[derive(Default)]
pub(super) struct ToolsGiven(Option<crate::tool::Tools>);

/// The request for another turn of session `id`, and what is to be done while one runs.
pub(super) async fn check(
    id: &str,
    body: &[u8],
    state: &State,
) -> Result<(Request, OnBusy, ToolsGiven), ApiError> {
    let parsed: PromptBody = parse(body)?;
    parsed.check_steer()?;
    let rules = &state.rules;
    let bounds = Bounds {
        workspace: &state.workspace_dir,
        max_prompt: rules.max_prompt,
    };
    let prompt = prompt(parsed.prompt, parsed.parts, bounds).await?;
    let (model, policy, tools) = model(parsed.model_config, state)?;
    let request = Request {
        id: id.to_owned(),
        task: Task::Prompt,
        prompt,
        system_prompt: system_prompt(parsed.system_prompt, rules.max_prompt)?,
        model,
        tools: None,
        labels: Labels::default(),
        policy,
        timeout: timeout::check(parsed.timeout_secs, rules.max_timeout)?,
        idempotency: None,
    };
    let on_busy = match parsed.on_busy {
        None | Some(OnBusyBody::Queue) => OnBusy::Queue,
        Some(OnBusyBody::Steer) => OnBusy::Steer,
        Some(OnBusyBody::Interrupt) => OnBusy::Interrupt,
        Some(OnBusyBody::Reject) => OnBusy::Reject,
    };
    Ok((request, on_busy, tools))
}

/// The request to go on with session `id`. Its prompt is empty if the body has none.
pub(super) fn check_resume(
    id: &str,
    body: &[u8],
    state: &State,
) -> Result<(Request, ToolsGiven), ApiError> {
    let parsed: ResumeBody = parse(body)?;
    let rules = &state.rules;
    let words = parsed.prompt.filter(|text| !text.trim().is_empty());
    let prompt = match words {
        Some(words) => {
            check_text("prompt", &words, rules.max_prompt)?;
            Prompt::text(words)
        }
        None => Prompt::default(),
    };
    let (model, policy, tools) = model(parsed.model_config, state)?;
    let request = Request {
        id: id.to_owned(),
        task: Task::Prompt,
        prompt,
        system_prompt: system_prompt(parsed.system_prompt, rules.max_prompt)?,
        model,
        tools: None,
        labels: Labels::default(),
        policy,
        timeout: timeout::check(parsed.timeout_secs, rules.max_timeout)?,
        idempotency: None,
    };
    Ok((request, tools))
}

pub(super) fn model(
    config: Option<ModelConfigChange>,
    state: &State,
) -> Result<(ModelChange, PolicyChange, ToolsGiven), ApiError> {
    let Some(mut config) = config else {
        return Ok((
            ModelChange::Nothing,
            PolicyChange::default(),
            ToolsGiven(None),
        ));
    };
    let (tools, policy) = (config.tools()?, config.policy(&state.egress.policy)?);
    Ok((config.change(state.rules.demo)?, policy, ToolsGiven(tools)))
}

// === impl PromptBody ===

impl PromptBody {
    /// A running turn keeps what it began with.
    fn check_steer(&self) -> Result<(), ApiError> {
        let given = [
            ("model_config", self.model_config.is_some()),
            ("system_prompt", self.system_prompt.is_some()),
            ("timeout_secs", self.timeout_secs.is_some()),
        ];
        match (self.on_busy, given.into_iter().find(|(_, given)| *given)) {
            (Some(OnBusyBody::Steer), Some((field, _))) => Err(ApiError::invalid(
                field,
                "cannot change within a turn; leave it out, or use another on_busy",
            )),
            _ => Ok(()),
        }
    }
}

// === impl ToolsGiven ===

impl ToolsGiven {
    /// A session keeps the tools it was made with: the agent has them in its rules.
    pub(super) fn same_tools(
        &self,
        made_with: Option<&crate::tool::Tools>,
    ) -> Result<(), ApiError> {
        if self.0.is_some() && self.0.as_ref() != made_with {
            return Err(ApiError::invalid(
                "model_config.enabled_tools",
                "cannot change within a session; leave it out, or create a new session",
            ));
        }
        Ok(())
    }
}
