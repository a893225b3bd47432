//! Composition: what is started in which order, and ended in which. No business rules.
//!
//! Start: listener, workspace checks, engine; the probes answer before the engine is up.
//! End: readiness off, engine down, last ends reported and journal closed, listener closed, connections finished.

mod announce;
mod process_limits;
mod stop_steps;

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::announce::announce;
pub use self::process_limits::{harden, raise_open_file_limit};
use self::stop_steps::{drain, finish, last_answers, last_ends, last_tasks, overdue};
use crate::config::{Config, Renewal, SharedSecrets};
use crate::egress_policy::Mode;
use crate::engine::OomScore;
use crate::journal::{self, Journal};
use crate::opencode::config::{Model, Settings, content};
use crate::shutdown::Shutdown;
use crate::{
    api, backend, driver, egress, engine, gateway, session, socket_owner, telemetry, trace,
    warm_up_turn, workspace,
};

/// How often a secret file is looked at.
const RENEWAL: Duration = Duration::from_secs(2);

/// Everything is checked and the port is ours; nothing runs yet.
#[derive(Debug)]
pub struct App {
    config: Config,
    /// The port, and the one for metrics if there is one.
    listeners: (api::Bound, Option<api::Bound>),
    tracker: TaskTracker,
    shutdown: Shutdown,
    /// Held as long as we live: one sidecar per data directory.
    _lock: File,
}

/// Why the program could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// What was asked for cannot be had; the sentence says what to change.
    #[error("{0}")]
    Usage(String),
    /// The system refused something we need.
    #[error("failed to {0}: {1}")]
    System(&'static str, std::io::Error),
    /// A task that everything depends on is gone. It panicked, and the log says where.
    #[error("the engine's supervisor failed; the log says where")]
    Broken,
}

// === impl App ===

