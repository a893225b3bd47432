//! The command line: built from the table of settings, read once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::time::Duration;

use clap::{Arg, ArgMatches};

use super::reader::Reader;
use super::secrets::SharedSecrets;
use super::settings::{SETTINGS, Setting};
use super::{Config, ConfigError, parse};
use crate::secret::Secret;

/// What the program was asked to do.
#[derive(Debug)]
pub enum Command {
    /// Serve until told to stop.
    Serve(Box<Config>),
    /// Ask a running instance how it is.
    Healthcheck(Healthcheck),
    /// Have a running instance leave, and wait until its turns have ended.
    Drain(Drain),
    /// Print a text (help, version) and leave.
    Print(String),
}

/// `opencode-sidecar healthcheck`.
#[derive(Debug)]
pub struct Healthcheck {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    /// Ask `/ready` instead of `/healthz`.
    pub(crate) ready: bool,
}

/// `opencode-sidecar drain`.
#[derive(Debug)]
pub struct Drain {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    /// What the instance asks for, if it does.
    pub(crate) token: Option<Secret>,
    /// The longest the instance may take.
    pub(crate) timeout: Duration,
}

/// Reads the flags and the environment of this process.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub fn from_process() -> Result<Command, ConfigError> {
    read(std::env::args_os(), std::env::vars_os())
}

/// The environment of this process as it is, for the one command that hands it on whole.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub fn environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

pub(super) fn read(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, ConfigError> {
    let matches = match command_line().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Command::Print(error.to_string())),
        Err(error) => return Err(ConfigError::Usage(first_line(&error.to_string()))),
    };
    let reader = |matches: &ArgMatches| Reader::new(flags(matches), environment);
    match matches.subcommand() {
        Some(("healthcheck", matches)) => {
            let ready = matches.get_flag("ready");
            let reader = reader(matches);
            let host = reader.required("HOST", parse::address)?;
            let port = reader.required("PORT", parse::port)?;
            Ok(Command::Healthcheck(Healthcheck { host, port, ready }))
        }
        Some(("drain", matches)) => {
            let reader = reader(matches);
            Ok(Command::Drain(Drain {
                host: reader.required("HOST", parse::address)?,
                port: reader.required("PORT", parse::port)?,
                token: SharedSecrets::read(&reader)?.first(),
                timeout: reader.required("DRAIN_TIMEOUT", parse::duration)?,
            }))
        }
        _ => Ok(Command::Serve(Box::new(Config::read(&reader(&matches))?))),
    }
}

fn command_line() -> clap::Command {
    let healthcheck = clap::Command::new("healthcheck")
        .about("Ask a running instance on this host; exit 0 if it is well, 1 if not")
        .arg(
            Arg::new("ready")
                .long("ready")
                .action(clap::ArgAction::SetTrue)
                .help("Ask whether it is ready for work, not only alive"),
        )
        .args(some(&["HOST", "PORT"]));
    let drain = clap::Command::new("drain")
        .about("Have a running instance on this host leave, and wait until its turns have ended; exit 0 then, or 1")
        .args(some(&["HOST", "PORT", "DRAIN_TIMEOUT", "OPENCODE_SHARED_SECRET"]));
    clap::Command::new("opencode-sidecar")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Turns OpenCode, the AI coding agent, into a dependable service")
        .after_help(
            "Every option is also an environment variable, named beside it; the option wins. \
             Secrets have no option, because command lines can be read: give the variable or a file.",
        )
        .args_conflicts_with_subcommands(true)
        .subcommand(healthcheck)
        .subcommand(drain)
        .args(SETTINGS.iter().map(one))
}

/// The arguments of some settings.
fn some(names: &'static [&'static str]) -> impl Iterator<Item = Arg> {
    SETTINGS
        .iter()
        .filter(|setting| names.contains(&setting.name))
        .map(one)
}

/// What sets this setting: a secret is set by its file only.
fn one(setting: &'static Setting) -> Arg {
    file_argument(setting).unwrap_or_else(|| argument(setting))
}

fn argument(setting: &'static Setting) -> Arg {
    let default = setting
        .default
        .map_or_else(String::new, |default| format!(", default {default}"));
    Arg::new(setting.name)
        .long(setting.flag())
        .value_name("VALUE")
        .hide_short_help(false)
        .help_heading(setting.group.heading())
        .help(format!("{} [{}{default}]", setting.help, setting.name))
}

fn file_argument(setting: &'static Setting) -> Option<Arg> {
    let name = setting.file_name()?;
    let help = format!(
        "File with: {}; read again when it changes [{name}; [{}] is the value itself]",
        setting.help, setting.name
    );
    Some(
        Arg::new(name.clone())
            .long(name.to_ascii_lowercase().replace('_', "-"))
            .value_name("PATH")
            .help_heading(setting.group.heading())
            .help(help),
    )
}

fn flags(matches: &ArgMatches) -> BTreeMap<String, String> {
    matches
        .ids()
        .filter_map(|id| {
            let value = matches.try_get_one::<String>(id.as_str()).ok()??;
            Some((id.as_str().to_owned(), value.clone()))
        })
        .collect()
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
