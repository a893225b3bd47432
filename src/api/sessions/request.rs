//! The bodies of `POST /sessions` and `POST /sessions/{id}/resume`, checked field by field. The first mistake is named by its path.

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use utoipa::openapi::Schema;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type};
use uuid::Uuid;

use crate::api::Rules;
use crate::api::deserialize::{object, text_if_given, whole_number};
use crate::api::error::ApiError;
use crate::api::extract::parse;
use crate::api::labels::labels;
use crate::id::is_id;
use crate::model::{Budget, ModelSpec};
use crate::provider::{PROVIDERS, ResolveError, Upstream};
use crate::secret::Secret;
use crate::session::{Idempotency, Labels, Request};
use crate::tool::Tools;

const MAX_NAME: usize = 256;
const MAX_KEY: usize = 16 * 1024;
const MAX_IDEMPOTENCY_KEY: usize = 255;

#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = CreateRequest)]
pub(in crate::api) struct Body {
    /// A UUID, or anything else that is harmless in a path. Absent: a UUID is made.
    #[serde(default, deserialize_with = "text_if_given")]
    #[schema(value_type = String, required = false, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$")]
    session_id: Option<String>,
    /// At most `MAX_PROMPT_LENGTH` characters.
    #[schema(pattern = "\\S")]
    prompt: String,
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
}

#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = ResumeRequest)]
pub(in crate::api) struct ResumeBody {
    /// The model and the key again: the sidecar keeps no key. `enabled_tools` may be left out; they stay
    /// what they were.
    #[serde(deserialize_with = "object")]
    model_config: ModelConfig,
    /// What the agent is to do now. Absent: it goes on where it was interrupted.
    #[serde(default)]
    prompt: Option<String>,
    /// Added to the agent's own; it is not kept from the turn before.
    #[serde(default)]
    system_prompt: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
struct ModelConfig {
    /// One of the table of providers.
    #[schema(schema_with = provider_names)]
    provider: String,
    /// As the provider calls it.
    #[schema(max_length = 256, pattern = "\\S")]
    model: String,
    /// Never leaves the sidecar but to the provider.
    #[serde(default)]
    #[schema(max_length = 16384, pattern = "^[!-~]*$")]
    api_key: Option<String>,
    #[serde(default)]
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    /// Of one answer of the model.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1, maximum = 128_000)]
    max_tokens: Option<i64>,
    /// Tool and group names. Absent: every tool.
    #[serde(default)]
    #[schema(schema_with = tool_names)]
    enabled_tools: Option<Vec<String>>,
    /// Joined to the model's id as the provider does it.
    #[serde(default)]
    #[schema(max_length = 256)]
    model_version: Option<String>,
    /// The provider's address up to and including the version.
    #[serde(default)]
    api_endpoint: Option<String>,
    /// Of the model, in tokens. Absent: known by the model's name.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1, maximum = 10_000_000)]
    context_window: Option<i64>,
    /// Tokens the session may spend.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    max_total_tokens: Option<i64>,
    /// Model calls the session may make.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    max_calls: Option<i64>,
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(names))
}

fn provider_names() -> Schema {
    names(PROVIDERS.iter().map(|provider| provider.name)).into()
}

fn tool_names() -> Schema {
    let either = SchemaType::from_iter([Type::Array, Type::Null]);
    let names = names(Tools::names().split(", "));
    ArrayBuilder::new().schema_type(either).items(names).into()
}

/// The request that a body and its headers make.
pub(super) fn check(body: &[u8], headers: &HeaderMap, rules: &Rules) -> Result<Request, ApiError> {
    let parsed: Body = parse(body)?;
    let id = parsed
        .session_id
        .unwrap_or_else(|| Uuid::new_v4().to_string());
    session_id(&id)?;
    text("prompt", &parsed.prompt, rules.max_prompt)?;
    if parsed.prompt.trim().is_empty() {
        return Err(ApiError::invalid("prompt", "must not be empty"));
    }
    let system_prompt = parsed.system_prompt.filter(|text| !text.trim().is_empty());
    if let Some(system_prompt) = &system_prompt {
        text("system_prompt", system_prompt, rules.max_prompt)?;
    }
    let tools = tools(parsed.model_config.enabled_tools.as_deref())?;
    Ok(Request {
        id,
        prompt: parsed.prompt,
        system_prompt,
        model: model(parsed.model_config, rules.demo)?,
        tools,
        labels: labels(parsed.title, parsed.metadata)?,
        idempotency: idempotency(headers, body)?,
    })
}

