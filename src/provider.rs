//! The providers, as data.
//!
//! Owns the table of names, dialects and default addresses, and the two decisions that follow from it:
//! where a session's calls go ([`Upstream::resolve`]) and what the model is called there
//! ([`Upstream::model_id`]). Pure; opens nothing. `API_CONTRACT.md` prints the same table and a test
//! holds the two together.

use reqwest::Url;

/// The API that a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dialect {
    /// OpenAI's chat completions, which most providers speak.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
}

/// Whether a session must bring a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyRule {
    Required,
    /// Sent when given.
    Optional,
}

/// How `model_version` becomes part of the model's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionStyle {
    /// `gpt-4o` + `2024-08-06` = `gpt-4o-2024-08-06`.
    Dash,
    /// `claude-sonnet-4` + `2025-05-14` = `claude-sonnet-4-20250514`.
    DashDigits,
    /// `llama3.1` + `70b` = `llama3.1:70b`.
    Colon,
    /// The provider's ids carry no version: it is not sent.
    Ignored,
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Provider {
    pub(crate) name: &'static str,
    /// Spoken to the default address.
    pub(crate) dialect: Dialect,
    /// Spoken to any other address.
    pub(crate) custom_dialect: Dialect,
    /// Up to and including the version; `None`: the session must give `api_endpoint`.
    pub(crate) default_base: Option<&'static str>,
    pub(crate) key: KeyRule,
    pub(crate) version_style: VersionStyle,
}

/// The provider that is answered inside the gateway.
pub(crate) const DEMO: &str = "demo";

const fn preset(name: &'static str, base: &'static str, version_style: VersionStyle) -> Provider {
    Provider {
        name,
        dialect: Dialect::Chat,
        custom_dialect: Dialect::Chat,
        default_base: Some(base),
        key: KeyRule::Required,
        version_style,
    }
}

/// Every provider a session may name.
pub(crate) static PROVIDERS: &[Provider] = &[
    Provider {
        dialect: Dialect::Responses,
        ..preset("openai", "https://api.openai.com/v1", VersionStyle::Dash)
    },
    Provider {
        dialect: Dialect::Messages,
        custom_dialect: Dialect::Messages,
        ..preset(
            "anthropic",
            "https://api.anthropic.com/v1",
            VersionStyle::DashDigits,
        )
    },
    Provider {
        key: KeyRule::Optional,
        ..preset("local", "http://127.0.0.1:11434/v1", VersionStyle::Colon)
    },
    Provider {
        name: "custom",
        dialect: Dialect::Chat,
        custom_dialect: Dialect::Chat,
        default_base: None,
        key: KeyRule::Optional,
        version_style: VersionStyle::Ignored,
    },
    preset(
        "openrouter",
        "https://openrouter.ai/api/v1",
        VersionStyle::Dash,
    ),
    preset(
        "groq",
        "https://api.groq.com/openai/v1",
        VersionStyle::Ignored,
    ),
    preset("mistral", "https://api.mistral.ai/v1", VersionStyle::Dash),
    preset(
        "deepseek",
        "https://api.deepseek.com/v1",
        VersionStyle::Ignored,
    ),
    preset("xai", "https://api.x.ai/v1", VersionStyle::Dash),
    preset(
        "together",
        "https://api.together.xyz/v1",
        VersionStyle::Ignored,
    ),
    preset(
        "google",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        VersionStyle::Dash,
    ),
    Provider {
        key: KeyRule::Optional,
        ..preset(DEMO, "http://demo.invalid/v1", VersionStyle::Ignored)
    },
];

/// Where one session's calls go.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    provider: &'static Provider,
    dialect: Dialect,
    base: Url,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ResolveError {
    #[error("unknown provider {0:?}")]
    UnknownProvider(String),
    #[error("provider {0} needs an api_endpoint")]
    EndpointMissing(&'static str),
    #[error("api_endpoint is not an absolute http or https address")]
    EndpointInvalid,
    #[error("api_endpoint must not hold a user name or password: use api_key")]
    EndpointCredentials,
    #[error("api_endpoint must end with the version, without query or fragment")]
    EndpointQuery,
    #[error("provider {0} needs an api_key")]
    KeyMissing(&'static str),
    #[error("the demo model is off (DEMO_MODEL=on turns it on)")]
    DemoOff,
}

// === impl Dialect ===

impl Dialect {
    /// The dialect's name in the child's configuration: `gw-openai`, `gw-anthropic` or `gw-compat`.
    pub(crate) const fn provider_id(self) -> &'static str {
        match self {
            Self::Chat => "gw-compat",
            Self::Responses => "gw-openai",
            Self::Messages => "gw-anthropic",
        }
    }

    /// What follows the base address.
    pub(crate) const fn operation(self) -> &'static str {
        match self {
            Self::Chat => "chat/completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
        }
    }

    /// The highest temperature it takes. The contract allows 2; Anthropic answers 400 above 1.
    pub(crate) const fn temperature_cap(self) -> f64 {
        match self {
            Self::Chat | Self::Responses => 2.0,
            Self::Messages => 1.0,
        }
    }
}

