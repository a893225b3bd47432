//! The command line with the environment under it: a flag wins over its variable, the variable over the
//! default.

use std::ffi::OsString;
use std::net::IpAddr;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Args as _, FromArgMatches as _};

use super::checked::Config;
use super::client::ClientEnvironment;
use super::environment::Environment;
use super::error::ConfigError;
use super::secrets::{self, SharedSecrets};
use super::settings::{Address, DrainTimeout, SecretFile, Settings};
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

/// Ask a running instance on this host; exit 0 if it is well, 1 if not
#[derive(Debug, clap::Args)]
struct HealthcheckArgs {
    /// Ask whether it is ready for work, not only alive
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    address: Address,
}

/// Have a running instance on this host leave, and wait until its turns have ended; exit 0 then, or 1
#[derive(Debug, clap::Args)]
struct DrainArgs {
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    timeout: DrainTimeout,
    #[command(flatten)]
    secret: SecretFile,
}

/// Reads the flags and the environment of this process.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub fn from_process() -> Result<Command, ConfigError> {
    read(std::env::args_os(), std::env::vars_os())
}

/// Reads the environment of this process alone: serves.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub fn from_variables() -> Result<Command, ConfigError> {
    read(["opencode-sidecar".into()], std::env::vars_os())
}

/// The environment of this process as it is, for commands that hand it on whole or look at all of it.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub fn variables() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// What the client commands read of the environment of this process.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub(crate) fn client_environment() -> ClientEnvironment {
    ClientEnvironment::new(Environment::new(std::env::vars_os()))
}

pub(super) fn read(
    args: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, ConfigError> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    // The name of what is done without one.
    if args.get(1).is_some_and(|first| first == "serve") {
        args.remove(1);
    }
    let environment = Environment::new(variables);
    // Twice: what is wrong with a flag is found first, and then which command's variables count.
    let asked = match command_line().try_get_matches_from(&args) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Command::Print(error.to_string())),
        Err(error) => return Err(refusal(&error, None)),
    };
    let command_line = match asked.subcommand_name() {
        Some(name) => command_line().mut_subcommand(name, |c| over(&environment, c)),
        None => over(&environment, command_line()),
    };
    let matches = command_line
        .try_get_matches_from(&args)
        .map_err(|error| refusal(&error, Some(&environment)))?;
    command(&matches, &environment).unwrap_or_else(|error| Err(refusal(&error, None)))
}

type Read = Result<Result<Command, ConfigError>, clap::Error>;

fn command(matches: &ArgMatches, environment: &Environment) -> Read {
    match matches.subcommand() {
        Some(("healthcheck", matches)) => {
            let HealthcheckArgs { ready, address } = HealthcheckArgs::from_arg_matches(matches)?;
            let Address { host, port } = address;
            Ok(Ok(Command::Healthcheck(Healthcheck { host, port, ready })))
        }
        Some(("drain", matches)) => {
            let args = DrainArgs::from_arg_matches(matches)?;
            let secrets = SharedSecrets::read(args.secret, environment);
            Ok(secrets.map(|secrets| {
                Command::Drain(Drain {
                    host: args.address.host,
                    port: args.address.port,
                    token: secrets.first(),
                    timeout: args.timeout.drain_timeout,
                })
            }))
        }
        _ => {
            let names = settings().into_iter().map(|(name, _)| name).collect();
            let config = Config::new(Settings::from_arg_matches(matches)?, environment, names);
            Ok(config.map(|config| Command::Serve(Box::new(config))))
        }
    }
}

/// The command `serve`, which has every setting.
pub(super) fn serve_command() -> clap::Command {
    let serve = clap::Command::new("serve").after_help(
        "Every option is also an environment variable, named beside it; the option wins. \
         Secrets have no option, because command lines can be read: give the variable or a file.\n\n\
         Examples:\n  \
         opencode-sidecar serve --port 4000 --workspace-dir .\n  \
         DEMO_MODEL=on opencode-sidecar serve",
    );
    explained(Settings::augment_args(serve))
        .about("Serve until told to stop; what is done without a command")
}

