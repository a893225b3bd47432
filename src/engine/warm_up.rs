//! What a child does before it counts as ready. The first session and the first turn of a process make OpenCode load
//! most of what it consists of, and a turn that is aborted meanwhile leaves it unable to do any.
//!
//! The engine knows that a turn can be run, and not what a turn is: `app` brings the function that runs one.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::load::Load;
use super::reaper::{Reaper, Scope};
use crate::opencode::{CallError, Client, NewSession, SessionLimits};

/// How far a child is tried before it counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By a whole turn: ready means that a turn has just run.
    Turn,
    /// By a session that is made and deleted.
    Session,
    Off,
}

/// How the warm-up of a child went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WarmUpReport {
    pub(crate) mode: Mode,
    pub(crate) took: Duration,
    /// From the prompt to what the agent first said, where there was a turn.
    pub(crate) first_output: Option<Duration>,
}

/// A test turn that succeeded, and that nothing is left of in the child.
#[derive(Debug)]
pub(crate) struct FinishedWarmUpTurn {
    /// OpenCode's id of the session that it was in.
    pub(crate) session: String,
    pub(crate) first_output: Duration,
}

type Running = Pin<Box<dyn Future<Output = Result<FinishedWarmUpTurn, String>> + Send>>;

/// Runs a whole turn on a child. An error completes the sentence "the warm-up did not succeed: …".
#[derive(Clone)]
pub(crate) struct WarmUpTurn(Arc<dyn Fn(Client) -> Running + Send + Sync>);

/// How children are warmed up. A cheap clone.
#[derive(Clone, Debug)]
pub(super) struct WarmUp {
    pub(super) mode: Mode,
    pub(super) workspace: PathBuf,
    pub(super) turn: WarmUpTurn,
    pub(super) load: Load,
    pub(super) reaper: Reaper,
}

// === impl Mode ===

impl Mode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Session => "session",
            Self::Off => "off",
        }
    }
}

// === impl WarmUpTurn ===

impl WarmUpTurn {
    pub(crate) fn new<F>(run: impl Fn(Client) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<FinishedWarmUpTurn, String>> + Send + 'static,
    {
        Self(Arc::new(move |client| Box::pin(run(client))))
    }
}

impl fmt::Debug for WarmUpTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WarmUpTurn")
    }
}

// === impl WarmUp ===

impl WarmUp {
    /// Warms up the child that `client` calls. May be dropped: then the child has to be stopped.
    pub(super) async fn run(&self, client: &Client) -> Result<WarmUpReport, String> {
        let begun = Instant::now();
        // Turns of the child before wait for this one, and are to go on as soon as they can.
        let mode = match self.mode {
            Mode::Turn if self.load.has_turns() => Mode::Session,
            mode => mode,
        };
        let mut first_output = None;
        match mode {
            Mode::Off => {}
            Mode::Session => self
                .make_session(client)
                .await
                .map_err(|error| format!("could not {error}"))?,
            Mode::Turn => {
                let finished = (self.turn.0)(client.clone()).await?;
                first_output = Some(finished.first_output);
                let commands = Scope::Sessions(vec![finished.session]);
                self.reaper.sweep(commands).await;
            }
        }
        Ok(WarmUpReport {
            mode,
            took: begun.elapsed(),
            first_output,
        })
    }

    async fn make_session(&self, client: &Client) -> Result<(), CallError> {
        let new = NewSession {
            directory: &self.workspace,
            title: "warm-up",
            limits: SessionLimits::default(),
        };
        let session = client.create_session(&new).await?;
        client.delete_session(&session.id).await
    }
}
