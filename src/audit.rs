//! The audit log: who asked for what, who answered the agent, and what its tools did. One line each.
//!
//! A line that a request caused has the request's id and its client's address, by the span of the request. Names, ids and
//! paths are told; prompts, arguments, results and keys never are.

mod paths;

pub(crate) use self::paths::paths;

/// The target of every line.
pub(crate) const TARGET: &str = "audit";

/// Whether anybody reads it.
pub(crate) fn is_on() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::INFO)
}

/// What a client did with a session; `turn` is the one that it was about.
pub(crate) fn session(action: &'static str, id: &str, turn: u32) {
    tracing::info!(target: TARGET, action, session.id = id, turn);
}

/// What an operator did with the whole process.
pub(crate) fn process(action: &'static str) {
    tracing::info!(target: TARGET, action);
}

/// A request of the agent was answered. `by` is `client`, `rule` or `timeout`.
pub(crate) fn answered(session: &str, request: &str, kind: &'static str, reply: &str, by: &str) {
    tracing::info!(
        target: TARGET,
        action = "ask.answer",
        session.id = session,
        request_id = request,
        kind,
        reply,
        by
    );
}

/// A tool that has ended.
#[derive(Debug)]
pub(crate) struct ToolRun<'a> {
    pub(crate) session: &'a str,
    pub(crate) turn: u32,
    /// The subagent that ran it.
    pub(crate) agent: Option<&'a str>,
    pub(crate) tool: &'a str,
    pub(crate) call_id: &'a str,
    /// Those that its arguments name.
    pub(crate) paths: &'a [String],
    pub(crate) is_error: bool,
    pub(crate) ms: u64,
}

pub(crate) fn tool_ran(run: &ToolRun<'_>) {
    let paths = run.paths.join(", ");
    tracing::info!(
        target: TARGET,
        action = "tool.run",
        session.id = run.session,
        turn = run.turn,
        agent = run.agent,
        tool = run.tool,
        call_id = run.call_id,
        paths = (!paths.is_empty()).then_some(paths),
        is_error = run.is_error,
        ms = run.ms
    );
}

/// A tool asked for a host that its session may not reach.
pub(crate) fn egress_denied(session: &str, turn: u32, host: &str, reason: &'static str) {
    tracing::info!(
        target: TARGET,
        action = "egress.denied",
        session.id = session,
        turn,
        host,
        reason
    );
}
