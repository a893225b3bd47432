//! The turn that tries a new child before it counts as ready: through everything that a session's turn uses, which
//! is the feed, a session, the plugin, the gateway, a command in the sandbox, and the end.
//!
//! The model is the gateway's script player, so there is no key and no network. The command writes nothing, and the
//! session is deleted. Nobody else hears of it: it is no session of the registry, has a grant of its own, and ends
//! before anybody listens to the child.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::engine::FinishedWarmUpTurn;
use crate::gateway::{self, Grant, Route};
use crate::model::{Budget, ModelCalls, ModelSpec};
use crate::opencode::types::{Event, Part, PartKind, Text, ToolPart, ToolStatus};
use crate::opencode::{
    CallError, Client, Feed, FeedError, Metadata, NewSession, Prompt, PromptPart, SessionLimits,
    SidecarMetadata,
};
use crate::provider::{self, ResolveError, Upstream};
use crate::trace::TurnTrace;

/// What the command says. It is in no other part of the turn.
const SAID: &str = "7919";

/// A script of the demo model.
const PROMPT: &str = r#"```script
text This engine is warming up.
tool bash {"command":"echo $((7900 + 19))","description":"Prove that commands run"}
text It is warm.
```"#;

/// How long the child may take to abort a turn that did not succeed.
const ABORT: Duration = Duration::from_secs(2);

/// Why a turn did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("could not {0}")]
    Call(#[from] CallError),
    #[error("{0}")]
    Feed(#[from] FeedError),
    #[error("{0}")]
    Resolve(#[from] ResolveError),
    #[error("the turn failed: {0}")]
    Turn(String),
    #[error("its command failed: {0}")]
    Command(String),
    #[error("the turn ended without {0}")]
    Incomplete(&'static str),
}

/// What was seen of the turn so far.
#[derive(Debug, Default)]
struct Seen {
    first_output: Option<Instant>,
    command: bool,
    answer: bool,
}

/// Runs the turn. May be dropped: the child then has a session more than it should.
pub(crate) async fn run(
    client: &Client,
    gateway: &gateway::Handle,
    workspace: &Path,
) -> Result<FinishedWarmUpTurn, RunError> {
    let mut feed = client.feed().await?;
    let new = NewSession {
        directory: workspace,
        title: "warm-up",
        limits: SessionLimits {
            rules: Vec::new(),
            metadata: Metadata {
                sidecar: SidecarMetadata {
                    tools: Some(vec!["bash".to_owned()]),
                    rules: None,
                },
            },
        },
    };
    let session = client.create_session(&new).await?.id;
    let followed = prompt_and_follow(client, gateway, &mut feed, &session).await;
    if followed.is_err()
        && let Err(error) = client.abort(&session, ABORT).await
    {
        tracing::debug!(%error, "the engine did not abort the turn of its warm-up");
    }
    if let Err(error) = client.delete_session(&session).await {
        // It harms nobody, and the child has proven itself.
        tracing::debug!(%error, "the session of the warm-up stays");
    }
    let first_output = followed?;
    Ok(FinishedWarmUpTurn {
        session,
        first_output,
    })
}

async fn prompt_and_follow(
    client: &Client,
    gateway: &gateway::Handle,
    feed: &mut Feed,
    session: &str,
) -> Result<Duration, RunError> {
    let grant = register(gateway, session)?;
    let prompt = Prompt {
        model: grant.model_ref(),
        message_id: None,
        parts: &[PromptPart::Text {
            id: None,
            text: PROMPT.to_owned(),
        }],
        system: None,
        label: None,
    };
    let begun = Instant::now();
    client.prompt(session, &prompt).await?;
    let mut seen = Seen::default();
    loop {
        let event = feed.next().await?;
        if event.session() == Some(session)
            && let Some(first_output) = seen.take(event)?
        {
            return Ok(first_output - begun);
        }
    }
}

fn register(gateway: &gateway::Handle, session: &str) -> Result<Grant, ResolveError> {
    let model = ModelSpec {
        upstream: Upstream::resolve(provider::DEMO, None, false, true)?,
        name: provider::DEMO.to_owned(),
        version: None,
        key: None,
        temperature: None,
        max_tokens: None,
        context_window: None,
        // The pod's own budget is for sessions.
        budget: Budget {
            max_total_tokens: Some(1_000_000),
            max_calls: Some(10),
        },
    };
    Ok(gateway.register(Route {
        session: session.to_owned(),
        model,
        enabled_tools: Some(vec!["bash".to_owned()]),
        spent: ModelCalls::default(),
        counts: false,
        trace: TurnTrace::default(),
    }))
}

// === impl Seen ===

impl Seen {
    /// Takes an event of the turn. Once it is complete, says when the agent first said something.
    fn take(&mut self, event: Event) -> Result<Option<Instant>, RunError> {
        match event {
            // Only what a model says comes in pieces.
            Event::Delta(_) => {
                self.first_output.get_or_insert_with(Instant::now);
                self.answer |= self.command;
            }
            Event::Part(Part {
                kind: PartKind::Tool(tool),
                ..
            }) => self.command |= has_run(*tool)?,
            Event::SessionError { error, .. } => return Err(RunError::Turn(error.message)),
            Event::Idle { .. } if !self.command => {
                return Err(RunError::Incomplete("what its command should have said"));
            }
            Event::Idle { .. } if !self.answer => {
                return Err(RunError::Incomplete("an answer to what its command said"));
            }
            Event::Idle { .. } => return Ok(self.first_output),
            _ => {}
        }
        Ok(None)
    }
}

/// The start of what a command said, as a part of a sentence on one line.
fn quoted(output: &str) -> String {
    const LONGEST: usize = 200;
    let words: Vec<&str> = output.split_whitespace().collect();
    words.join(" ").chars().take(LONGEST).collect()
}

/// Whether the command has run, and said what it should.
fn has_run(tool: ToolPart) -> Result<bool, RunError> {
    let state = tool.state;
    let output = state.output.or(state.error).map(Text::into_whole);
    let output = output.unwrap_or_default();
    match state.status {
        ToolStatus::Pending | ToolStatus::Running => Ok(false),
        // A shell may say more than its command, of a locale that is missing for example.
        ToolStatus::Completed if output.lines().any(|line| line.trim() == SAID) => Ok(true),
        ToolStatus::Completed | ToolStatus::Error => Err(RunError::Command(quoted(&output))),
    }
}
