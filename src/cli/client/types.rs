//! What the API says, as far as the commands read it. Fields that an older sidecar does not have are empty.

use serde::Deserialize;
use serde_json::Value;

use crate::clock::Timestamp;

/// One session, as `GET /sessions/{id}/status` has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct Session {
    #[serde(rename = "session_id")]
    pub(in crate::cli) id: String,
    pub(in crate::cli) status: String,
    pub(in crate::cli) created_at: String,
    pub(in crate::cli) completed_at: Option<String>,
    pub(in crate::cli) progress: u8,
    pub(in crate::cli) current_tool: Option<String>,
    pub(in crate::cli) phase: Option<String>,
    pub(in crate::cli) reason: Option<String>,
    pub(in crate::cli) error: Option<SessionError>,
    pub(in crate::cli) turn: u32,
    pub(in crate::cli) usage: Usage,
    pub(in crate::cli) model_calls: ModelCalls,
    pub(in crate::cli) turn_usage: Usage,
    pub(in crate::cli) turn_model_calls: ModelCalls,
    pub(in crate::cli) last_event_id: String,
    pub(in crate::cli) files_modified: Vec<String>,
    pub(in crate::cli) asks: Vec<PendingAsk>,
}

/// What waits for a person.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct PendingAsk {
    pub(in crate::cli) kind: String,
    pub(in crate::cli) permission: Option<String>,
    pub(in crate::cli) deadline: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct SessionError {
    pub(in crate::cli) code: String,
    pub(in crate::cli) error: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct Usage {
    pub(in crate::cli) input_tokens: u64,
    pub(in crate::cli) output_tokens: u64,
    pub(in crate::cli) reasoning_tokens: u64,
    pub(in crate::cli) cache_read_tokens: u64,
    pub(in crate::cli) cache_write_tokens: u64,
    pub(in crate::cli) cost: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct ModelCalls {
    pub(in crate::cli) calls: u64,
    pub(in crate::cli) retries: u64,
    pub(in crate::cli) total_tokens: u64,
    pub(in crate::cli) first_byte_ms: Option<u64>,
    pub(in crate::cli) last_error: Option<String>,
}

/// A page of `GET /sessions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct Page {
    pub(in crate::cli) sessions: Vec<Session>,
    pub(in crate::cli) next_cursor: Option<String>,
}

/// What a prompt that was accepted is answered with.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::cli) struct Created {
    pub(in crate::cli) session_id: String,
    pub(in crate::cli) last_event_id: String,
    #[serde(default)]
    pub(in crate::cli) tools_not_offered: Vec<String>,
}

/// `GET /engine/status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct Engine {
    pub(in crate::cli) state: String,
    pub(in crate::cli) version: Option<String>,
    pub(in crate::cli) generation: u64,
    pub(in crate::cli) restarts: u64,
    pub(in crate::cli) uptime_secs: Option<u64>,
    pub(in crate::cli) rss_bytes: Option<u64>,
    pub(in crate::cli) memory: Option<EngineMemory>,
    pub(in crate::cli) last_error: Option<String>,
    pub(in crate::cli) project_dir: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct EngineMemory {
    pub(in crate::cli) used_bytes: u64,
    pub(in crate::cli) limit_bytes: u64,
    pub(in crate::cli) pressure: String,
}

/// One event of a stream.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Event {
    /// Heartbeats and gaps have none.
    pub(in crate::cli) id: Option<String>,
    pub(in crate::cli) kind: String,
    pub(in crate::cli) data: Value,
    /// The data as the sidecar wrote it.
    pub(in crate::cli) raw: String,
}

// === impl Usage ===

impl Usage {
    /// What the model was given, from its cache or not.
    pub(in crate::cli) const fn read_tokens(&self) -> u64 {
        self.input_tokens + self.cache_read_tokens + self.cache_write_tokens
    }

    /// What the model wrote.
    pub(in crate::cli) const fn written_tokens(&self) -> u64 {
        self.output_tokens + self.reasoning_tokens
    }
}

// === impl Session ===

impl Session {
    pub(in crate::cli) fn is_active(&self) -> bool {
        !matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }

    /// How long before `now` it was created.
    pub(in crate::cli) fn age(&self, now: Timestamp) -> std::time::Duration {
        now.since(Timestamp::parse(&self.created_at).unwrap_or(now))
    }
}

// === impl Event ===

impl Event {
    /// Nothing for what is no JSON object.
    pub(in crate::cli) fn new(id: Option<String>, kind: String, data: &str) -> Option<Self> {
        let raw = data.to_owned();
        let data: Value = serde_json::from_str(&raw).ok()?;
        data.is_object().then_some(Self {
            id,
            kind,
            data,
            raw,
        })
    }

    /// Whether it ends the turn.
    pub(in crate::cli) fn is_terminal(&self) -> bool {
        match self.kind.as_str() {
            "complete" => true,
            "error" => self.data["fatal"] == true,
            "status" => self.text("status") == "cancelled",
            _ => false,
        }
    }

    /// Whether it shows that a turn runs. A `status` of a session that is idle is a note: it was forked, or a prompt of it
    /// was undone.
    pub(in crate::cli) fn is_of_running_turn(&self) -> bool {
        match self.kind.as_str() {
            "output" | "tool_call" | "tool_result" => true,
            "status" => matches!(self.text("status"), "pending" | "running" | "waiting_input"),
            _ => false,
        }
    }

    /// A field that is a text; empty if it is none.
    pub(in crate::cli) fn text(&self, field: &str) -> &str {
        self.data[field].as_str().unwrap_or_default()
    }

    /// Its number in the session's log.
    pub(in crate::cli) fn number(&self) -> Option<u64> {
        number(self.id.as_deref()?)
    }

    /// One line of JSON: `id`, `event` and `data`, as WebSocket frames have them.
    pub(in crate::cli) fn json_line(&self) -> String {
        let (id, kind) = (serde_json::json!(self.id), serde_json::json!(self.kind));
        let line = format!("{{\"id\":{id},\"event\":{kind},\"data\":{}}}", self.raw);
        crate::cli::plain_text::json(&line)
    }

    /// As the stream has it.
    pub(in crate::cli) fn frame(&self) -> String {
        let kind = crate::cli::plain_text::one_line(&self.kind);
        let id = self.id.as_deref().map(crate::cli::plain_text::one_line);
        let id = id.map_or(String::new(), |id| format!("id: {id}\n"));
        format!(
            "event: {kind}\n{id}data: {}\n",
            crate::cli::plain_text::json(&self.raw)
        )
    }
}

/// The number in an event id.
pub(in crate::cli) fn number(id: &str) -> Option<u64> {
    id.rsplit_once('-')?.1.parse().ok()
}
