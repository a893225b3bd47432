//! A session as a row of the journal, and back. The provider key is not in it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::asks::Asks;
use super::labels::Labels;
use super::log::{Epoch, EventLog, StoredRange};
use super::record::{ForkedFrom, Origin, Session};
use super::request::Idempotency;
use super::status::{Earlier, Problem, Reverted, Status};
use super::turn_ends::TurnEnds;
use crate::clock::Timestamp;
use crate::event::{State, Usage};
use crate::journal::{Row, Stored};
use crate::model::ModelCalls;
use crate::permission::{Policy, Rule};
use crate::tool::Tools;
use crate::trace::SpanAndParent;

/// What a row holds besides the columns that are searched. A field that is missing, because an older version wrote the
/// row, has its default.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Details {
    created_at: u64,
    last_activity: u64,
    completed_at: Option<u64>,
    progress: u8,
    problem: Option<(String, String)>,
    usage: Usage,
    calls: ModelCalls,
    /// Of the turns before this one.
    earlier_usage: Usage,
    earlier_calls: ModelCalls,
    files_modified: Vec<String>,
    prompt: Option<String>,
    tools: Option<Vec<String>>,
    digest: Option<[u8; 32]>,
    /// OpenCode may have the prompt of the turn. Nothing: written before that was noted.
    begun: Option<bool>,
    /// OpenCode's newest message before the running turn.
    before: Option<String>,
    labels: Labels,
    forked_from: Option<ForkedFrom>,
    reverted: Option<Reverted>,
    /// The largest number that was given to a turn: one may have been withdrawn.
    last_turn: u32,
    policy: Policy,
    /// What the answer `always` has allowed.
    always: Vec<Rule>,
    /// Of earlier turns, for the backend.
    ends: TurnEnds,
    /// The trace of the turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
}

/// More turns than a session can have had.
const MAX_TURN: u32 = 1 << 24;

/// More tokens, calls or milliseconds than there can have been; a few of them can be added up.
const MAX_FIGURE: u64 = 1 << 53;

// === impl Session ===

impl Session {
    /// As it is kept on disk.
    pub(crate) fn row(&self) -> Row {
        self.row_with(&self.status())
    }

    /// As it is kept on disk once the agent may have the prompt of its turn, which makes final what was undone.
    pub(super) fn row_as_begun(&self) -> Row {
        let status = Status {
            reverted: None,
            ..(*self.status()).clone()
        };
        self.row_with(&status)
    }

    fn row_with(&self, status: &Status) -> Row {
        let ended = status.state.is_final().then_some(status.completed_at);
        Row {
            number: self.number,
            id: self.id.clone(),
            epoch: self.log.last_event_id().epoch.to_string(),
            remote_id: status.remote_id.clone(),
            state: status.state.as_str().to_owned(),
            ended: ended.flatten().map(Timestamp::as_millis),
            key: self.key().cloned(),
            reported: self.reported.load(Ordering::Relaxed),
            turn: status.turn,
            details: Details::new(self, status).to_json(),
        }
    }

    /// As it was on disk. `log` makes the log of what is there.
    pub(super) fn from_stored(stored: Stored, log: impl FnOnce(StoredRange) -> EventLog) -> Self {
        let Stored { row, oldest, last } = stored;
        let mut details = Details::parse(&row.details);
        let labels = std::mem::take(&mut details.labels);
        let ends = std::mem::take(&mut details.ends);
        let trace = details.trace.as_deref().and_then(SpanAndParent::parse);
        let state = State::parse(&row.state).unwrap_or(State::Failed);
        let last_turn = details.last_turn.min(MAX_TURN);
        let extent = StoredRange {
            number: row.number,
            epoch: Epoch::parse(&row.epoch).unwrap_or_else(Epoch::random),
            oldest,
            last,
            idle: state.is_final(),
        };
        let session = Self::new(
            row.id,
            row.number,
            Timestamp::from_millis(details.created_at),
            details.origin(row.key),
            details.status(state, row.remote_id, row.turn),
            log(extent),
        );
        session.reported.store(row.reported, Ordering::Relaxed);
        *session.labels.lock() = labels;
        *session.ends.lock() = ends;
        *session.trace.lock() = trace;
        session.queue.lock().restore_last_turn(last_turn);
        session
    }
}