impl App {
    /// Takes the data directory and the port.
    ///
    /// # Errors
    /// When one of them is taken or forbidden.
    pub fn bind(config: Config) -> Result<Self, AppError> {
        // First of all: whoever reads our address may send a signal at once.
        let tracker = TaskTracker::new();
        let shutdown = Shutdown::listen(&tracker, config.drain_timeout)
            .map_err(|error| AppError::System("listen for signals", error))?;
        let lock = engine::lock(&config.engine.data_dir)
            .map_err(|error| AppError::Usage(error.to_string()))?;
        let bind = |port, setting| {
            api::Bound::bind(config.host, port, setting)
                .map_err(|error| AppError::Usage(error.to_string()))
        };
        let bound = bind(config.port, "PORT")?;
        let metrics_bound = config
            .metrics_port
            .map(|port| bind(port, "METRICS_PORT"))
            .transpose()?;
        Ok(Self {
            config,
            listeners: (bound, metrics_bound),
            tracker,
            shutdown,
            _lock: lock,
        })
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// When the system refuses a thread or a signal handler.
    pub async fn run(self, oom_score: Option<OomScore>) -> Result<(), AppError> {
        let Self {
            mut config,
            listeners,
            tracker,
            shutdown,
            _lock,
        } = self;
        announce(&config, listeners.0.address());
        let (rules, web) = request_rules(&config);

        // Before anything is started: what descends from us now is not the agent's.
        let socket_owners = socket_owner::Finder::new();
        let traces = start_traces(config.traces, socket_owners.clone());
        let connections = TaskTracker::new();
        let workspace = workspace::spawn(&config.workspace, &tracker, shutdown.gone.clone());
        let gateway = gateway::Bound::bind(config.gateway, socket_owners.clone())
            .await
            .map_err(|error| AppError::Usage(error.to_string()))?;
        let ports = own_ports(&listeners, gateway.addr());
        let egress = start_egress(config.egress, ports, &tracker, &shutdown).await?;
        let child_configs = child_configs(&gateway, egress.proxy.clone(), &mut config.engine);
        let warm_up_turn = warm_up_turns(gateway.handle(), config.workspace.clone());
        let (engine, mut supervisor) = engine::spawn(
            config.engine,
            (child_configs, warm_up_turn),
            oom_score,
            workspace.clone(),
            shutdown.clone(),
            &tracker,
        )
        .map_err(|error| AppError::System("start the engine's supervisor", error))?;
        let journal = start_journal(config.journal)?;
        let (registry, receivers) =
            session::Registry::new(config.sessions, journal.clone(), shutdown.drain.clone());
        let (agent_sessions, conversations) = driver::spawn(
            config.driver,
            (engine.clone(), workspace.clone()),
            (gateway.handle(), egress.proxy.clone()),
            (registry.clone(), receivers),
            shutdown.clone(),
            &tracker,
        );
        gateway.spawn(&tracker, shutdown.gone.clone());
        keep(&registry, &tracker, &shutdown);
        let reports = backend::spawn(
            config.backend,
            &registry,
            backend_callbacks(config.shared_secrets.clone(), agent_sessions),
            socket_owners.clone(),
            &shutdown,
            &tracker,
        )
        .map_err(|error| AppError::Usage(error.to_string()))?;
        follow_changes(config.shared_secrets.clone(), &tracker, &shutdown);

        let state = api::State {
            engine: engine.clone(),
            registry: registry.clone(),
            conversations,
            workspace,
            workspace_dir: config.workspace,
            secrets: config.shared_secrets,
            shutdown: shutdown.clone(),
            rules,
            egress,
            web,
            socket_owners,
            sockets: api::Sockets::default(),
            places: api::Places::default(),
        };
        let close = CancellationToken::new();
        // With the listener, not after it: a stream that follows ends because its log is closed.
        tracker.spawn(registry.clone().clean(close.clone()));
        serve(listeners, state, &close, &connections);

        let leave = async {
            let sound = tokio::select! {
                () = drain(&shutdown, &registry, config.drain_timeout) => (&mut supervisor).await.is_ok(),
                // It leaves when it is told to; before that it has panicked.
                ended = &mut supervisor => ended.is_ok(),
            };
            if !sound {
                tracing::error!("the engine's supervisor failed: leaving");
                shutdown.begin();
                shutdown.halt.cancel();
                engine.end_all().await;
            }
            last_ends(&registry, &reports, &shutdown, config.drain_timeout).await;
            // Beside the rest: nothing waits for a collector.
            let last_work = last_work(journal.as_ref(), &close, &connections);
            tokio::join!(last_spans(traces.as_ref()), last_work);
            shutdown.gone.cancel();
            last_tasks(&tracker).await;
            if sound { Ok(()) } else { Err(AppError::Broken) }
        };
        tokio::select! {
            left = leave => {
                tracing::info!("stopped");
                left
            }
            // Each step has its own limit; together they must not take longer than was promised.
            () = overdue(&shutdown, config.drain_timeout) => {
                tracing::error!("DRAIN_TIMEOUT is over: leaving what has not ended");
                Ok(())
            }
        }
    }
}

/// Serves on the port, and on the one for metrics if there is one, until `close`.
fn serve(
    (bound, metrics_bound): (api::Bound, Option<api::Bound>),
    state: api::State,
    close: &CancellationToken,
    connections: &TaskTracker,
) {
    if let Some(bound) = metrics_bound {
        let (state, close) = (state.clone(), close.clone());
        connections.spawn(bound.serve_metrics(state, close, connections.clone()));
    }
    connections.spawn(bound.serve(state, close.clone(), connections.clone()));
}

/// Every port that we listen on, but the egress proxy's own.
fn own_ports(listeners: &(api::Bound, Option<api::Bound>), gateway: SocketAddr) -> Vec<u16> {
    let (bound, metrics_bound) = listeners;
    let served = metrics_bound.iter().chain([bound]).map(api::Bound::address);
    served
        .chain([gateway])
        .map(|address| address.port())
        .collect()
}

/// The proxy of the agent's tools. Where the network is open there is none.
async fn start_egress(
    config: egress::Config,
    own_ports: Vec<u16>,
    tracker: &TaskTracker,
    shutdown: &Shutdown,
) -> Result<api::Egress, AppError> {
    let policy = Arc::new(config.policy());
    if policy.mode == Mode::Open {
        return Ok(api::Egress {
            policy,
            proxy: None,
        });
    }
    let bound = egress::Bound::bind(Arc::clone(&policy), own_ports)
        .await
        .map_err(|error| AppError::System("open the egress proxy's port", error))?;
    let handle = bound.handle();
    bound.spawn(tracker, shutdown.gone.clone());
    Ok(api::Egress {
        policy,
        proxy: Some(handle),
    })
}

/// Traces are no reason not to serve.
fn start_traces(
    config: Option<trace::Config>,
    owners: socket_owner::Finder,
) -> Option<trace::Exporter> {
    match trace::start(config?, owners) {
        Ok(exporter) => Some(exporter),
        Err(error) => {
            tracing::error!(%error, "nothing is traced");
            None
        }
    }
}

/// The last events and answers.
async fn last_work(
    journal: Option<&Journal>,
    close: &CancellationToken,
    connections: &TaskTracker,
) {
    if let Some(journal) = journal {
        // What the last events said is on disk before anybody reads that it was the last.
        finish(journal).await;
    }
    close.cancel();
    last_answers(connections).await;
}

async fn last_spans(traces: Option<&trace::Exporter>) {
    if let Some(exporter) = traces {
        exporter.finished().await;
    }
}

fn start_journal(config: Option<journal::Config>) -> Result<Option<Journal>, AppError> {
    config
        .map(|config| Journal::start(config, journal::boot_id()))
        .transpose()
        .map_err(|error| AppError::System("start the journal's writer", error))
}

/// What requests are held to.
fn request_rules(config: &Config) -> (api::Rules, api::WebRules) {
    let rules = api::Rules {
        max_body_bytes: config.max_body_bytes,
        max_prompt: config.max_prompt,
        demo: config.demo,
        max_timeout: config.driver.turn_timeout,
        console: config.console,
        drain_timeout: config.drain_timeout,
    };
    let web = api::WebRules {
        allow_origins: config.allow_origins.clone(),
        allowed_hosts: config.allowed_hosts.clone(),
    };
    (rules, web)
}

/// Follows what may change while we run: the secret's file, and for how long another filter of the log holds.
fn follow_changes(secrets: SharedSecrets, tracker: &TaskTracker, shutdown: &Shutdown) {
    tracker.spawn(telemetry::restore_filters(shutdown.gone.clone()));
    tracker.spawn(renew(secrets, shutdown.gone.clone()));
}

/// What the calls to the backend ask of the rest.
fn backend_callbacks(
    secrets: SharedSecrets,
    agent_sessions: driver::AgentSessions,
) -> (backend::Bearer, backend::Conversations) {
    (bearer(secrets), known_conversations(agent_sessions))
}

/// The secret for the backend, as it is at each call.
fn bearer(secrets: SharedSecrets) -> backend::Bearer {
    Arc::new(move || secrets.first())
}

/// How the backend's list is compared with what the agent has.
fn known_conversations(agent_sessions: driver::AgentSessions) -> backend::Conversations {
    Arc::new(move |remote_id: String, id: String| {
        let agent_sessions = agent_sessions.clone();
        async move { agent_sessions.made_for(&remote_id, &id).await }.boxed()
    })
}

/// What keeps the registry in step with the disk.
fn keep(registry: &session::Registry, tracker: &TaskTracker, shutdown: &Shutdown) {
    let Some(journal) = registry.journal() else {
        return;
    };
    let (loading, following) = (registry.clone(), registry.clone());
    let removals = journal.take_removals();
    let gone = shutdown.gone.clone();
    tracker.spawn(async move { gone.run_until_cancelled(loading.load()).await });
    let gone = shutdown.gone.clone();
    tracker.spawn(async move {
        gone.run_until_cancelled(following.follow_retention(removals))
            .await
    });
}

/// What a child is told at its start: the gateway's address, and secrets that die with the child. Where there is an egress proxy
/// commands can connect to nothing else.
fn child_configs(
    bound: &gateway::Bound,
    egress: Option<egress::Handle>,
    engine: &mut engine::Config,
) -> engine::ChildConfigs {
    let (address, gateway) = (bound.addr(), bound.handle());
    let shell = engine::shell_link(&engine.data_dir);
    engine.sandbox.proxy_port = egress.as_ref().map(egress::Handle::port);
    engine::ChildConfigs::new(move || {
        let token = gateway.new_child_token();
        let access = egress.as_ref().map(egress::Handle::new_child_access);
        let models = gateway::GENERIC_MODELS.map(|model| Model {
            id: model.id,
            context: model.context,
            output: model.output,
        });
        let timeout = gateway.child_timeout();
        let settings = Settings {
            gateway: address,
            token: &token,
            models: &models,
            timeout,
            shell: Some(&shell),
        };
        engine::ChildConfig {
            configuration: content(&settings),
            egress: access.map(|access| (access.port, access.key)),
            token,
        }
    })
}

/// What a new child is tried by before it counts as ready.
fn warm_up_turns(gateway: gateway::Handle, workspace: PathBuf) -> engine::WarmUpTurn {
    engine::WarmUpTurn::new(move |client| {
        let (gateway, workspace) = (gateway.clone(), workspace.clone());
        async move {
            let finished = warm_up_turn::run(&client, &gateway, &workspace).await;
            finished.map_err(|error| error.to_string())
        }
    })
}

/// Takes over a changed secret file.
async fn renew(secrets: SharedSecrets, stop: CancellationToken) {
    let watch = async {
        let mut ticks = tokio::time::interval(RENEWAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut complaint = None;
        loop {
            ticks.tick().await;
            let reader = secrets.clone();
            match tokio::task::spawn_blocking(move || reader.renew()).await {
                Ok(Renewal::Changed) => tracing::info!("the shared secret was renewed"),
                Ok(Renewal::Refused(reason)) if complaint.as_ref() != Some(&reason) => {
                    tracing::error!(
                        reason,
                        "the shared secret was not renewed; the old one stays valid"
                    );
                    complaint = Some(reason);
                    continue;
                }
                Ok(Renewal::Refused(_)) => continue,
                Ok(Renewal::Unchanged) | Err(_) => {}
            }
            complaint = None;
        }
    };
    if secrets.has_file() {
        stop.run_until_cancelled(watch).await;
    }
}
