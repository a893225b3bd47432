//! What every command that talks to a sidecar has: whom it talks to, and what it writes to.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::client::Client;
use super::exit::Problem;
use super::terminal::Terminal;
use crate::config::{ClientEnvironment, ConnectionArgs, Target};

/// The form of what a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For a person
    #[default]
    Text,
    /// What the sidecar answered
    Json,
}

/// Where the sidecar is, and in which form its answer is printed.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(super) struct CommonArgs {
    /// Form of the output
    #[arg(
        long,
        short = 'o',
        value_enum,
        default_value = "text",
        value_name = "FORM"
    )]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

/// The surroundings of a command.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) environment: ClientEnvironment,
    pub(super) terminal: Terminal,
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
        if client.shows_itself() {
            // Where no secret is set the sidecar looks whose process asks, and refuses whom it cannot look at.
            // Where this fails its answer says what to do.
            set_dumpable_behavior(DumpableBehavior::Dumpable).ok();
        }
        Ok((client, target))
    }
}
