//! `model_config` of a request: which model, with which key and limits. The first mistake is named by its path.

use serde::Deserialize;
use utoipa::ToSchema;
use utoipa::openapi::Schema;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type};

use super::deserialize::whole_number;
use super::error::ApiError;
use super::policy::{PermissionMode, PolicyFields, mode_schema};
use crate::egress_policy::{InstanceEgress, Word};
use crate::model::{Budget, ModelChange, ModelFields, ModelSpec};
use crate::permission::PolicyChange;
use crate::provider::{PROVIDERS, ResolveError, Upstream};
use crate::secret::Secret;
use crate::tool::Tools;

const MAX_NAME: usize = 256;
const MAX_KEY: usize = 16 * 1024;

#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub(super) struct ModelConfig {
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
    /// What the agent may do by itself: `auto` (every enabled tool runs, nothing waits), `ask` (a person is asked before
    /// each of `ask_tools`), or rules, of which the last that matches decides. Absent: as before, at first `auto`.
    #[serde(default)]
    #[schema(schema_with = mode_schema)]
    permission_mode: Option<PermissionMode>,
    /// With `ask`: tool and group names. Absent: what changes something or reaches out of the workspace.
    #[serde(default)]
    #[schema(schema_with = tool_names)]
    ask_tools: Option<Vec<String>>,
    /// Whether the agent may ask the user questions. Absent: as before, at first not.
    #[serde(default)]
    questions: Option<bool>,
    /// How long a request waits for a person. Absent: as before, at first `ASK_TIMEOUT`.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1, maximum = 604_800)]
    ask_timeout_secs: Option<i64>,
    /// Which hosts the agent's tools may reach: `list` (`egress_allow`, or else what the sidecar allows) or `none`. Only what
    /// is narrower than `EGRESS` of the sidecar is accepted. Absent: as before, at first as the sidecar has it.
    #[serde(default)]
    egress: Option<Word>,
    /// Hosts, each within `EGRESS_ALLOW` of the sidecar.
    #[serde(default)]
    #[schema(max_items = 500)]
    egress_allow: Option<Vec<String>>,
}

/// What a further turn changes of the model: what is left out stays as it was in the turn before.
#[derive(Default, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub(super) struct ModelConfigChange {
    /// With it the model is given whole, and nothing stays.
    #[serde(default)]
    #[schema(schema_with = provider_name_or_null)]
    provider: Option<String>,
    /// Needed with `provider`.
    #[serde(default)]
    #[schema(max_length = 256)]
    model: Option<String>,
    #[serde(default)]
    #[schema(max_length = 16384, pattern = "^[!-~]*$")]
    api_key: Option<String>,
    #[serde(default)]
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1, maximum = 128_000)]
    max_tokens: Option<i64>,
    /// Those of the session: they cannot change.
    #[serde(default)]
    #[schema(schema_with = tool_names)]
    enabled_tools: Option<Vec<String>>,
    #[serde(default)]
    #[schema(max_length = 256)]
    model_version: Option<String>,
    /// Needs `provider`.
    #[serde(default)]
    api_endpoint: Option<String>,
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1, maximum = 10_000_000)]
    context_window: Option<i64>,
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    max_total_tokens: Option<i64>,
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    max_calls: Option<i64>,
    /// What the agent may do by itself: `auto` (every enabled tool runs, nothing waits), `ask` (a person is asked before
    /// each of `ask_tools`), or rules, of which the last that matches decides. Absent: as before, at first `auto`.
    #[serde(default)]
    #[schema(schema_with = mode_schema)]
    permission_mode: Option<PermissionMode>,
    /// With `ask`: tool and group names. Absent: what changes something or reaches out of the workspace.
    #[serde(default)]
    #[schema(schema_with = tool_names)]
    ask_tools: Option<Vec<String>>,
    /// Whether the agent may ask the user questions. Absent: as before, at first not.
    #[serde(default)]
    questions: Option<bool>,
    /// How long a request waits for a person. Absent: as before, at first `ASK_TIMEOUT`.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 1, maximum = 604_800)]
    ask_timeout_secs: Option<i64>,
    /// Which hosts the agent's tools may reach: `list` (`egress_allow`, or else what the sidecar allows) or `none`. Only what
    /// is narrower than `EGRESS` of the sidecar is accepted. Absent: as before, at first as the sidecar has it.
    #[serde(default)]
    egress: Option<Word>,
    /// Hosts, each within `EGRESS_ALLOW` of the sidecar.
    #[serde(default)]
    #[schema(max_items = 500)]
    egress_allow: Option<Vec<String>>,
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(names))
}

fn provider_names() -> Schema {
    names(PROVIDERS.iter().map(|provider| provider.name)).into()
}

fn provider_name_or_null() -> Schema {
    let either = SchemaType::from_iter([Type::String, Type::Null]);
    names(PROVIDERS.iter().map(|provider| provider.name))
        .schema_type(either)
        .into()
}

fn tool_names() -> Schema {
    let either = SchemaType::from_iter([Type::Array, Type::Null]);
    let names = names(Tools::names().split(", "));
    ArrayBuilder::new().schema_type(either).items(names).into()
}

impl ModelConfig {
    /// The tools it names; `None`: every tool.
    pub(super) fn tools(&self) -> Result<Option<Tools>, ApiError> {
        tools(self.enabled_tools.as_deref())
    }

