//! The settings as a sidecar here would have them: for a person to look at, and for checks before it starts.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::FromArgMatches as _;

use super::checked;
use super::command_line::{Command, over, read, refusal, serve_command, variable};
use super::environment::Environment;
use super::error::ConfigError;
use super::secrets::{self, SharedSecrets};
use super::settings::Settings;
use crate::{engine, gateway, sandbox};

/// One setting and its value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EffectiveSetting {
    pub(crate) name: String,
    /// Nothing where it has no value, and words in the place of a secret.
    pub(crate) value: Option<String>,
    pub(crate) origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    Variable,
}

/// What a sidecar here would work with. What cannot be had says why, so that one mistake does not hide another.
#[derive(Debug)]
pub(crate) struct Inspection {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    /// Further ports that are to be free, by the setting that names them.
    pub(crate) other_ports: Vec<(&'static str, IpAddr, u16)>,
    pub(crate) workspace: PathBuf,
    pub(crate) opencode: Result<PathBuf, ConfigError>,
    pub(crate) data_dir: Result<PathBuf, ConfigError>,
    pub(crate) secrets: Result<SharedSecrets, ConfigError>,
    /// The most the journal may take; nothing if there is none.
    pub(crate) journal_bytes: Option<u64>,
    pub(crate) gateway: gateway::Config,
    pub(crate) sandbox: sandbox::Config,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) hints: Vec<String>,
}

const NOT_SHOWN: &str = "(set, not shown)";

// === impl Origin ===

impl Origin {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Variable => "variable",
        }
    }
}

/// Whether a sidecar would start with these variables; hints at what looks misspelt.
pub(crate) fn check(variables: Vec<(OsString, OsString)>) -> Result<Vec<String>, ConfigError> {
    match read(["opencode-sidecar".into()], variables)? {
        Command::Serve(config) => Ok(config.hints),
        _ => Ok(Vec::new()),
    }
}

/// Every setting, as the variables have it.
pub(crate) fn effective(variables: Vec<(OsString, OsString)>) -> Vec<EffectiveSetting> {
    settings_of(&Environment::new(variables))
}

/// What a sidecar would work with, each part by itself.
///
/// # Errors
/// When a value is not accepted, so that there is nothing to look at.
pub(crate) fn inspection(variables: Vec<(OsString, OsString)>) -> Result<Inspection, ConfigError> {
    inspect(&Environment::new(variables))
}

fn settings_of(environment: &Environment) -> Vec<EffectiveSetting> {
    let command = serve_command();
    let given = |name: &str| {
        environment
            .setting(name)
            .map(|(_, value)| shown(name, value))
    };
    let setting = |name: String, default: Option<String>| match given(&name) {
        Some(value) => EffectiveSetting {
            name,
            value: Some(value),
            origin: Origin::Variable,
        },
        None => EffectiveSetting {
            name,
            value: default,
            origin: Origin::Default,
        },
    };
    let default = |arg: &clap::Arg| {
        let value = arg.get_default_values().first()?;
        Some(value.to_string_lossy().into_owned())
    };
    let flags = command
        .get_arguments()
        .filter_map(|arg| Some(setting(variable(arg)?, default(arg))));
    std::iter::once(setting(secrets::NAME.to_owned(), None))
        .chain(flags)
        .collect()
}

/// The value, unless it is a secret or may hold one.
fn shown(name: &str, value: String) -> String {
    // What stands before an @ in an address may be a password.
    if name == secrets::NAME || value.contains('@') {
        NOT_SHOWN.to_owned()
    } else {
        value
    }
}

fn inspect(environment: &Environment) -> Result<Inspection, ConfigError> {
    let matches = over(environment, serve_command())
        .try_get_matches_from(["serve"])
        .map_err(|error| refusal(&error, Some(environment)))?;
    let settings = Settings::from_arg_matches(&matches).map_err(|error| refusal(&error, None))?;
    let Settings {
        address,
        secret,
        server,
        work,
        journal,
        gateway,
        places,
        engine,
        ..
    } = settings;
    let names = settings_of(environment)
        .into_iter()
        .map(|setting| setting.name)
        .collect();
    let engine::Config {
        port: opencode_port,
        sandbox,
        memory_limit,
        ..
    } = engine;
    let loopback = [127, 0, 0, 1].into();
    let other_ports = [
        (
            "METRICS_PORT",
            address.host,
            server.metrics_port.unwrap_or(0),
        ),
        ("OPENCODE_PORT", loopback, opencode_port),
    ];
    Ok(Inspection {
        other_ports: other_ports
            .into_iter()
            .filter(|(_, _, port)| *port != 0)
            .collect(),
        host: address.host,
        port: address.port,
        workspace: checked::absolute(&work.workspace_dir),
        opencode: checked::opencode_bin(places.opencode_bin, environment),
        data_dir: checked::data_dir(places.data_dir),
        secrets: SharedSecrets::read(secret, environment),
        journal_bytes: work.journal.then_some(journal.max_bytes),
        gateway,
        sandbox,
        memory_limit,
        hints: environment.hints(names),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(*name), OsString::from(*value)));
        Environment::new(variables)
    }

    #[test]
    fn secrets_and_what_may_hold_one_are_not_shown() {
        let settings = settings_of(&environment(&[
            ("OPENCODE_SHARED_SECRET", "hunter2"),
            ("HTTPS_PROXY", "http://me:hunter2@proxy"),
            ("PORT", "4000"),
        ]));
        let text = format!("{settings:?}");
        assert!(!text.contains("hunter2"), "{text}");
        let of = |name: &str| {
            settings
                .iter()
                .find(|setting| setting.name == name)
                .unwrap()
        };
        assert_eq!(of("HTTPS_PROXY").value.as_deref(), Some(NOT_SHOWN));
        assert_eq!(
            (of("PORT").value.as_deref(), of("PORT").origin),
            (Some("4000"), Origin::Variable)
        );
        assert_eq!(
            (of("HOST").value.as_deref(), of("HOST").origin),
            (Some("::"), Origin::Default)
        );
    }

    #[test]
    fn one_mistake_does_not_hide_another() {
        let inspection = inspect(&environment(&[
            ("OPENCODE_BIN", "/nowhere"),
            ("DATA_DIR", "/proc/x"),
            ("OPENCODE_SHARED_SECRET", "a b"),
        ]))
        .unwrap();
        assert!(inspection.opencode.is_err());
        assert!(inspection.data_dir.is_err());
        assert!(inspection.secrets.is_err());
    }
}