// === impl Upstream ===

impl Upstream {
    /// Decides where a session's calls go. `has_key` says whether the session brought a key.
    pub(crate) fn resolve(
        name: &str,
        api_endpoint: Option<&str>,
        has_key: bool,
        demo_on: bool,
    ) -> Result<Self, ResolveError> {
        let provider = PROVIDERS
            .iter()
            .find(|row| row.name == name)
            .ok_or_else(|| ResolveError::UnknownProvider(name.to_owned()))?;
        if provider.name == DEMO && !demo_on {
            return Err(ResolveError::DemoOff);
        }
        if provider.key == KeyRule::Required && !has_key {
            return Err(ResolveError::KeyMissing(provider.name));
        }
        let given = api_endpoint
            .map(|text| text.trim().trim_end_matches('/'))
            .filter(|text| !text.is_empty());
        let default = provider.default_base;
        let text = given
            .or(default)
            .ok_or(ResolveError::EndpointMissing(provider.name))?;
        let base = parse_base(text)?;
        let is_default = default
            .and_then(|text| Url::parse(text).ok())
            .is_some_and(|url| url == base);
        let dialect = if is_default {
            provider.dialect
        } else {
            provider.custom_dialect
        };
        Ok(Self {
            provider,
            dialect,
            base,
        })
    }

    /// The same provider in another dialect: for tests, which have no official address to call.
    #[cfg(test)]
    pub(crate) fn speaking(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }

    pub(crate) const fn provider(&self) -> &'static Provider {
        self.provider
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn is_demo(&self) -> bool {
        self.provider.name == DEMO
    }

    /// For messages, and to remember what a model does not support: never holds a credential.
    pub(crate) fn base(&self) -> &str {
        self.base.as_str()
    }

    /// Host and port, for messages.
    pub(crate) fn authority(&self) -> String {
        authority(&self.base)
    }

    /// The address of the dialect's one operation.
    pub(crate) fn url(&self) -> Url {
        let mut url = self.base.clone();
        let path = format!(
            "{}/{}",
            self.base.path().trim_end_matches('/'),
            self.dialect.operation()
        );
        url.set_path(&path);
        url
    }

    /// What the model is called at the provider.
    pub(crate) fn model_id(&self, model: &str, version: Option<&str>) -> String {
        let Some(version) = version.map(str::trim).filter(|version| !version.is_empty()) else {
            return model.to_owned();
        };
        let (joint, version) = match self.provider.version_style {
            VersionStyle::Ignored => return model.to_owned(),
            VersionStyle::Dash => ("-", version.to_owned()),
            VersionStyle::DashDigits => ("-", version.replace('-', "")),
            VersionStyle::Colon => (":", version.to_owned()),
        };
        let suffix = format!("{joint}{version}");
        if model.ends_with(&suffix) {
            model.to_owned()
        } else {
            format!("{model}{suffix}")
        }
    }

    /// OpenAI's newer chat models take `max_completion_tokens` only. Of others the 400 shows it.
    pub(crate) fn wants_completion_limit(&self, model: &str) -> bool {
        self.provider.name == "openai" && is_reasoning_model(model)
    }
}

/// OpenAI's `o1`, `o3-mini`, `gpt-5`, … and the same behind a prefix (`openai/o3`).
pub(crate) fn is_reasoning_model(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let o_series = name
        .strip_prefix('o')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    o_series || (name.starts_with("gpt-5") && !name.starts_with("gpt-5-chat"))
}

fn parse_base(text: &str) -> Result<Url, ResolveError> {
    let base = Url::parse(text).map_err(|_| ResolveError::EndpointInvalid)?;
    if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
        return Err(ResolveError::EndpointInvalid);
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(ResolveError::EndpointCredentials);
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err(ResolveError::EndpointQuery);
    }
    Ok(base)
}

/// Host and port, for messages.
pub(crate) fn authority(url: &Url) -> String {
    let port = url.port_or_known_default();
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}", url.host_str().unwrap_or("the provider"))
}

#[cfg(test)]
mod tests;