    /// What it says of asking a person, and of the network.
    pub(super) fn policy(&mut self, instance: &InstanceEgress) -> Result<PolicyChange, ApiError> {
        PolicyFields {
            permission_mode: self.permission_mode.take(),
            ask_tools: self.ask_tools.take(),
            questions: self.questions,
            ask_timeout_secs: self.ask_timeout_secs,
            egress: self.egress,
            egress_allow: self.egress_allow.take(),
        }
        .check(instance)
    }

    /// The model it names.
    pub(super) fn model(self, demo: bool) -> Result<ModelSpec, ApiError> {
        model(self, demo)
    }
}

impl ModelConfigChange {
    /// The tools it names, which must be those of the session.
    pub(super) fn tools(&self) -> Result<Option<Tools>, ApiError> {
        tools(self.enabled_tools.as_deref())
    }

    /// What it says of asking a person, and of the network.
    pub(super) fn policy(&mut self, instance: &InstanceEgress) -> Result<PolicyChange, ApiError> {
        PolicyFields {
            permission_mode: self.permission_mode.take(),
            ask_tools: self.ask_tools.take(),
            questions: self.questions,
            ask_timeout_secs: self.ask_timeout_secs,
            egress: self.egress,
            egress_allow: self.egress_allow.take(),
        }
        .check(instance)
    }

    pub(super) fn change(self, demo: bool) -> Result<ModelChange, ApiError> {
        let Some(provider) = self.provider else {
            return self
                .fields()
                .map(|fields| ModelChange::Fields(Box::new(fields)));
        };
        let config = ModelConfig {
            provider,
            model: self.model.ok_or_else(|| field("model", "is missing"))?,
            api_key: self.api_key,
            temperature: self.temperature,
            max_tokens: self.max_tokens,
            enabled_tools: self.enabled_tools,
            model_version: self.model_version,
            api_endpoint: self.api_endpoint,
            context_window: self.context_window,
            max_total_tokens: self.max_total_tokens,
            max_calls: self.max_calls,
            permission_mode: None,
            ask_tools: None,
            questions: None,
            ask_timeout_secs: None,
            egress: None,
            egress_allow: None,
        };
        model(config, demo).map(|spec| ModelChange::Whole(Box::new(spec)))
    }

    fn fields(self) -> Result<ModelFields, ApiError> {
        if self.api_endpoint.is_some() {
            return Err(field(
                "api_endpoint",
                "needs provider and model beside it, because it says where the key goes",
            ));
        }
        if let Some(name) = &self.model {
            check_name(name)?;
        }
        let version = self.model_version.filter(|text| !text.trim().is_empty());
        Ok(ModelFields {
            name: self.model.map(|name| name.trim().to_owned()),
            version: check_version(version)?,
            key: check_key(self.api_key)?,
            temperature: check_temperature(self.temperature)?,
            max_tokens: whole("max_tokens", self.max_tokens, 128_000)?,
            context_window: whole("context_window", self.context_window, 10_000_000)?,
            budget: budget(self.max_total_tokens, self.max_calls)?,
        })
    }
}

fn check_key(key: Option<String>) -> Result<Option<Secret>, ApiError> {
    let key = key.unwrap_or_default();
    if key.len() > MAX_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(field(
            "api_key",
            "must be one word of at most 16384 printable ASCII characters",
        ));
    }
    Ok((!key.is_empty()).then(|| Secret::new(key)))
}

fn check_name(name: &str) -> Result<(), ApiError> {
    if name.trim().is_empty() || name.chars().count() > MAX_NAME {
        return Err(field("model", "must have 1 to 256 characters"));
    }
    Ok(())
}

fn check_version(version: Option<String>) -> Result<Option<String>, ApiError> {
    let is_long = |version: &String| version.chars().count() > MAX_NAME;
    if version.as_ref().is_some_and(is_long) {
        return Err(field("model_version", "must have at most 256 characters"));
    }
    Ok(version.filter(|version| !version.trim().is_empty()))
}

fn check_temperature(temperature: Option<f64>) -> Result<Option<f64>, ApiError> {
    if temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
        return Err(field("temperature", "must be from 0 to 2"));
    }
    Ok(temperature)
}

fn budget(total_tokens: Option<i64>, calls: Option<i64>) -> Result<Budget, ApiError> {
    Ok(Budget {
        max_total_tokens: whole("max_total_tokens", total_tokens, 1_000_000_000_000)?,
        max_calls: whole("max_calls", calls, 1_000_000_000)?,
    })
}

fn model(config: ModelConfig, demo: bool) -> Result<ModelSpec, ApiError> {
    let key = check_key(config.api_key)?;
    let endpoint = config.api_endpoint.as_deref();
    let upstream = Upstream::resolve(&config.provider, endpoint, key.is_some(), demo)
        .map_err(|error| unresolved(&error))?;
    check_name(&config.model)?;
    Ok(ModelSpec {
        upstream,
        name: config.model.trim().to_owned(),
        version: check_version(config.model_version)?,
        key,
        temperature: check_temperature(config.temperature)?,
        max_tokens: whole("max_tokens", config.max_tokens, 128_000)?,
        context_window: whole("context_window", config.context_window, 10_000_000)?,
        budget: budget(config.max_total_tokens, config.max_calls)?,
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
