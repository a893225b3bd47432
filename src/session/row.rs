//! A session as a row of the journal, and back. No key is among it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::record::{Earlier, Origin, Problem, Status};
use crate::clock::Timestamp;
use crate::event::{State, Usage};
use crate::model::ModelCalls;
use crate::tool::Tools;

/// What a row says besides the columns that are searched. A field that is missing, because an older
/// version wrote the row, has its default.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Details {
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
    /// The newest message of OpenCode's before the running turn.
    before: Option<String>,
}

/// More tokens, calls or milliseconds than there can have been; a few of them can be added up.
const MAX_FIGURE: u64 = 1 << 53;

// === impl Details ===

impl Details {
    pub(super) fn new(created_at: Timestamp, origin: &Origin, status: &Status) -> Self {
        let problem = status.problem.as_ref();
        Self {
            created_at: created_at.as_millis(),
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
            digest: origin.digest,
            before: status.before.clone(),
        }
    }

    /// What a row's JSON says; what cannot be read is as if it had not been written.
    pub(super) fn read(json: &str) -> Self {
        let facts: Self = serde_json::from_str(json).unwrap_or_else(|error| {
            tracing::error!(%error, "a session's facts in the journal cannot be read");
            Self::default()
        });
        if facts.can_be_counted_on() {
            return facts;
        }
        tracing::error!("a session's figures in the journal are impossible; they are left out");
        Self {
            usage: Usage::default(),
            calls: ModelCalls::default(),
            ..facts
        }
    }

    /// Whether its figures can be added to and compared with a budget.
    fn can_be_counted_on(&self) -> bool {
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

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }

    pub(super) fn created_at(&self) -> Timestamp {
        Timestamp::from_millis(self.created_at)
    }

    pub(super) fn origin(&self) -> Origin {
        Origin {
            prompt: self.prompt.clone(),
            tools: self
                .tools
                .as_deref()
                .and_then(|names| Tools::parse(names).ok()),
            digest: self.digest,
        }
    }

    pub(super) fn status(self, state: State, remote_id: Option<String>, turn: u32) -> Status {
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
            before: self.before,
            ..Status::new(Timestamp::from_millis(self.created_at))
        }
    }
}
