//! `/debug/*`: the whole process at a glance, and what is logged.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::diagnosis::{of_session, surroundings};
use super::error::{ApiError, error_responses};
use super::extract::{BodyBytes, parse};
use super::place::MAX_CONNECTIONS;
use super::ws::UNAUTHENTICATED;
use crate::audit;
use crate::clock::Timestamp;
use crate::engine::Ended;
use crate::session::diagnosis::Cause;
use crate::session::{HeldLock, STREAMS_PER_SESSION, Session, Survey};
use crate::{telemetry, trace};

/// Turns that are listed; further ones are only counted.
const MAX_TURNS: usize = 200;

/// A lock that is not free for so long is told.
const PATIENCE: Duration = Duration::from_millis(100);

/// The longest for which a filter may hold before the one of the start holds again.
const MAX_SECS: u64 = 86_400;

/// 200 of `GET /debug/state`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DebugState)]
pub(super) struct StateResponse {
    version: &'static str,
    draining: bool,
    /// Null while the lock of the sessions is held.
    sessions_in_memory: Option<usize>,
    /// Null while the lock of the sessions is held.
    sessions_active: Option<usize>,
    sessions_limit: usize,
    /// Of sessions in memory.
    streams_open: usize,
    /// Those that run, at most 200, without sessions of which a lock is held.
    turns: Vec<TurnBody>,
    engine: EngineBody,
    /// Null without a journal, and while a lock of it is held.
    journal: Option<JournalBody>,
    /// What waits for another task or thread, and how much may.
    queues: Vec<QueueBody>,
    /// Who is connected, and how many may be.
    connections: Vec<ConnectionsBody>,
    /// Those of the sessions and the journal that were not free within 100 ms. Nobody holds one that long.
    locks_held: Vec<HeldLock>,
    runtime: RuntimeBody,
    log: LogBody,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DebugTurn)]
struct TurnBody {
    session_id: String,
    turn: u32,
    cause: Cause,
    sentence: String,
    since: Option<Timestamp>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DebugEngine)]
struct EngineBody {
    state: &'static str,
    generation: u64,
    /// Health checks that it has missed in a row.
    missed_checks: u32,
    /// Why it takes no work.
    not_ready: Option<String>,
    /// Why memory allows no new session.
    memory: Option<String>,
    /// How the last children ended or did not come up, the newest first; at most 20.
    ended: Vec<EndedBody>,
    /// The last lines that the newest child wrote to stderr, without secrets; at most 20.
    stderr: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DebugEngineEnd)]
struct EndedBody {
    at: Timestamp,
    generation: u64,
    /// As `sidecar_engine_exits_total` counts it.
    cause: &'static str,
    /// The same for a person.
    reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DebugJournal)]
struct JournalBody {
    /// Why nothing can be written.
    degraded: Option<String>,
    bytes: u64,
    commits: u64,
    events: u64,
    failures: u64,
    lost_events: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DebugQueue)]
struct QueueBody {
    name: &'static str,
    depth: usize,
    bound: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DebugConnections)]
struct ConnectionsBody {
    /// `http`: of the main port, with those of the others; `streams_of_all_events`; `websockets`: of sessions;
    /// `websockets_without_token`: that have not said it yet.
    name: &'static str,
    open: usize,
    /// Null: there is one for each session.
    limit: Option<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DebugRuntime)]
struct RuntimeBody {
    workers: usize,
    alive_tasks: usize,
    /// Tasks that wait for any of the workers.
    queued_tasks: usize,
}

/// What is logged; also 200 of `PUT /debug/log-level`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DebugLog)]
pub(super) struct LogBody {
    filter: String,
    /// Lines that nobody read in time.
    dropped_lines: u64,
}

/// Body of `PUT /debug/log-level`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = LogLevel)]
pub(super) struct LogLevelRequest {
    /// As `LOG_LEVEL`: `debug`, or `info,opencode_sidecar::engine=debug`.
    filter: String,
    /// After so many seconds the filter of the start holds again; without it, until the end of the process.
    #[schema(minimum = 1, maximum = 86_400)]
    for_secs: Option<u64>,
}

error_responses!(StateErrors:);
error_responses!(LogLevelErrors: InvalidRequest, PayloadTooLarge);

