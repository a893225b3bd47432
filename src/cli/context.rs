//! What every command that talks to a sidecar has: whom it talks to, and what it writes to.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::client::Client;
use super::exit::Problem;
use super::output::say;
use super::terminal::Terminal;
use crate::config::{ClientEnvironment, ConnectionArgs, Target};

/// The form of what a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For a person
    #[default]
    Text,
    /// For a program
    Json,
}

/// In which form a command prints.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(super) struct FormArgs {
    /// Form of the output
    #[arg(
        long,
        short = 'o',
        value_enum,
        default_value = "text",
        value_name = "FORM"
    )]
    output: Output,
    /// The same as `--output json`
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

/// Where the sidecar is, and in which form its answer is printed.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(super) struct CommonArgs {
    #[command(flatten)]
    pub(super) form: FormArgs,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

/// The surroundings of a command.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) environment: ClientEnvironment,
    pub(super) terminal: Terminal,
}

// === impl FormArgs ===

impl FormArgs {
    pub(super) fn is_json(&self) -> bool {
        self.json || self.output == Output::Json
    }
}

// === impl Context ===

impl Context {
    pub(super) fn new(environment: ClientEnvironment) -> Self {
        Self {
            terminal: Terminal::new(&environment),
            environment,
        }
    }

    pub(super) fn connect(&self, args: &ConnectionArgs) -> Result<(Client, Target), Problem> {
        let target = self.environment.target(args)?;
        let client = Client::new(&target)?;
        let warn = |sentence: &str| say(&self.terminal.error_style().warning(sentence));
        if client.sends_token_in_clear() {
            let address = client.address();
            warn(&format!(
                "warning: the token goes to {address} unencrypted; use https, or kubectl port-forward"
            ));
        }
        if let Some(path) = self.environment.exposed_contexts() {
            let path = path.display();
            warn(&format!(
                "warning: {path} holds a token, and others may read it; chmod 600 {path}"
            ));
        }
        if client.shows_itself() {
            // Where no secret is set the sidecar looks whose process asks, and refuses whom it cannot look at.
            // Where this fails its answer says what to do.
            set_dumpable_behavior(DumpableBehavior::Dumpable).ok();
        }
        Ok((client, target))
    }
}
