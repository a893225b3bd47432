//! `/engine/*`: what the child is doing, and moving it by hand.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::error::{ApiError, error_responses};
use super::extract::OptionalJson;
use crate::audit;
use crate::clock::millis;
use crate::engine::{self, Answer, Memory, Operation, Status, WarmUpReport};
use crate::sandbox::Report;

/// Body of `/engine/start` and `/engine/restart`; may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = EngineMove)]
#[serde(default)]
pub(super) struct MoveRequest {
    /// Loopback port of the child from now on; 0 picks a free one. A port that only root may use is refused.
    port: Option<u16>,
}

/// Body of every answer about the child.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EngineStatus)]
pub(super) struct StatusResponse {
    running: bool,
    state: &'static str,
    pid: Option<i32>,
    url: Option<String>,
    port: Option<u16>,
    version: Option<String>,
    generation: u64,
    restarts: u64,
    uptime_secs: Option<u64>,
    rss_bytes: Option<u64>,
    /// Null where there is no limit.
    memory: Option<MemoryResponse>,
    /// Restarts that made room for memory.
    recycled: u64,
    project_dir: String,
    last_error: Option<String>,
    sandbox: SandboxResponse,
    /// How the child proved that it works; null unless it is ready.
    warm_up: Option<WarmUpResponse>,
}

/// What the child did before it counted as ready.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EngineWarmUp)]
pub(super) struct WarmUpResponse {
    /// `turn`, `session` or `off`.
    mode: &'static str,
    ms: u64,
    /// From the prompt of its turn to the first output; null where there was no turn.
    first_output_ms: Option<u64>,
}

/// What the kernel keeps between the agent and everything else.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EngineSandbox)]
pub(super) struct SandboxResponse {
    /// `required`, `best-effort` or `off`: the setting.
    mode: &'static str,
    /// `full`, `partial` or `off`: what was reached.
    level: &'static str,
    /// The kernel's version of Landlock; null where it is not used.
    landlock_abi: Option<u32>,
    seccomp: bool,
    /// Why the level is not `full`; left out when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// How near the limit of memory is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EngineMemory)]
pub(super) struct MemoryResponse {
    used_bytes: u64,
    limit_bytes: u64,
    source: &'static str,
    pressure: &'static str,
}

error_responses!(EngineStatusErrors:);
error_responses!(EngineStopErrors: Conflict, EngineUnavailable, ShuttingDown);
error_responses!(EngineMoveErrors:
    InvalidRequest,
    Conflict,
    PayloadTooLarge,
    EngineUnavailable,
    ShuttingDown,
);

/// Everything about the child.
#[utoipa::path(
    get,
    path = "/engine/status",
    operation_id = "engine_status",
    responses((status = 200, description = "how it is", body = StatusResponse), EngineStatusErrors)
)]
pub(super) async fn status(State(state): Shared) -> Json<StatusResponse> {
    Json(state.engine.status().into())
}

/// Start the child, if it does not run.
#[utoipa::path(
    post,
    path = "/engine/start",
    operation_id = "engine_start",
    request_body(content = Option<MoveRequest>, description = "may be left out"),
    responses(
        (status = 200, description = "done", body = StatusResponse),
        (status = 202, description = "not done within 25 s; the state so far", body = StatusResponse),
        EngineMoveErrors,
    )
)]
pub(super) async fn start(
    State(state): Shared,
    OptionalJson(body): OptionalJson<MoveRequest>,
) -> Moved {
    audit::process("engine.start");
    moved(
        state
            .engine
            .ask(Operation::Start { port: body.port()? })
            .await?,
    )
}

/// Stop the child, and keep it stopped.
#[utoipa::path(
    post,
    path = "/engine/stop",
    operation_id = "engine_stop",
    responses(
        (status = 200, description = "done", body = StatusResponse),
        (status = 202, description = "not done within 25 s; the state so far", body = StatusResponse),
        EngineStopErrors,
    )
)]
pub(super) async fn stop(State(state): Shared) -> Moved {
    audit::process("engine.stop");
    moved(state.engine.ask(Operation::Stop).await?)
}

/// Stop the child and start it.
#[utoipa::path(
    post,
    path = "/engine/restart",
    operation_id = "engine_restart",
    request_body(content = Option<MoveRequest>, description = "may be left out"),
    responses(
        (status = 200, description = "done", body = StatusResponse),
        (status = 202, description = "not done within 25 s; the state so far", body = StatusResponse),
        EngineMoveErrors,
    )
)]
pub(super) async fn restart(
    State(state): Shared,
    OptionalJson(body): OptionalJson<MoveRequest>,
) -> Moved {
    audit::process("engine.restart");
    moved(
        state
            .engine
            .ask(Operation::Restart { port: body.port()? })
            .await?,
    )
}

type Moved = Result<(StatusCode, Json<StatusResponse>), ApiError>;

fn moved(answer: Answer) -> Moved {
    match answer {
        Answer::Done(status) => Ok((StatusCode::OK, Json(status.into()))),
        Answer::Pending(status) => Ok((StatusCode::ACCEPTED, Json(status.into()))),
        Answer::Failed(reason) => Err(ApiError::engine_unavailable(reason)),
    }
}

// === impl MoveRequest ===

impl MoveRequest {
    fn port(&self) -> Result<Option<u16>, ApiError> {
        let least = engine::least_port();
        match self.port {
            Some(port @ 1..) if port < least => {
                let reason = format!(
                    "must be 0 or at least {least}: the child has no right to a smaller one"
                );
                Err(ApiError::invalid("port", &reason))
            }
            port => Ok(port),
        }
    }
}

// === impl StatusResponse ===

impl From<Status> for StatusResponse {
    fn from(status: Status) -> Self {
        let snapshot = status.snapshot;
        let ready = snapshot.ready();
        Self {
            running: snapshot.process.is_some(),
            state: snapshot.state.name(),
            pid: snapshot.process.map(|(pid, _)| pid.as_raw_nonzero().get()),
            url: ready.map(|ready| format!("http://{}", ready.address)),
            port: ready.map(|ready| ready.address.port()),
            version: ready.map(|ready| ready.version.clone()),
            warm_up: ready.map(|ready| ready.warm_up.into()),
            generation: snapshot.generation.get(),
            restarts: snapshot.restarts,
            uptime_secs: snapshot.process.map(|(_, since)| since.elapsed().as_secs()),
            rss_bytes: status.resident_bytes,
            memory: status.memory.map(Into::into),
            recycled: snapshot.recycled,
            project_dir: status.project_dir,
            last_error: snapshot.last_error,
            sandbox: status.sandbox.into(),
        }
    }
}

// === impl WarmUpResponse ===

impl From<WarmUpReport> for WarmUpResponse {
    fn from(warm_up: WarmUpReport) -> Self {
        Self {
            mode: warm_up.mode.as_str(),
            ms: millis(warm_up.took),
            first_output_ms: warm_up.first_output.map(millis),
        }
    }
}

// === impl SandboxResponse ===

impl From<Report> for SandboxResponse {
    fn from(report: Report) -> Self {
        Self {
            mode: report.mode.as_str(),
            level: report.level.as_str(),
            landlock_abi: report.landlock_abi,
            seccomp: report.seccomp,
            reason: report.reason,
        }
    }
}

// === impl MemoryResponse ===

impl From<Memory> for MemoryResponse {
    fn from(memory: Memory) -> Self {
        Self {
            used_bytes: memory.used,
            limit_bytes: memory.limit,
            source: memory.source.as_str(),
            pressure: memory.pressure().as_str(),
        }
    }
}
