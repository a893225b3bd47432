//! The first part of a turn: a session of OpenCode, a route through the gateway, the prompt.

use std::time::{Duration, Instant};

use super::Config;
use super::dispatch::Surroundings;
use super::instructions::system_prompt;
use super::link::Link;
use super::resync;
use super::switchboard::Place;
use super::words::{RESUME, Words};
use crate::clock::Timestamp;
use crate::engine::Busy;
use crate::gateway::{self, Grant, Route, Spent};
use crate::opencode::{CallError, NewSession, Rule};
use crate::session::{CreateError, Request};
use crate::tool::Tools;

use super::translate::{Batch, Settings, Translator};

/// The client gives up after 30 s; it gets an answer before that.
const DEADLINE: Duration = Duration::from_secs(20);

/// A connection that broke because the child died is followed by the news of its death.
const NOTICED: Duration = Duration::from_secs(1);

/// A turn that runs.
pub(super) struct Opened {
    pub(super) link: Link,
    pub(super) busy: Busy,
    pub(super) remote_id: String,
    pub(super) place: Place,
    pub(super) grant: Grant,
    pub(super) words: Words,
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
    pub(super) spent: Spent,
}

/// Begins the turn that `request` asks for: the first one of a new session, or another one.
pub(super) async fn open(
    request: &Request,
    earlier: &Earlier,
    around: &Surroundings,
) -> Result<Opened, CreateError> {
    let late =
        |_| CreateError::EngineUnavailable("the engine did not take the session in time".into());
    tokio::time::timeout(DEADLINE, begin(request, earlier, around))
        .await
        .map_err(late)?
}

async fn begin(
    request: &Request,
    earlier: &Earlier,
    around: &Surroundings,
) -> Result<Opened, CreateError> {
    let link = wait_for_link(around).await?;
    let lost = link.lost.clone();
    let remote_id = earlier.remote_id.as_deref();
    match begin_on(link, request, earlier, around).await {
        // The child died under it. Nothing of the turn was told yet, so the next child may have it; but
        // only that one, in case it is the request that kills.
        Err(CallError::Connection { .. })
            if tokio::time::timeout(NOTICED, lost.cancelled())
                .await
                .is_ok() =>
        {
            let link = wait_for_link(around).await?;
            begin_on(link, request, earlier, around)
                .await
                .map_err(|error| refusal(&error, remote_id))
        }
        result => result.map_err(|error| refusal(&error, remote_id)),
    }
}

fn refusal(error: &CallError, remote_id: Option<&str>) -> CreateError {
    match error {
        CallError::Status { status: 404, .. } if remote_id.is_some() => CreateError::RemoteGone,
        CallError::Connection { .. } => {
            tracing::warn!(%error, "lost the engine while a session was created");
            CreateError::EngineUnavailable("the engine died while the session was created".into())
        }
        CallError::Deadline { .. }
        | CallError::Status { .. }
        | CallError::TooLarge { .. }
        | CallError::Body { .. } => CreateError::Failed(error.to_string()),
    }
}

async fn begin_on(
    link: Link,
    request: &Request,
    earlier: &Earlier,
    around: &Surroundings,
) -> Result<Opened, CallError> {
    let busy = around.engine.turn();
    let client = link.client.clone();
    let spent = earlier.spent;
    if let Some(remote_id) = &earlier.remote_id {
        // Whatever an earlier turn left running: a prompt would wait for its end, and what it says until
        // then is not of this turn.
        resync::quiet(&link, remote_id, &around.config.workspace).await;
        let before = resync::newest_message(&link, remote_id).await?;
        let session = (remote_id.clone(), before);
        return prompt(link, busy, (request, spent), session, around).await;
    }
    let tools = request.tools.as_ref();
    let new = NewSession {
        directory: &around.config.workspace,
        title: &request.id,
        rules: rules(tools),
        metadata: tools.map_or(
            serde_json::Value::Null,
            |tools| serde_json::json!({ "sidecar": { "tools": tools.list() } }),
        ),
    };
    let remote_id = client.create_session(&new).await?.id;
    let session = (remote_id.clone(), None);
    let opened = prompt(link, busy, (request, spent), session, around).await;
    if opened.is_err() {
        // Nobody will ask for it again. If this fails too, an empty session stays in the child.
        drop(client.delete_session(&remote_id).await);
    }
    opened
}

/// Hands the turn over to a session that is there.
async fn prompt(
    link: Link,
    busy: Busy,
    (request, spent): (&Request, Spent),
    (remote_id, before): (String, Option<String>),
    around: &Surroundings,
) -> Result<Opened, CallError> {
    let place = around.switchboard.register(&remote_id);
    let grant = around.gateway.register(route(request, &remote_id, spent));
    let (settings, now) = (settings(&around.config, &remote_id), Timestamp::now());
    let mut translator = Translator::restore(settings, Vec::new(), before.clone(), now);
    let mut batch = Batch::default();
    translator.begin_turn(now, &mut batch);

    let workspace = around
        .config
        .instructions
        .then_some(around.config.workspace.as_path());
    let words = Words {
        text: match &*request.prompt {
            "" => RESUME.to_owned(),
            prompt => prompt.to_owned(),
        },
        system: system_prompt(request.system_prompt.as_deref(), workspace).await,
    };
    link.client
        .prompt(&remote_id, &words.prompt(grant.model_ref()))
        .await?;
    Ok(Opened {
        link,
        busy,
        remote_id,
        place,
        grant,
        words,
        before,
        translator,
        batch,
    })
}

/// The present child, or the next one if it comes soon, once there is memory for one more session.
async fn wait_for_link(around: &Surroundings) -> Result<Link, CreateError> {
    let engine = &around.engine;
    let mut links = around.links.clone();
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
    if let Ok(link) = tokio::time::timeout(around.config.engine_wait, waiting).await {
        return link.ok_or(CreateError::ShuttingDown);
    }
    let reason = engine
        .not_ready(Instant::now())
        .or_else(|| engine.short_of_memory());
    Err(CreateError::EngineUnavailable(
        reason.unwrap_or_else(|| "engine starting".into()),
    ))
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

fn route(request: &Request, remote_id: &str, spent: Spent) -> Route {
    let model = &request.model;
    Route {
        session: remote_id.to_owned(),
        upstream: model.upstream.clone(),
        model: model.name.clone(),
        model_version: model.version.clone(),
        key: model.key.clone(),
        temperature: model.temperature,
        max_tokens: model.max_tokens,
        context_window: model.context_window,
        enabled_tools: request.tools.as_ref().map(Tools::list),
        budget: gateway::Budget {
            max_total_tokens: model.max_total_tokens,
            max_calls: model.max_calls,
            max_calls_of_a_turn: None,
        },
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