/// The request for another turn of session `id`. Its prompt is empty if the body has none.
pub(super) fn check_resume(id: &str, body: &[u8], rules: &Rules) -> Result<Request, ApiError> {
    let parsed: ResumeBody = parse(body)?;
    let given = |text: &String| !text.trim().is_empty();
    let prompt = parsed.prompt.filter(given).unwrap_or_default();
    text("prompt", &prompt, rules.max_prompt)?;
    let system_prompt = parsed.system_prompt.filter(given);
    if let Some(system_prompt) = &system_prompt {
        text("system_prompt", system_prompt, rules.max_prompt)?;
    }
    let tools = tools(parsed.model_config.enabled_tools.as_deref())?;
    Ok(Request {
        id: id.to_owned(),
        prompt,
        system_prompt,
        model: model(parsed.model_config, rules.demo)?,
        tools,
        labels: Labels::default(),
        idempotency: None,
    })
}

/// A session keeps the tools it was made with: the agent has them in its rules.
pub(super) fn same_tools(request: Request, made_with: Option<&Tools>) -> Result<Request, ApiError> {
    if request.tools.is_some() && request.tools.as_ref() != made_with {
        return Err(field(
            "enabled_tools",
            "cannot change within a session; leave it out, or create a new session",
        ));
    }
    Ok(Request {
        tools: made_with.cloned(),
        ..request
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

fn text(field: &str, text: &str, most: usize) -> Result<(), ApiError> {
    let length = text.chars().count();
    if length > most {
        let reason =
            format!("has {length} characters, and at most {most} are accepted (MAX_PROMPT_LENGTH)");
        return Err(ApiError::invalid(field, &reason));
    }
    Ok(())
}

fn model(config: ModelConfig, demo: bool) -> Result<ModelSpec, ApiError> {
    let key = config.api_key.unwrap_or_default();
    if key.len() > MAX_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(field(
            "api_key",
            "must be one word of at most 16384 printable ASCII characters",
        ));
    }
    let endpoint = config.api_endpoint.as_deref();
    let upstream = Upstream::resolve(&config.provider, endpoint, !key.is_empty(), demo)
        .map_err(|e| unresolved(&e))?;
    if config.model.trim().is_empty() || config.model.chars().count() > MAX_NAME {
        return Err(field("model", "must have 1 to 256 characters"));
    }
    if config
        .model_version
        .as_ref()
        .is_some_and(|version| version.chars().count() > MAX_NAME)
    {
        return Err(field("model_version", "must have at most 256 characters"));
    }
    if config
        .temperature
        .is_some_and(|temperature| !(0.0..=2.0).contains(&temperature))
    {
        return Err(field("temperature", "must be from 0 to 2"));
    }
    Ok(ModelSpec {
        upstream,
        name: config.model.trim().to_owned(),
        version: config
            .model_version
            .filter(|version| !version.trim().is_empty()),
        key: (!key.is_empty()).then(|| Secret::new(key)),
        temperature: config.temperature,
        max_tokens: whole("max_tokens", config.max_tokens, 128_000)?,
        context_window: whole("context_window", config.context_window, 10_000_000)?,
        budget: Budget {
            max_total_tokens: whole(
                "max_total_tokens",
                config.max_total_tokens,
                1_000_000_000_000,
            )?,
            max_calls: whole("max_calls", config.max_calls, 1_000_000_000)?,
        },
    })
}

/// A number from 1 to `most`.
fn whole<T: TryFrom<i64>>(
    name: &str,
    value: Option<i64>,
    most: i64,
) -> Result<Option<T>, ApiError> {
    let refused = || field(name, &format!("must be a whole number from 1 to {most}"));
    match value {
        None => Ok(None),
        Some(value) if !(1..=most).contains(&value) => Err(refused()),
        Some(value) => T::try_from(value).map(Some).map_err(|_| refused()),
    }
}

fn tools(names: Option<&[String]>) -> Result<Option<Tools>, ApiError> {
    let Some(names) = names else { return Ok(None) };
    let unknown = |name| {
        field(
            "enabled_tools",
            &format!("{name:?} is no tool; the tools are {}", Tools::names()),
        )
    };
    Tools::parse(names).map(Some).map_err(unknown)
}

fn unresolved(error: &ResolveError) -> ApiError {
    let reason = error.to_string();
    match error {
        ResolveError::UnknownProvider(_) => {
            let names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
            field(
                "provider",
                &format!("{reason}; the providers are {}", names.join(", ")),
            )
        }
        ResolveError::DemoOff => field("provider", &reason),
        ResolveError::KeyMissing(_) => field("api_key", &reason),
        ResolveError::EndpointMissing(_)
        | ResolveError::EndpointInvalid
        | ResolveError::EndpointCredentials
        | ResolveError::EndpointQuery => field("api_endpoint", &reason),
    }
}

fn field(name: &str, reason: &str) -> ApiError {
    ApiError::invalid(&format!("model_config.{name}"), reason)
}

fn idempotency(headers: &HeaderMap, body: &[u8]) -> Result<Option<Idempotency>, ApiError> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = key.to_str().unwrap_or_default().trim();
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY {
        return Err(ApiError::invalid(
            "Idempotency-Key",
            "must have 1 to 255 printable ASCII characters",
        ));
    }
    Ok(Some(Idempotency {
        key: key.to_owned(),
        digest: Sha256::digest(body).into(),
    }))
}
