//! Which model a prompt goes to: flags over the context's defaults. `model_config` of the API.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::exit::Problem;
use super::policy_args::PolicyArgs;
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
    #[command(flatten)]
    policy: PolicyArgs,
}

// === impl ModelArgs ===

impl ModelArgs {
    /// The JSON of `model_config`, for a new session.
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
        let file = self
            .key_file
            .clone()
            .or_else(|| defaults.key_file.clone().filter(|_| same));
        let key = match file {
            None if is_demo => None,
            file => key(file.as_deref(), environment)?,
        };
        let endpoint = self
            .endpoint
            .clone()
            .or_else(|| default(&defaults.endpoint));
        let mut config = self.limits();
        config.insert("provider".into(), provider.into());
        config.insert("model".into(), model.into());
        add(&mut config, "api_key", key);
        add(&mut config, "api_endpoint", endpoint);
        Ok(Value::Object(config))
    }

    /// The JSON of `model_config` for a further turn: the whole of it if a flag names a provider, else what is to change.
    /// Nothing if all stays as it was. A context alone changes nothing: the session may be of another provider.
    pub(super) fn change(
        &self,
        target: &Target,
        environment: &ClientEnvironment,
    ) -> Result<Option<Value>, Problem> {
        if self.provider.is_some() {
            return self.config(target, environment).map(Some);
        }
        if self.endpoint.is_some() {
            return Err(Problem::usage("--endpoint needs --provider"));
        }
        let mut config = self.limits();
        add(&mut config, "model", self.model.clone());
        // A key in the environment may be meant for another provider; a file was named for this turn.
        if let Some(file) = self.key_file.as_deref() {
            add(&mut config, "api_key", key(Some(file), environment)?);
        }
        Ok((!config.is_empty()).then_some(Value::Object(config)))
    }

    /// What has no default of the context.
    fn limits(&self) -> Map<String, Value> {
        let mut config = Map::new();
        let tools = self.tools.as_ref().map(|tools| json!(tools));
        add(&mut config, "enabled_tools", tools);
        add(&mut config, "temperature", self.temperature);
        add(&mut config, "max_tokens", self.max_tokens);
        add(&mut config, "max_total_tokens", self.max_total_tokens);
        add(&mut config, "max_calls", self.max_calls);
        self.policy.add_to(&mut config);
        config
    }

    /// What is used, for the first line: `openai gpt-4o`; nothing if that is as it was before.
    pub(super) fn title(config: &Value) -> Option<String> {
        let field = |name: &str| config[name].as_str();
        Some(format!("{} {}", field("provider")?, field("model")?))
    }
}

fn add(config: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        config.insert(name.to_owned(), value.into());
    }
}

/// The provider's key in this file, or in the environment.
fn key(file: Option<&Path>, environment: &ClientEnvironment) -> Result<Option<String>, Problem> {
    let key = match file {
        Some(file) => Some(secret_file("--key-file", file)?),
        None => environment.api_key(),
    };
    Ok(key.map(|key| key.expose().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ModelDefaults, client_environment};

    #[test]
    fn a_context_does_not_turn_a_session_to_another_provider() {
        let target = Target {
            url: "http://localhost".parse().unwrap(),
            token: None,
            ca_file: None,
            defaults: ModelDefaults {
                provider: Some("openai".into()),
                model: Some("gpt-4o".into()),
                ..ModelDefaults::default()
            },
        };
        let environment = client_environment();
        let change = |args: &ModelArgs| args.change(&target, &environment).unwrap();
        assert_eq!(change(&ModelArgs::default()), None);
        let limited = ModelArgs {
            max_calls: Some(3),
            ..ModelArgs::default()
        };
        assert_eq!(change(&limited), Some(json!({ "max_calls": 3 })));
        let named = ModelArgs {
            provider: Some("openai".into()),
            ..ModelArgs::default()
        };
        assert_eq!(change(&named).unwrap()["model"], "gpt-4o");
    }
}
