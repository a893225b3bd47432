//! The first part of a turn: a session of OpenCode, a route through the gateway, the prompt.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Config;
use super::demux::Subscription;
use super::dispatch::Context;
use super::instructions::system_prompt;
use super::link::Link;
use super::prompt::{PromptText, RESUME};
use super::resync;
use crate::clock::Timestamp;
use crate::engine::Busy;
use crate::gateway::{Grant, Route};
use crate::model::ModelCalls;
use crate::opencode::{CallError, NewSession, Rule};
use crate::session::{CreateError, Request};
use crate::tool::Tools;
use crate::workspace;

use super::translate::{Batch, Settings, Translator};

/// The client gives up after 30 s; it gets an answer before that.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// How long the child may take to abort what nobody wants any more.
const ABORT: Duration = Duration::from_millis(2500);

/// A connection that broke because the child died is followed by the news of its death.
const NOTICED: Duration = Duration::from_secs(1);

/// A turn that runs.
pub(super) struct Opened {
    pub(super) link: Link,
    pub(super) busy: Busy,
    pub(super) remote_id: String,
    pub(super) subscription: Subscription,
    pub(super) grant: Grant,
    pub(super) prompt_text: PromptText,
    /// The newest message of the turns before, of a session that had some.
    pub(super) before: Option<String>,
    pub(super) translator: Translator,
    /// What the beginning of the turn has to publish.
    pub(super) batch: Batch,
}

/// What the session had before this turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Earlier {
    /// OpenCode's id of it, perhaps from an earlier life of this sidecar. `None`: it is new.
    pub(super) remote_id: Option<String>,
    pub(super) spent: ModelCalls,
}

/// Why a turn did not begin, as far as the child is concerned.
enum OpenError {
    Call(CallError),
    Abandoned,
}

/// Begins the turn that `request` asks for: the first one of a new session, or another one of an `earlier`.
///
/// Nobody may drop this in the middle: OpenCode could be making a session whose id only its answer says.
/// Who does not want the turn any more cancels `abandoned`, and waits until what was begun is undone.
pub(super) async fn open(
    request: Request,
    earlier: Earlier,
    context: Context,
    abandoned: CancellationToken,
) -> Result<Opened, CreateError> {
    let opening = Opening {
        request: &request,
        remote_id: earlier.remote_id.as_deref(),
        spent: &earlier.spent,
        context: &context,
        abandoned: &abandoned,
    };
    opening.begin().await
}

/// A client that had to wait for so long is told that the engine is late.
pub(super) fn late() -> CreateError {
    CreateError::EngineUnavailable("the engine did not take the session in time".into())
}

#[derive(Clone, Copy)]
struct Opening<'a> {
    request: &'a Request,
    remote_id: Option<&'a str>,
    spent: &'a ModelCalls,
    context: &'a Context,
    abandoned: &'a CancellationToken,
}

// === impl Opening ===

impl Opening<'_> {
    async fn begin(self) -> Result<Opened, CreateError> {
        let link = self.wait_for_link().await?;
        let lost = link.lost.clone();
        match self.begin_on(link).await {
            // The child died under it. Nothing of the turn was told yet, so the next child may have it; but
            // only that one, in case it is the request that kills.
            Err(OpenError::Call(CallError::Connection { .. }))
                if tokio::time::timeout(NOTICED, lost.cancelled())
                    .await
                    .is_ok() =>
            {
                let link = self.wait_for_link().await?;
                self.begin_on(link).await
            }
            result => result,
        }
        .map_err(|error| self.refusal(&error))
    }

    fn refusal(self, error: &OpenError) -> CreateError {
        let OpenError::Call(error) = error else {
            return CreateError::Cancelled;
        };
        match error {
            CallError::Status { status: 404, .. } if self.remote_id.is_some() => {
                CreateError::RemoteGone
            }
            CallError::Connection { .. } => {
                tracing::warn!(%error, "lost the engine while a session was created");
                CreateError::EngineUnavailable(
                    "the engine died while the session was created".into(),
                )
            }
            CallError::Deadline { .. }
            | CallError::Status { .. }
            | CallError::TooLarge { .. }
            | CallError::Body { .. } => CreateError::Failed(error.to_string()),
        }
    }

    async fn begin_on(self, link: Link) -> Result<Opened, OpenError> {
        let busy = self.context.engine.turn();
        match self.remote_id {
            Some(remote_id) => self.begin_again(link, busy, remote_id).await,
            None => self.begin_new(link, busy).await,
        }
    }

    /// Another turn of session `remote_id`.
    async fn begin_again(
        self,
        link: Link,
        busy: Busy,
        remote_id: &str,
    ) -> Result<Opened, OpenError> {
        let workspace = &self.context.config.workspace;
        // Whatever an earlier turn left running: a prompt would wait for its end, and what it says until
        // then is not of this turn.
        resync::quiet(&link, remote_id, workspace).await;
        let before = resync::newest_message(&link, remote_id).await?;
        let told = prompt(
            link.clone(),
            busy,
            (self.request, self.spent),
            (remote_id.to_owned(), before),
            self.context,
        );
        if let Some(opened) = self.abandoned.run_until_cancelled(told).await {
            return Ok(opened?);
        }
        resync::quiet(&link, remote_id, workspace).await;
        Err(OpenError::Abandoned)
    }

    /// The first turn of a new session. If it does not come about, nothing of the session stays.
    async fn begin_new(self, link: Link, busy: Busy) -> Result<Opened, OpenError> {
        let tools = self.request.tools.as_ref();
        let new = NewSession {
            directory: &self.context.config.workspace,
            title: &self.request.id,
            rules: rules(tools),
            metadata: tools.map_or(
                serde_json::Value::Null,
                |tools| serde_json::json!({ "sidecar": { "tools": tools.list() } }),
            ),
        };
        let remote_id = link.client.create_session(&new).await?.id;
        let told = prompt(
            link.clone(),
            busy,
            (self.request, self.spent),
            (remote_id.clone(), None),
            self.context,
        );
        let (error, prompted) = match self.abandoned.run_until_cancelled(told).await {
            Some(Ok(opened)) => return Ok(opened),
            Some(Err(error)) => (OpenError::Call(error), false),
            None => (OpenError::Abandoned, true),
        };
        if prompted && let Err(error) = link.client.abort(&remote_id, ABORT).await {
            tracing::warn!(%error, "the engine did not abort a turn that nobody wants any more");
        }
        delete(&link, remote_id, self.context).await;
        Err(error)
    }

    /// The present child, or the next one if it comes soon, once there is memory for one more session.
    async fn wait_for_link(self) -> Result<Link, CreateError> {
        let engine = &self.context.engine;
        let mut links = self.context.links.clone();
        let waiting = async {
            loop {
                engine.room().await;
                let link = links.wait_for(Option::is_some).await.ok()?.clone();
                // It may have taken a while, and memory may be short again.
                if engine.short_of_memory().is_none() {
                    return link;
                }
            }
        };
        let mut workspace = self.context.workspace.clone();
        tokio::select! {
            biased;
            () = self.abandoned.cancelled() => return Err(CreateError::Cancelled),
            sentence = workspace_problem(&mut workspace) => {
                return Err(CreateError::WorkspaceUnavailable(sentence));
            }
            link = waiting => return link.ok_or(CreateError::ShuttingDown),
            () = tokio::time::sleep(self.context.config.engine_wait) => {}
        }
        let reason = engine
            .not_ready(Instant::now())
            .or_else(|| engine.short_of_memory());
        Err(CreateError::EngineUnavailable(
            reason.unwrap_or_else(|| "engine starting".into()),
        ))
    }
}

