//! The data of each event, as the API description has it. `event` writes it; a test in
//! `tests/api/contract.rs` holds the two together.

#![expect(dead_code, reason = "described, never built")]

use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::event::{Channel, FailureCode, Phase, Source, State};
use crate::session::log::GapReason;

/// One property for each type of event: what its `data:` line holds.
#[derive(ToSchema)]
pub(super) struct Events {
    status: StatusEvent,
    output: OutputEvent,
    tool_call: ToolCallEvent,
    tool_result: ToolResultEvent,
    error: ErrorEvent,
    complete: CompleteEvent,
    permission: PermissionEvent,
    question: QuestionEvent,
    todo: TodoEvent,
    heartbeat: HeartbeatEvent,
    gap: GapEvent,
}

/// One event as it is on the wire.
#[derive(ToSchema)]
pub(in crate::api) struct StreamEvent {
    /// The type: a property of `Events`.
    event: Option<String>,
    /// `<epoch>-<number>`; the cursor from here on. Not with `heartbeat` and `gap`.
    id: Option<String>,
    /// One line of JSON: that property's value.
    data: Option<String>,
    /// Milliseconds after which a client whose connection broke comes back.
    retry: Option<u64>,
}

/// How the turn is. `cancelled` ends it.
#[derive(ToSchema)]
struct StatusEvent {
    status: State,
    /// Never less than before in the same turn.
    #[schema(maximum = 100)]
    progress: u8,
    phase: Option<Phase>,
    current_tool: Option<String>,
    /// Why it is in this phase.
    reason: Option<String>,
    agent: Option<AgentOfEvent>,
    truncated: Option<bool>,
    timestamp: Timestamp,
}

/// More text.
#[derive(ToSchema)]
struct OutputEvent {
    #[schema(rename = "type")]
    r#type: Channel,
    text: String,
    source: Source,
    /// The tool call that printed it.
    call_id: Option<String>,
    /// Text before this is missing.
    truncated: Option<bool>,
    agent: Option<AgentOfEvent>,
    timestamp: Timestamp,
}

/// A tool runs.
#[derive(ToSchema)]
struct ToolCallEvent {
    tool: String,
    args: Value,
    call_id: String,
    truncated: Option<bool>,
    agent: Option<AgentOfEvent>,
    timestamp: Timestamp,
}

/// A tool has ended.
#[derive(ToSchema)]
struct ToolResultEvent {
    tool: String,
    result: ToolOutcome,
    call_id: String,
    is_error: bool,
    duration_ms: u64,
    /// The tool printed more than is here.
    truncated: Option<bool>,
    agent: Option<AgentOfEvent>,
    timestamp: Timestamp,
}

/// `bash`: `exit_code`, `stdout`, `stderr`, `note`; `read`: `content`; a failure: `error`; others: `output`, `title`.
#[derive(ToSchema)]
struct ToolOutcome {
    /// Null when it did not exit by itself; `note` says why.
    exit_code: Option<i64>,
    stdout: Option<String>,
    stderr: Option<String>,
    note: Option<String>,
    content: Option<String>,
    output: Option<String>,
    title: Option<String>,
    error: Option<String>,
}

/// Something failed. A fatal one ends the turn.
#[derive(ToSchema)]
struct ErrorEvent {
    error: String,
    fatal: bool,
    code: FailureCode,
    /// Seconds until it is tried again.
    retry_after: Option<u64>,
    /// Whether another prompt may go on where this turn ended.
    resumable: Option<bool>,
    truncated: Option<bool>,
    agent: Option<AgentOfEvent>,
    timestamp: Timestamp,
}

/// The turn ended well.
#[derive(ToSchema)]
struct CompleteEvent {
    final_message: String,
    /// Absolute, sorted.
    files_modified: Vec<String>,
    /// Those of `files_modified` that are gone.
    files_deleted: Option<Vec<String>>,
    usage: UsageOfTurn,
    duration_ms: u64,
    /// Why the model stopped: `stop`, `length`, …
    finish_reason: Option<String>,
    truncated: Option<bool>,
    agent: Option<AgentOfEvent>,
    timestamp: Timestamp,
}

/// What the turn cost, subagents included.
#[derive(ToSchema)]
struct UsageOfTurn {
    input_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    cost: f64,
}

/// A tool may not run until somebody says so.
#[derive(ToSchema)]
struct PermissionEvent {
    request_id: String,
    /// `asked` or `answered`.
    state: String,
    permission: Option<String>,
    patterns: Option<Vec<String>>,
    /// What a lasting yes would allow.
    always: Option<Vec<String>>,
    metadata: Option<Value>,
    call_id: Option<String>,
    /// When silence becomes a no.
    deadline: Option<Timestamp>,
    reply: Option<String>,
    truncated: Option<bool>,
    agent: Option<AgentOfEvent>,
    timestamp: Timestamp,
}

/// The agent asks the user.
#[derive(ToSchema)]
struct QuestionEvent {
    request_id: String,
    /// `asked`, `answered` or `rejected`.
    state: String,
    questions: Option<Value>,
    call_id: Option<String>,
    deadline: Option<Timestamp>,
    truncated: Option<bool>,
    agent: Option<AgentOfEvent>,
    timestamp: Timestamp,
}

/// The agent's plan, whole.
#[derive(ToSchema)]
struct TodoEvent {
    items: Vec<PlanItem>,
    truncated: Option<bool>,
    agent: Option<AgentOfEvent>,
    timestamp: Timestamp,
}

#[derive(ToSchema)]
struct PlanItem {
    content: String,
    status: String,
    priority: String,
}

/// 15 s of silence. Without an id.
#[derive(ToSchema)]
struct HeartbeatEvent {}

/// Events are missing. Without an id.
#[derive(ToSchema)]
struct GapEvent {
    reason: GapReason,
    requested: String,
    /// The stream goes on after this event.
    resume_after: String,
    /// Null when nobody knows.
    missed: Option<u64>,
}

/// The subagent it happened in; absent for the session's own agent.
#[derive(ToSchema)]
struct AgentOfEvent {
    id: String,
    name: String,
    /// The session of the agent that called it.
    parent: String,
}
