//! Where a value comes from: flag, variable, default. Knows no setting by name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::ConfigError;
use super::parse;
use super::settings::{OLD_OPENCODE_PORT, SETTINGS, Setting};

/// Variables the child may have from us as they are. Everything else stays here: the agent's shell
/// inherits whatever the child has.
const PASSED_ON: &[&str] = &["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];

/// Prefixes that are ours (or OpenCode's): a name near one of ours is worth a hint.
const PREFIXES: &[&str] = &["OPENCODE_", "SIDECAR_", "ENGINE_"];

/// The raw values of one start.
pub(super) struct Reader {
    flags: BTreeMap<String, String>,
    environment: BTreeMap<String, OsString>,
}

// === impl Reader ===

impl Reader {
    /// `flags` by variable name; `environment` as the process got it.
    pub(super) fn new(
        flags: BTreeMap<String, String>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let environment = environment
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        Self { flags, environment }
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.flags.contains_key(name) || self.environment.contains_key(name)
    }

    /// The text given for `name` and how to call it in a message.
    pub(super) fn given(&self, name: &str) -> Option<(String, String)> {
        if let Some(value) = self.flags.get(name) {
            let flag = format!("--{}", name.to_ascii_lowercase().replace('_', "-"));
            return Some((flag, value.clone()));
        }
        // Proxies are written in lower case as often as not.
        let lower = name.to_ascii_lowercase();
        let proxy = name.ends_with("_PROXY").then_some(lower.as_str());
        let found = |name: &str| Some((name.to_owned(), self.environment.get(name)?));
        let (name, value) = found(name).or_else(|| found(proxy?))?;
        Some((name, value.to_string_lossy().into_owned()))
    }

    /// The value of `name` if it was given.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((shown, value)) = self.given(name) else {
            return Ok(None);
        };
        match parse(value.trim()) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(refuse(name, shown, value)),
        }
    }

    /// The value of `name`, or of its default.
    pub(super) fn required<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        if let Some(value) = self.optional(name, &parse)? {
            return Ok(value);
        }
        let default = lookup(name)
            .and_then(|setting| setting.default)
            .unwrap_or_default();
        parse(default).ok_or_else(|| refuse(name, name.to_owned(), default.to_owned()))
    }

    pub(super) fn passed_on(&self) -> Vec<(String, OsString)> {
        PASSED_ON
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), self.environment.get(*name)?.clone())))
            .collect()
    }

    pub(super) fn path_dirs(&self) -> Vec<PathBuf> {
        self.environment
            .get("PATH")
            .map(|path| std::env::split_paths(path).collect())
            .unwrap_or_default()
    }

    /// A sentence for each variable that looks like a misspelt setting.
    pub(super) fn hints(&self) -> Vec<String> {
        let known = known_names();
        self.environment
            .keys()
            .filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
            .filter(|name| !known.contains(name))
            .filter_map(|name| {
                let (distance, nearest) =
                    known.iter().map(|k| (parse::distance(name, k), k)).min()?;
                (distance <= 3).then(|| {
                    format!(
                        "the environment variable {name} is not a setting; did you mean {nearest}?"
                    )
                })
            })
            .collect()
    }
}

fn lookup(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

fn known_names() -> Vec<String> {
    SETTINGS
        .iter()
        .flat_map(|setting| [Some(setting.name.to_owned()), setting.file_name()])
        .flatten()
        .chain([OLD_OPENCODE_PORT.to_owned()])
        .collect()
}

pub(super) fn refuse(name: &str, shown: String, value: String) -> ConfigError {
    // The old spelling of the contract accepts what the new one does.
    let name = if name == OLD_OPENCODE_PORT {
        "OPENCODE_PORT"
    } else {
        name
    };
    match lookup(name) {
        Some(setting) if setting.secret => ConfigError::BadSecret {
            name: shown,
            accepts: setting.accepts,
        },
        Some(setting) => ConfigError::BadValue {
            name: shown,
            value,
            accepts: setting.accepts,
        },
        None => ConfigError::Usage(format!("{shown} is not a setting")),
    }
}
