//! The command line for people and scripts: commands that talk to a sidecar over its HTTP API, and a few
//! that look at this host.
//!
//! Nothing here is touched by a process that serves: `main` looks at the first argument alone. A command
//! sees what any client sees, and holds no rules of its own. What others wrote (the model, its tools)
//! reaches the terminal through `plain_text` only.

mod answering;
mod arguments;
mod asks;
mod attachments;
mod client;
mod command;
mod context;
mod editor;
mod exit;
mod follow;
mod keys;
mod layout;
mod local_server;
mod model_args;
mod output;
mod plain_text;
mod policy_args;
mod progress;
mod screen;
mod style;
mod table;
mod terminal;
mod transcript;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;

use self::arguments::{Command, overview, tree};
use self::context::Context;
use self::exit::{Exit, Outcome, Problem};
pub use self::local_server::{LOCAL_SERVER, dies_with_parent};
use self::output::{say, write};
use crate::config;

/// Whether the first argument is for this module: a word that is no command of the server, or a wish for help.
pub fn wants(first: &OsStr) -> bool {
    let Some(word) = first.to_str() else {
        return true;
    };
    match word {
        "" | "serve" | "healthcheck" | "drain" | LOCAL_SERVER => false,
        "-h" | "--help" | "-V" | "--version" => true,
        word => !word.starts_with('-'),
    }
}

/// Runs the command that `arguments`, without the program's name, say.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let context = Context::new(config::client_environment());
    let program = OsString::from("opencode-sidecar");
    let arguments: Vec<OsString> = std::iter::once(program).chain(arguments).collect();
    let outcome = match parse(&arguments) {
        Ok(Parsed::Command(command)) => dispatch(command, &context),
        Ok(Parsed::Overview) => write(&overview(context.terminal.style()))
            .map(|()| Exit::Done)
            .map_err(Problem::from),
        Ok(Parsed::Print(text)) => write(&text).map(|()| Exit::Done).map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(problem) => {
            if !problem.sentence.is_empty() {
                let word = context.terminal.error_style().bad("error:");
                say(&format!("{word} {}", problem.sentence));
            }
            problem.exit.into()
        }
    }
}

enum Parsed {
    Command(Box<Command>),
    Overview,
    /// Help or the version.
    Print(String),
}

fn parse(arguments: &[OsString]) -> Result<Parsed, Problem> {
    let asked =
        |words: &[&str]| arguments.len() == 2 && words.iter().any(|word| arguments[1] == *word);
    if asked(&["-h", "--help", "help"]) {
        return Ok(Parsed::Overview);
    }
    let matches = match tree().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Parsed::Print(error.to_string())),
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return Ok(Parsed::Print(error.to_string()));
        }
        Err(error) => return Err(Problem::usage(sentence(&error.to_string()))),
    };
    let command = Command::from_arg_matches(&matches);
    command
        .map(|command| Parsed::Command(Box::new(command)))
        .map_err(|error| Problem::usage(sentence(&error.to_string())))
}

/// What is wrong and what may have been meant, without the usage.
fn sentence(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let words: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let words = words.join(" ").replace(" tip: ", "; ");
    let words = words.strip_prefix("error: ").unwrap_or(&words);
    plain_text::one_line(&format!("{words}; --help lists what there is"))
}

fn dispatch(command: Box<Command>, context: &Context) -> Outcome {
    match *command {
        Command::Config(args) => command::config::run(&args, context.terminal),
        Command::Context(args) => command::context::run(&args, context),
        Command::Openapi(_) => command::openapi::run(),
        Command::Version(args) => command::version::run(&args),
        Command::Completions(args) => command::completions::run(&args, tree()),
        Command::Man(args) => command::man::run(&args, tree()),
        Command::Run(args) => block_on(command::run::run(args, context)),
        Command::Attach(args) => block_on(command::attach::run(args, context)),
        Command::Resume(args) => block_on(command::resume::run(args, context)),
        Command::Stop(args) => block_on(command::stop::run(args, context)),
        Command::Ps(args) => block_on(command::ps::run(args, context)),
        Command::Logs(args) => block_on(command::logs::run(args, context)),
        Command::Top(args) => block_on(command::top::run(args, context)),
        Command::Diff(args) => block_on(command::diff::run(args, context)),
        Command::Events(args) => block_on(command::events::run(args, context)),
        Command::Diagnose(args) => block_on(command::diagnose::run(args, context)),
        Command::Doctor(args) => block_on(command::doctor::run(args, context)),
    }
}

fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let failed = |error: std::io::Error| Problem::failed(format!("nothing can be run: {error}"));
    let runtime = runtime.map_err(failed)?;
    let outcome = runtime.block_on(work);
    // A look-up of a name may hang in a thread of its own; it must not hold us.
    runtime.shutdown_background();
    outcome
}
