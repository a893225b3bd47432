//! What the events of a turn say for the audit log: which tools ran with which paths, who answered what, how it ended.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::audit::{self, ToolRun};
use crate::event::{AnsweredBy, Body, Event, PermissionStep, QuestionStep, State};

/// Calls under way whose paths are remembered. A further one is told without.
const MAX_CALLS: usize = 256;

/// One turn, as far as it is told. Nothing is kept while nobody reads the audit log.
#[derive(Debug, Default)]
pub(super) struct TurnAudit {
    /// By the id of the call.
    paths: Mutex<HashMap<Arc<str>, Vec<String>>>,
}

// === impl TurnAudit ===

impl TurnAudit {
    pub(super) fn note(&self, session: &str, turn: u32, event: &Event) {
        if !is_told(event) || !audit::is_on() {
            return;
        }
        match &event.body {
            Body::ToolCall(call) => {
                let mut known = self.paths.lock();
                if known.len() < MAX_CALLS {
                    known.insert(Arc::clone(&call.call_id), audit::paths(&call.args));
                }
            }
            Body::ToolResult(result) => {
                let paths = self.paths.lock().remove(&result.call_id);
                audit::tool_ran(&ToolRun {
                    session,
                    turn,
                    agent: event.agent.as_ref().map(|agent| &*agent.name),
                    tool: &result.tool,
                    call_id: &result.call_id,
                    paths: &paths.unwrap_or_default(),
                    is_error: result.is_error,
                    ms: result.duration_ms,
                });
            }
            // What a client answers is told with the client's request.
            Body::Permission(permission) => {
                if let PermissionStep::Answered { reply, by, .. } = &permission.step
                    && *by != AnsweredBy::Client
                {
                    let id = &permission.request_id;
                    audit::answered(session, id, "permission", reply.as_str(), by.as_str());
                }
            }
            Body::Question(question) => {
                let (reply, by) = match &question.step {
                    QuestionStep::Answered { by, .. } => ("answered", by),
                    QuestionStep::Rejected { by } => ("reject", by),
                    QuestionStep::Asked { .. } | QuestionStep::Withdrawn { .. } => return,
                };
                if *by != AnsweredBy::Client {
                    let id = &question.request_id;
                    audit::answered(session, id, "question", reply, by.as_str());
                }
            }
            _ => {
                let action = match event.turn_end() {
                    Some((State::Completed, _)) => "turn.complete",
                    Some((State::Failed, _)) => "turn.fail",
                    _ => "turn.cancel",
                };
                audit::session(action, session, turn);
            }
        }
    }
}

/// Output comes thousands of times, and is not told.
fn is_told(event: &Event) -> bool {
    let is_step = matches!(
        event.body,
        Body::ToolCall(_) | Body::ToolResult(_) | Body::Permission(_) | Body::Question(_)
    );
    is_step || event.is_terminal()
}
