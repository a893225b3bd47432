//! The start of a turn in the child: a session of OpenCode, a grant of the gateway, the prompt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::asks::{self, Asks};
use super::child_connection::{self, ChildConnection};
use super::config::Config;
use super::context::{Context, workspace_problem};
use super::open_turn::{OpenTurn, TaskCall, TimeLimit};
use super::prompt::PromptText;
use super::resync;
use super::translate::{Settings, Translator};
use super::unsent;
use crate::clock::Timestamp;
use crate::egress;
use crate::engine::LoadGuard;
use crate::gateway::{Grant, Route};
use crate::model::ModelSpec;
use crate::opencode::types::PromptLabel;
use crate::opencode::{CallError, Metadata, NewSession, Rule, SessionLimits, SidecarMetadata};
use crate::permission::Policy;
use crate::session::{Beginning, CreateError, Prompt, Request, Session, Status, Task};
use crate::tool::Tools;
use crate::trace::{self, TurnTrace};
use crate::workspace::Checked;

/// How much longer than its turn a task may take to answer: a turn that is over time is aborted, and answers then.
const TASK_GRACE: Duration = Duration::from_mins(1);

/// Why a turn did not start, as far as the child is concerned.
enum StartError {
    Call(CallError),
    Abandoned,
}

/// What a turn is started with.
pub(super) struct Asked {
    pub(super) request: Request,
    /// `None`: none is called.
    pub(super) model: Option<ModelSpec>,
    pub(super) session: Arc<Session>,
    /// How the session is before the turn.
    pub(super) status: Arc<Status>,
    pub(super) beginning: Beginning,
    pub(super) trace: TurnTrace,
}

struct Start<'a> {
    request: &'a Request,
    session: &'a Session,
    model: Option<&'a ModelSpec>,
    beginning: &'a Beginning,
    trace: &'a TurnTrace,
    status: &'a Status,
    context: &'a Context,
    abandoned: &'a CancellationToken,
}

/// Starts the turn that is asked for: the first one of a new session, or another one if the `status` of the session
/// names OpenCode's.
///
/// Nobody may drop this in the middle. Who does not want the turn any more cancels `abandoned`, and waits until
/// what was begun is undone.
pub(super) async fn start(
    asked: &Asked,
    context: &Context,
    abandoned: &CancellationToken,
) -> Result<OpenTurn, CreateError> {
    let start = Start {
        session: &asked.session,
        request: &asked.request,
        model: asked.model.as_ref(),
        beginning: &asked.beginning,
        trace: &asked.trace,
        status: &asked.status,
        context,
        abandoned,
    };
    let begun = trace::now();
    let connection = start.wait_for_child().await?;
    asked.trace.step("wait_for_engine", begun);
    match start.on(connection.clone()).await {
        // Nothing of the turn is published yet, so the next child may have it; but only that one, in case it
        // is the request that kills. For a further turn the error can only come from before the hand-over: a child that
        // dies under the hand-over is dealt with there.
        Err(StartError::Call(error)) if connection.died_under(&error).await => {
            // The next child hears that a turn waits for it, and warms up in the short way.
            let _waits = context.engine.turn();
            let connection = start.wait_for_child().await?;
            start.on(connection).await
        }
        started => started,
    }
    .map_err(|error| start.refusal(error))
}

/// Deletes the session of a turn that did not start; the next child does it if this one does not answer.
pub(super) async fn delete_unopened(
    connection: &ChildConnection,
    remote_id: String,
    context: &Context,
) {
    if let Err(error) = connection.client.delete_session(&remote_id).await {
        tracing::debug!(%error, "a session that did not begin is deleted later");
        context.registry.delete_remote(remote_id);
    }
}

/// The settings of the translator of session `remote_id`.
pub(super) fn settings(config: &Config, remote_id: &str) -> Settings {
    Settings {
        root: remote_id.to_owned(),
        directory: config.workspace.to_string_lossy().into_owned(),
        loop_limit: config.loop_limit,
    }
}

/// What the agent may do under `policy` with these tools. `told`: our plugin passes the rules on to subagents.
fn limits(policy: &Policy, tools: Option<&Tools>, told: bool) -> SessionLimits {
    let rules = policy.session_rules(tools).into_iter().map(|rule| Rule {
        permission: rule.permission,
        pattern: rule.pattern,
        action: rule.action.as_str().to_owned(),
    });
    let rules: Vec<Rule> = rules.collect();
    let sidecar = SidecarMetadata {
        tools: tools.map(Tools::list),
        rules: told.then(|| rules.clone()),
    };
    SessionLimits {
        rules,
        metadata: Metadata { sidecar },
    }
}

// === impl Start ===