/// The whole process at a glance: turns with what they do, the engine, the journal, tasks, connections, locks that are held
/// for long, the log.
#[utoipa::path(
    get,
    path = "/debug/state",
    operation_id = "debug_state",
    responses((status = 200, description = "how it is", body = StateResponse), StateErrors)
)]
pub(super) async fn state(State(state): Shared) -> Json<StateResponse> {
    let around = surroundings(&state);
    let Survey { sessions, held } = survey(&state).await;
    let is_held = |session: &Session| {
        let ids = held.iter().map(|lock| lock.session_id.as_deref());
        ids.flatten().any(|id| id == session.id)
    };
    let known = sessions.is_some();
    let all = sessions.unwrap_or_default();
    let active = all.iter().filter(|one| !one.status().state.is_final());
    let free = active.clone().filter(|session| !is_held(session));
    let turns = free.take(MAX_TURNS).map(|session| {
        let (found, _) = of_session(session, &around);
        TurnBody {
            session_id: session.id.clone(),
            turn: session.status().turn,
            cause: found.cause,
            sentence: found.sentence,
            since: found.since,
        }
    });
    let journal_held = held.iter().any(|lock| lock.name.starts_with("journal"));
    let journal = if journal_held {
        None
    } else {
        state.registry.figures()
    };
    let snapshot = state.engine.status().snapshot;
    let runtime = tokio::runtime::Handle::current().metrics();
    Json(StateResponse {
        version: env!("CARGO_PKG_VERSION"),
        draining: state.shutdown.drain.is_cancelled(),
        sessions_in_memory: known.then_some(all.len()),
        sessions_active: known.then(|| active.count()),
        sessions_limit: state.registry.limit(),
        streams_open: all.iter().map(|one| one.slots.taken()).sum(),
        turns: turns.collect(),
        engine: EngineBody {
            state: snapshot.state.name(),
            generation: snapshot.generation.get(),
            missed_checks: around.missed_checks,
            not_ready: around.engine,
            memory: around.memory,
            ended: snapshot
                .history
                .ends()
                .into_iter()
                .map(EndedBody::from)
                .collect(),
            stderr: snapshot.history.stderr(),
        },
        journal: journal.map(|figures| JournalBody {
            degraded: around.journal,
            bytes: figures.bytes,
            commits: figures.commits,
            events: figures.events,
            failures: figures.failures,
            lost_events: figures.lost,
        }),
        queues: queues(&state),
        connections: connections(&state),
        locks_held: held,
        runtime: RuntimeBody {
            workers: runtime.num_workers(),
            alive_tasks: runtime.num_alive_tasks(),
            queued_tasks: runtime.global_queue_depth(),
        },
        log: LogBody::now(),
    })
}

fn queues(state: &super::State) -> Vec<QueueBody> {
    let queues = [
        ("turns", Some(state.registry.turns_queue())),
        ("log", Some(telemetry::queue())),
        ("spans", trace::queue()),
    ];
    let known = queues
        .into_iter()
        .filter_map(|(name, queue)| Some((name, queue?)));
    known
        .map(|(name, (depth, bound))| QueueBody { name, depth, bound })
        .collect()
}

/// Off the workers, because it may block.
async fn survey(state: &super::State) -> Survey {
    let registry = state.registry.clone();
    let deadline = Instant::now() + PATIENCE;
    let looked = tokio::task::spawn_blocking(move || registry.survey(deadline));
    looked.await.unwrap_or_default()
}

fn connections(state: &super::State) -> Vec<ConnectionsBody> {
    let (sockets, all_events) = (&state.sockets, state.registry.all_slots());
    let kinds = [
        ("http", state.places.taken(), Some(MAX_CONNECTIONS)),
        (
            "streams_of_all_events",
            all_events.taken(),
            Some(STREAMS_PER_SESSION),
        ),
        ("websockets", sockets.open(), None),
        (
            "websockets_without_token",
            sockets.waiting_for_token(),
            Some(UNAUTHENTICATED),
        ),
    ];
    kinds
        .map(|(name, open, limit)| ConnectionsBody { name, open, limit })
        .into()
}

/// Log more or less, for a while or until the end of the process.
#[utoipa::path(
    put,
    path = "/debug/log-level",
    operation_id = "debug_log_level",
    request_body = LogLevelRequest,
    responses((status = 200, description = "it holds", body = LogBody), LogLevelErrors)
)]
pub(super) async fn log_level(BodyBytes(body): BodyBytes) -> Result<Json<LogBody>, ApiError> {
    let request: LogLevelRequest = parse(&body)?;
    if !(1..=MAX_SECS).contains(&request.for_secs.unwrap_or(1)) {
        let accepted = format!("must be from 1 to {MAX_SECS}");
        return Err(ApiError::invalid("for_secs", &accepted));
    }
    let lasts = request.for_secs.map(Duration::from_secs);
    telemetry::set_filter(&request.filter, lasts)
        .map_err(|accepted| ApiError::invalid("filter", &format!("must be {accepted}")))?;
    audit::process("log-level.change");
    tracing::info!(
        filter = request.filter,
        for_secs = request.for_secs,
        "what is logged was changed"
    );
    Ok(Json(LogBody::now()))
}

// === impl EndedBody ===

impl From<Ended> for EndedBody {
    fn from(ended: Ended) -> Self {
        Self {
            at: ended.at,
            generation: ended.generation.get(),
            cause: ended.cause,
            reason: ended.reason,
        }
    }
}

// === impl LogBody ===

impl LogBody {
    fn now() -> Self {
        Self {
            filter: telemetry::filter(),
            dropped_lines: telemetry::dropped_lines(),
        }
    }
}