impl From<CallError> for OpenError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// Waits until the agent's directory cannot be used, and says why.
async fn workspace_problem(workspace: &mut workspace::Watch) -> String {
    let found = workspace.wait_for(|checked| checked.sentence().is_some());
    match found.await.ok().and_then(|checked| checked.sentence()) {
        Some(sentence) => sentence,
        // Nobody looks any more: the sidecar has all but ended.
        None => std::future::pending().await,
    }
}

/// Deletes a session that nobody will ask for; the next child does it if this one does not answer.
async fn delete(link: &Link, remote_id: String, context: &Context) {
    if let Err(error) = link.client.delete_session(&remote_id).await {
        tracing::debug!(%error, "a session that did not begin is deleted later");
        context.registry.delete_remote(remote_id);
    }
}

/// Ends a turn that began in the moment in which nobody wanted it any more.
pub(super) async fn undo(opened: Opened, new: bool, context: &Context) {
    let Opened {
        link,
        remote_id,
        grant,
        ..
    } = opened;
    if let Err(error) = link.client.abort(&remote_id, ABORT).await {
        tracing::warn!(%error, "the engine did not abort a turn that nobody wants any more");
    }
    drop(grant);
    if new {
        delete(&link, remote_id, context).await;
    }
}

/// Hands the turn over to a session that is there.
async fn prompt(
    link: Link,
    busy: Busy,
    (request, spent): (&Request, &ModelCalls),
    (remote_id, before): (String, Option<String>),
    context: &Context,
) -> Result<Opened, CallError> {
    let subscription = context.demux.register(&remote_id);
    let grant = context
        .gateway
        .register(route(request, &remote_id, spent.clone()));
    let (settings, now) = (settings(&context.config, &remote_id), Timestamp::now());
    let mut translator = Translator::restore(settings, Vec::new(), before.clone(), now);
    let mut batch = Batch::default();
    translator.begin_turn(now, &mut batch);

    let workspace = context
        .config
        .instructions
        .then_some(context.config.workspace.as_path());
    let prompt_text = PromptText {
        text: match &*request.prompt {
            "" => RESUME.to_owned(),
            prompt => prompt.to_owned(),
        },
        system: system_prompt(request.system_prompt.as_deref(), workspace).await,
    };
    link.client
        .prompt(&remote_id, &prompt_text.prompt(grant.model_ref()))
        .await?;
    Ok(Opened {
        link,
        busy,
        remote_id,
        subscription,
        grant,
        prompt_text,
        before,
        translator,
        batch,
    })
}

fn rules(tools: Option<&Tools>) -> Vec<Rule> {
    let denied = match tools {
        Some(tools) => tools.denied_permissions(),
        None => Tools::all().denied_permissions(),
    };
    denied
        .into_iter()
        .map(|permission| Rule {
            permission,
            pattern: "*",
            action: "deny",
        })
        .collect()
}

fn route(request: &Request, remote_id: &str, spent: ModelCalls) -> Route {
    Route {
        session: remote_id.to_owned(),
        model: request.model.clone(),
        enabled_tools: request.tools.as_ref().map(Tools::list),
        spent,
    }
}

pub(super) fn settings(config: &Config, remote_id: &str) -> Settings {
    Settings {
        root: remote_id.to_owned(),
        directory: config.workspace.to_string_lossy().into_owned(),
        // Nobody is asked: a request for permission is refused at once.
        ask_timeout: None,
        loop_limit: config.loop_limit,
    }
}
