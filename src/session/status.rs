//! How a session is, as clients see it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::asks::Asks;
use crate::clock::Timestamp;
use crate::event::{Phase, State, Usage};
use crate::model::ModelCalls;
use crate::permission::{Policy, PolicyChange};

/// Replaced as a whole with every change.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) progress: u8,
    pub(crate) phase: Option<Phase>,
    pub(crate) current_tool: Option<Arc<str>>,
    pub(crate) reason: Option<String>,
    pub(crate) last_activity: Timestamp,
    /// OpenCode's own id.
    pub(crate) remote_id: Option<String>,
    pub(crate) completed_at: Option<Timestamp>,
    /// The same moment, for measuring how long ago it was.
    pub(crate) ended: Option<Instant>,
    pub(crate) problem: Option<Problem>,
    pub(crate) turn: u32,
    /// Of this turn, like the calls.
    pub(crate) usage: Usage,
    pub(crate) calls: ModelCalls,
    pub(crate) earlier: Earlier,
    pub(crate) files_modified: Vec<String>,
    /// OpenCode may have the prompt of the turn. Before that nothing in the conversation belongs to it.
    pub(crate) begun: bool,
    /// OpenCode's newest message before the turn: what is older does not belong to it.
    pub(crate) before: Option<String>,
    /// What the agent may do by itself; the session's, until a turn changes it.
    pub(crate) policy: Arc<Policy>,
    pub(crate) asks: Asks,
    /// What is undone of the conversation, until the next turn begins.
    pub(crate) reverted: Option<Reverted>,
}

/// The prompt that was undone with all that came after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RevertedPrompt)]
pub(crate) struct Reverted {
    /// Null if it is not known.
    pub(crate) turn: Option<u32>,
    pub(crate) message_id: String,
}

/// The sums of the turns before this one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Earlier {
    pub(crate) usage: Usage,
    pub(crate) calls: ModelCalls,
}

/// Why a turn failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: Cow<'static, str>,
    pub(crate) sentence: String,
}

// === impl Status ===

impl Status {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            state: State::Pending,
            progress: 0,
            phase: None,
            current_tool: None,
            reason: None,
            last_activity: now,
            remote_id: None,
            completed_at: None,
            ended: None,
            problem: None,
            turn: 1,
            usage: Usage::default(),
            calls: ModelCalls::default(),
            earlier: Earlier::default(),
            files_modified: Vec::new(),
            begun: false,
            before: None,
            reverted: None,
            policy: Arc::default(),
            asks: Asks::default(),
        }
    }

    /// As turn `turn` begins, without what the last one ended with.
    pub(super) fn next_turn(&self, turn: u32, now: Timestamp, change: &PolicyChange) -> Self {
        let asks = if change.rules.is_some() {
            // New rules hold as they are: what was allowed under the old ones is asked for again.
            self.asks.without_always()
        } else {
            self.asks.clone()
        };
        Self {
            policy: Arc::new(self.policy.with(change)),
            asks,
            turn,
            remote_id: self.remote_id.clone(),
            // Until the agent has the prompt, which makes it final.
            reverted: self.reverted.clone(),
            earlier: Earlier {
                usage: self.session_usage(),
                calls: self.session_calls(),
            },
            ..Self::new(now)
        }
    }

    /// Of all turns.
    pub(crate) fn session_usage(&self) -> Usage {
        self.earlier.usage.plus(self.usage)
    }

    /// Of all turns.
    pub(crate) fn session_calls(&self) -> ModelCalls {
        self.earlier.calls.plus(&self.calls)
    }
}

// === impl State ===

impl State {
    /// Whether a session in this state has no turn that runs.
    pub(crate) const fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled => true,
            Self::Pending | Self::Running | Self::WaitingInput => false,
        }
    }
}