impl Start<'_> {
    /// The present child, or the next one if it comes soon, once there is memory for one more session.
    async fn wait_for_child(&self) -> Result<ChildConnection, CreateError> {
        let engine = &self.context.engine;
        let mut connections = self.context.connections.clone();
        let waiting = async {
            loop {
                engine.room().await;
                let connection = child_connection::next(&mut connections).await;
                // It may have taken a while, and memory may be short again.
                if connection.is_none() || engine.short_of_memory().is_none() {
                    return connection;
                }
            }
        };
        let mut workspace = self.context.workspace.clone();
        tokio::select! {
            biased;
            () = self.abandoned.cancelled() => return Err(CreateError::Cancelled),
            sentence = workspace_problem(&mut workspace, Checked::sentence) => {
                return Err(CreateError::WorkspaceUnavailable(sentence));
            }
            connection = waiting => return connection.ok_or(CreateError::ShuttingDown),
            () = tokio::time::sleep(self.context.config.engine_wait) => {}
        }
        let reason = engine
            .not_ready(Instant::now())
            .or_else(|| engine.short_of_memory());
        Err(CreateError::EngineUnavailable(
            reason.unwrap_or_else(|| "engine starting".into()),
        ))
    }

    /// Starts the turn in this child. If it does not start, nothing of a new session stays.
    async fn on(&self, connection: ChildConnection) -> Result<OpenTurn, StartError> {
        let workspace = &self.context.config.workspace;
        let busy = self.context.engine.turn();
        let begun = trace::now();
        let (remote_id, before) = match &self.status.remote_id {
            Some(remote_id) => {
                // Whatever an earlier turn left running: a prompt would wait for its end, and what it says
                // until then does not belong to this turn.
                resync::stop_old_turn(&connection, remote_id, workspace).await;
                let before = resync::newest_message(&connection, remote_id).await?;
                self.keep_policy(&connection, remote_id).await?;
                (remote_id.clone(), before)
            }
            None => (self.create_session(&connection).await?, None),
        };
        let asked = self.asked(&connection, &remote_id, before.as_deref());
        let asked = asked.await?;
        self.trace.step("create_session", begun);
        let conversation = (remote_id.clone(), before);
        let prompting = self.prompt(connection.clone(), busy, conversation, asked);
        let error = match self.abandoned.run_until_cancelled(prompting).await {
            Some(Ok(turn)) => return Ok(turn),
            Some(Err(error)) => StartError::Call(error),
            None => StartError::Abandoned,
        };
        let prompted = matches!(error, StartError::Abandoned);
        if self.status.remote_id.is_some() {
            if prompted {
                resync::stop_old_turn(&connection, &remote_id, workspace).await;
            }
        } else {
            if prompted {
                connection.abort(&remote_id).await;
            }
            delete_unopened(&connection, remote_id, self.context).await;
        }
        Err(error)
    }

    async fn create_session(&self, connection: &ChildConnection) -> Result<String, CallError> {
        let policy = &self.status.policy;
        let tools = self.request.tools.as_ref();
        // A session that asks nobody needs nothing for its subagents: they inherit what is refused.
        let told = **policy != Policy::default();
        let new = NewSession {
            directory: &self.context.config.workspace,
            title: &self.request.id,
            limits: limits(policy, tools, told),
        };
        let session = connection.client.create_session(&new).await?;
        self.session.set_engine_policy(policy.clone());
        Ok(session.id)
    }

    /// Gives OpenCode's session the rules of this turn, if it has others.
    async fn keep_policy(
        &self,
        connection: &ChildConnection,
        remote_id: &str,
    ) -> Result<(), CallError> {
        let policy = &self.status.policy;
        if !self.session.policy_differs(policy) {
            return Ok(());
        }
        // OpenCode knows best with which tools the session was made: one that was adopted has no other record of them.
        let client = &connection.client;
        let made_with = client.session(remote_id).await?.sidecar().tools;
        let tools = made_with.map(|names| Tools::known(&names));
        let limits = limits(policy, tools.as_ref(), true);
        client.limit_session(remote_id, &limits).await?;
        self.session.set_engine_policy(policy.clone());
        Ok(())
    }

    /// The prompt and the system prompt of the turn: those of the request, or what the agent never had of the turn that this one
    /// goes on with. `newest` is the newest message of the conversation.
    async fn asked(
        &self,
        connection: &ChildConnection,
        remote_id: &str,
        newest: Option<&str>,
    ) -> Result<(&Prompt, Option<&str>), CallError> {
        let system_prompt = self.request.system_prompt.as_deref();
        if let Some(unsent) = self.beginning.unsent()
            && unsent::was_never_had(&connection.client, remote_id, unsent, newest).await?
        {
            let system_prompt = system_prompt.or(unsent.system_prompt.as_deref());
            return Ok((&unsent.prompt, system_prompt));
        }
        Ok((&self.request.prompt, system_prompt))
    }

    /// Hands the prompt over, once its events are subscribed to and its calls may pass the gateway.
    async fn prompt(
        &self,
        connection: ChildConnection,
        busy: LoadGuard,
        (remote_id, before): (String, Option<String>),
        asked: (&Prompt, Option<&str>),
    ) -> Result<OpenTurn, CallError> {
        let begun = trace::now();
        let config = &self.context.config;
        let subscription = self.context.demux.register(&remote_id);
        let grant = self.model.map(|model| {
            self.context.gateway.register(Route {
                session: remote_id.clone(),
                model: model.clone(),
                enabled_tools: self.offered_tools(),
                spent: self.status.earlier.calls.clone(),
                counts: true,
                trace: self.trace.clone(),
            })
        });
        let egress = self.egress(&remote_id);
        let mut translator = Translator::new(settings(config, &remote_id), before.clone());
        translator.asks = self.asks();
        translator.begin_turn(Timestamp::now());
        let workspace = config.instructions.then_some(&*config.workspace);
        let label = PromptLabel {
            session: self.request.id.clone(),
            turn: self.status.turn,
            traceparent: self.trace.context().map(|context| context.header()),
        };
        let prompt_text = PromptText::new(asked, label, workspace).await;
        let with_files = prompt_text.with_files(&config.workspace).await;
        if let Some(model) = self.model {
            let provider = model.upstream.provider().name;
            let words = || asked.0.words();
            self.trace.describe(provider, &model.name, words);
        }
        let is_further = self.status.remote_id.is_some();
        if is_further {
            // From here on the prompt may be run, whatever dies: it must not be run again.
            self.beginning.record(before.as_deref(), asked).await;
        }
        let model = grant.as_ref().map(Grant::model_ref);
        let time_limit = self.time_limit();
        let task_call = match (&self.request.task, model) {
            (Task::Prompt, Some(model)) => {
                let prompt = with_files.prompt(model);
                match connection.client.prompt(&remote_id, &prompt).await {
                    // The dead child may have stored it. The turn runs, and goes on in the next child as any does that a
                    // child leaves: that looks first.
                    Err(error) if is_further && connection.died_under(&error).await => {
                        tracing::warn!(%error, "the engine died under a further prompt");
                    }
                    handed => handed?,
                }
                None
            }
            (task, model) => {
                let (client, remote_id) = (connection.client.clone(), remote_id.clone());
                let (task, limit) = (task.clone(), time_limit.limit + TASK_GRACE);
                let call = async move {
                    match (task, model) {
                        (Task::Shell(command), _) => {
                            client.shell(&remote_id, &command, limit).await
                        }
                        (Task::Compact | Task::Prompt, Some(model)) => {
                            client.summarize(&remote_id, model, limit).await
                        }
                        (Task::Compact | Task::Prompt, None) => Ok(()),
                    }
                };
                Some(call.boxed() as TaskCall)
            }
        };
        self.trace.step("prompt", begun);
        Ok(OpenTurn {
            connection,
            _busy: busy,
            remote_id,
            subscription,
            grant,
            egress,
            time_limit,
            prompt_text,
            before,
            translator,
            task_call,
            is_prompt: self.request.task == Task::Prompt,
        })
    }

    /// Lets the tools of the turn reach what the session may, where that is decided at all.
    fn egress(&self, remote_id: &str) -> Option<egress::Grant> {
        let subject = egress::Subject {
            remote_id: remote_id.to_owned(),
            session: self.session.id.clone(),
            turn: self.status.turn,
        };
        let now = || self.session.status().policy.egress.clone();
        let handle = self.context.egress.as_ref()?;
        let grant = handle.register(subject, now());
        // A change that came in between found nothing to change.
        grant.refresh(now);
        Some(grant)
    }

    fn time_limit(&self) -> TimeLimit {
        match self.request.timeout {
            Some(limit) => TimeLimit {
                limit,
                setting: "timeout_secs",
            },
            None => TimeLimit {
                limit: self.context.config.turn_timeout,
                setting: "SESSION_TIMEOUT",
            },
        }
    }

    /// What the gateway lets through of the tools that OpenCode offers.
    fn offered_tools(&self) -> Option<Vec<String>> {
        let mut tools = self.request.tools.as_ref()?.list();
        if self.status.policy.questions {
            tools.push("question".to_owned());
        }
        Some(tools)
    }

    fn asks(&self) -> Asks {
        let (config, status) = (&self.context.config, self.status);
        let settings = asks::Settings {
            may_ask: status.policy.may_ask(),
            timeout: status.policy.ask_timeout(config.ask_timeout),
            default: config.ask_default,
        };
        Asks::new(settings, status.asks.always.to_vec())
    }

    fn refusal(&self, error: StartError) -> CreateError {
        let StartError::Call(error) = error else {
            return CreateError::Cancelled;
        };
        match error {
            CallError::Status { status: 404, .. } if self.status.remote_id.is_some() => {
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
}

impl From<CallError> for StartError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}
