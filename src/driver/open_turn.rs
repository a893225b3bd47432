//! A turn that runs in the child, as the driver holds it.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::child_connection::ChildConnection;
use super::demux::Subscription;
use super::prompt::PromptText;
use super::translate::Translator;
use crate::egress;
use crate::engine::LoadGuard;
use crate::gateway::Grant;
use crate::opencode::CallError;

/// A turn that runs.
pub(super) struct OpenTurn {
    pub(super) connection: ChildConnection,
    /// Held for its drop: the engine counts turns.
    pub(super) _busy: LoadGuard,
    pub(super) remote_id: String,
    pub(super) subscription: Subscription,
    /// `None` as soon as the turn is to stop: then no call of a model goes out or on.
    pub(super) grant: Option<Grant>,
    /// Held for its drop: as long as it lives the tools reach the network.
    pub(super) egress: Option<egress::Grant>,
    /// How long it may take, and which setting says so.
    pub(super) time_limit: TimeLimit,
    /// The last prompt. It may have to be sent again.
    pub(super) prompt_text: PromptText,
    /// Messages up to this one say nothing about the end of the turn.
    pub(super) before: Option<String>,
    pub(super) translator: Translator,
    /// What does the task, for one that is no prompt: it is answered when the task is done.
    pub(super) task_call: Option<TaskCall>,
    /// What is no prompt, such as a command, can neither be told more nor go on after the agent's process died.
    pub(super) is_prompt: bool,
}

/// A call that lasts as long as its task.
pub(super) type TaskCall = BoxFuture<'static, Result<(), CallError>>;

/// How long a turn may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeLimit {
    pub(super) limit: Duration,
    pub(super) setting: &'static str,
}