fn command_line() -> clap::Command {
    serve_command()
        .name("opencode-sidecar")
        .version(env!("CARGO_PKG_VERSION"))
        .args_conflicts_with_subcommands(true)
        .subcommand(healthcheck_command())
        .subcommand(drain_command())
}

/// The commands of this module, for help, completions and man pages.
pub(crate) fn commands() -> [clap::Command; 3] {
    [serve_command(), healthcheck_command(), drain_command()]
}

fn healthcheck_command() -> clap::Command {
    let command = clap::Command::new("healthcheck").after_help(
        "Examples:\n  opencode-sidecar healthcheck\n  opencode-sidecar healthcheck --ready",
    );
    explained(HealthcheckArgs::augment_args(command))
}

fn drain_command() -> clap::Command {
    let command = clap::Command::new("drain").after_help(
        "Examples:\n  opencode-sidecar drain\n  opencode-sidecar drain --drain-timeout 60",
    );
    explained(DrainArgs::augment_args(command))
}

/// Says of each setting which variable it has, and its default.
fn explained(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| {
        let Some((variable, help)) = variable(&arg).zip(arg.get_help().map(ToString::to_string))
        else {
            return arg;
        };
        let more = match (default(&arg), variable.strip_suffix("_FILE")) {
            (Some(default), _) => format!(", default {default}"),
            // The value has a variable and no flag, because command lines can be read.
            (None, Some(secret)) if secret == secrets::NAME => {
                format!("; [{secret}] is the value itself")
            }
            (None, _) => String::new(),
        };
        arg.help(format!("{help} [{variable}{more}]"))
            .hide_default_value(true)
            .value_name("VALUE")
    })
}

/// Puts the variables that are set in the place of the defaults.
pub(super) fn over(environment: &Environment, command: clap::Command) -> clap::Command {
    command.mut_args(
        |arg| match variable(&arg).and_then(|name| environment.setting(&name)) {
            Some((_, value)) => arg.default_value(value),
            None => arg,
        },
    )
}

/// The variable of a setting; nothing for what is no setting, such as `--ready`.
pub(super) fn variable(arg: &Arg) -> Option<String> {
    let takes_value = arg.get_action().takes_values();
    let long = arg.get_long().filter(|_| takes_value)?;
    Some(long.to_ascii_uppercase().replace('-', "_"))
}

fn default(arg: &Arg) -> Option<String> {
    let value = arg.get_default_values().first()?;
    Some(value.to_string_lossy().into_owned())
}

/// The variables of all settings with their defaults.
pub(super) fn settings() -> Vec<(String, Option<String>)> {
    let command_line = command_line();
    command_line
        .get_arguments()
        .filter_map(|arg| Some((variable(arg)?, default(arg))))
        .chain([(secrets::NAME.to_owned(), None)])
        .collect()
}

/// What is wrong with a value, as one line. With an `environment` the value came from there: flags were
/// found to be good before.
pub(super) fn refusal(error: &clap::Error, environment: Option<&Environment>) -> ConfigError {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let given = text(ContextKind::InvalidArg).zip(text(ContextKind::InvalidValue));
    let accepts = std::error::Error::source(error).map(ToString::to_string);
    let (Some((flag, value)), Some(accepts), ErrorKind::ValueValidation) =
        (given, accepts, error.kind())
    else {
        return ConfigError::Usage(first_line(&error.to_string()));
    };
    // `--port <VALUE>`
    let flag = flag.split(' ').next().unwrap_or(flag);
    let variable = flag
        .trim_start_matches('-')
        .to_ascii_uppercase()
        .replace('-', "_");
    let name = match environment.and_then(|environment| environment.setting(&variable)) {
        Some((name, _)) => name,
        None => flag.to_owned(),
    };
    // What stands before an @ in an address may be a password.
    if value.contains('@') {
        return ConfigError::BadSecret { name, accepts };
    }
    let value = value.to_owned();
    ConfigError::BadValue {
        name,
        value,
        accepts,
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