// === impl Details ===

impl Details {
    fn new(session: &Session, status: &Status) -> Self {
        let (origin, problem) = (&session.origin, status.problem.as_ref());
        Self {
            created_at: session.created_at.as_millis(),
            last_activity: status.last_activity.as_millis(),
            completed_at: status.completed_at.map(Timestamp::as_millis),
            progress: status.progress,
            problem: problem.map(|problem| (problem.code.to_string(), problem.sentence.clone())),
            usage: status.usage,
            calls: status.calls.clone(),
            earlier_usage: status.earlier.usage,
            earlier_calls: status.earlier.calls.clone(),
            files_modified: status.files_modified.clone(),
            prompt: origin.prompt.clone(),
            tools: origin.tools.as_ref().map(Tools::list),
            digest: origin.idempotency.as_ref().map(|known| known.digest),
            begun: Some(status.begun),
            before: status.before.clone(),
            labels: session.labels(),
            forked_from: origin.forked_from.clone(),
            reverted: status.reverted.clone(),
            last_turn: session.queue.lock().last_turn(),
            policy: (*status.policy).clone(),
            always: status.asks.always.to_vec(),
            ends: session.ends.lock().clone(),
            trace: (*session.trace.lock()).map(SpanAndParent::to_text),
        }
    }

    /// What cannot be parsed is as if it had not been written.
    fn parse(json: &str) -> Self {
        let details: Self = serde_json::from_str(json).unwrap_or_else(|error| {
            tracing::error!(%error, "a session's details in the journal cannot be read");
            Self::default()
        });
        if details.is_plausible() {
            return details;
        }
        tracing::error!("a session's figures in the journal are impossible; they are left out");
        Self {
            usage: Usage::default(),
            calls: ModelCalls::default(),
            ..details
        }
    }

    /// Whether its figures can be added to and compared with a budget.
    fn is_plausible(&self) -> bool {
        let (usage, calls) = (&self.usage, &self.calls);
        [
            usage.input_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            calls.calls,
            calls.retries,
            calls.total_tokens,
            calls.duration_ms,
            calls.first_byte_ms.unwrap_or_default(),
        ]
        .into_iter()
        .all(|figure| figure <= MAX_FIGURE)
            && usage.cost.is_finite()
            && usage.cost >= 0.0
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }

    fn origin(&self, key: Option<String>) -> Origin {
        Origin {
            prompt: self.prompt.clone(),
            tools: self
                .tools
                .as_deref()
                .and_then(|names| Tools::parse(names).ok()),
            idempotency: key.map(|key| Idempotency {
                key,
                // No body has this digest: without its own, the key cannot be used again.
                digest: self.digest.unwrap_or_default(),
            }),
            forked_from: self.forked_from.clone(),
        }
    }

    fn status(self, state: State, remote_id: Option<String>, turn: u32) -> Status {
        let completed_at = self.completed_at.map(Timestamp::from_millis);
        Status {
            state,
            progress: self.progress,
            last_activity: Timestamp::from_millis(self.last_activity),
            remote_id,
            completed_at,
            problem: self.problem.map(|(code, sentence)| Problem {
                code: Cow::Owned(code),
                sentence,
            }),
            turn,
            usage: self.usage,
            calls: self.calls,
            earlier: Earlier {
                usage: self.earlier_usage,
                calls: self.earlier_calls,
            },
            files_modified: self.files_modified,
            begun: self.begun.unwrap_or(true),
            before: self.before,
            reverted: self.reverted,
            policy: Arc::new(self.policy),
            asks: Asks::allowing(self.always),
            ..Status::new(Timestamp::from_millis(self.created_at))
        }
    }
}
