//! Which model a prompt goes to: flags over the context's defaults. `model_config` of the API.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::exit::Problem;
use crate::config::{ClientEnvironment, Target, secret_file};
use crate::provider::{DEMO, PROVIDERS};

/// The model, and what it may do.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Model")]
#[group(skip)]
pub(super) struct ModelArgs {
    /// Provider, such as openai, anthropic, local or custom; `demo` needs no key
    #[arg(long, short = 'p', value_name = "NAME")]
    provider: Option<String>,
    /// The provider's name of the model
    #[arg(long, short = 'm', value_name = "NAME")]
    model: Option<String>,
    /// File with the provider's key, `-` for stdin; the key itself has the variable `SIDECAR_API_KEY`
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    key_file: Option<PathBuf>,
    /// Address of the provider up to and including the version, such as `http://localhost:11434/v1`
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    endpoint: Option<String>,
    /// Tools and groups that the agent may use, separated by commas; default: all
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    tools: Option<Vec<String>>,
    /// From 0 to 2; default: the model's
    #[arg(long, value_name = "NUMBER")]
    temperature: Option<f64>,
    /// Tokens of one answer
    #[arg(long, value_name = "NUMBER")]
    max_tokens: Option<u64>,
    /// Tokens that the session may spend
    #[arg(long, value_name = "NUMBER")]
    max_total_tokens: Option<u64>,
    /// Model calls that the session may make
    #[arg(long, value_name = "NUMBER")]
    max_calls: Option<u64>,
}

// === impl ModelArgs ===

impl ModelArgs {
    /// The JSON of `model_config`.
    pub(super) fn config(
        &self,
        target: &Target,
        environment: &ClientEnvironment,
    ) -> Result<Value, Problem> {
        let defaults = &target.defaults;
        // A context's model and key belong to its provider.
        let same = self.provider.is_none() || self.provider == defaults.provider;
        let default = |value: &Option<String>| value.clone().filter(|_| same);
        let Some(provider) = self.provider.clone().or_else(|| defaults.provider.clone()) else {
            let names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
            return Err(Problem::usage(format!(
                "give --provider, or name one in the context; there are {}",
                names.join(", ")
            )));
        };
        let is_demo = provider == DEMO;
        let model = self.model.clone().or_else(|| default(&defaults.model));
        let Some(model) = model.or_else(|| is_demo.then(|| DEMO.to_owned())) else {
            return Err(Problem::usage(format!(
                "give --model: what {provider} calls it"
            )));
        };
        let mut config = Map::new();
        config.insert("provider".into(), provider.into());
        config.insert("model".into(), model.into());
        let file = self
            .key_file
            .clone()
            .or_else(|| defaults.key_file.clone().filter(|_| same));
        let key = match file {
            Some(file) => Some(secret_file("--key-file", &file)?),
            None if is_demo => None,
            None => environment.api_key(),
        };
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                config.insert(name.to_owned(), value);
            }
        };
        add("api_key", key.map(|key| key.expose().into()));
        add(
            "api_endpoint",
            self.endpoint
                .clone()
                .or_else(|| default(&defaults.endpoint))
                .map(Value::from),
        );
        add(
            "enabled_tools",
            self.tools.as_ref().map(|tools| json!(tools)),
        );
        add("temperature", self.temperature.map(Value::from));
        add("max_tokens", self.max_tokens.map(Value::from));
        add("max_total_tokens", self.max_total_tokens.map(Value::from));
        add("max_calls", self.max_calls.map(Value::from));
        Ok(Value::Object(config))
    }

    /// The JSON of `model_config`, if a flag or the context names a provider.
    pub(super) fn config_if_named(
        &self,
        target: &Target,
        environment: &ClientEnvironment,
    ) -> Result<Option<Value>, Problem> {
        let named = self.provider.is_some() || target.defaults.provider.is_some();
        named.then(|| self.config(target, environment)).transpose()
    }

    /// What is used, for the first line: `openai gpt-4o`.
    pub(super) fn title(config: &Value) -> String {
        let field = |name: &str| config[name].as_str().unwrap_or_default();
        format!("{} {}", field("provider"), field("model"))
    }
}
