//! `GET /sessions/{id}/diagnosis`, as far as it is shown.

use serde::Deserialize;

use super::types::ModelCalls;

/// What a session does right now, or why it does nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct Diagnosis {
    pub(in crate::cli) cause: String,
    pub(in crate::cli) sentence: String,
    pub(in crate::cli) since: Option<String>,
    pub(in crate::cli) next: Option<NextStep>,
    pub(in crate::cli) also: Vec<Also>,
    pub(in crate::cli) turn_ends_at: Option<String>,
    pub(in crate::cli) model: Option<ModelState>,
    pub(in crate::cli) model_calls: ModelCalls,
    pub(in crate::cli) processes: Vec<Process>,
    pub(in crate::cli) readers: usize,
    pub(in crate::cli) queued: usize,
}

/// What happens by itself, and when.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct NextStep {
    pub(in crate::cli) at: Option<String>,
    pub(in crate::cli) what: String,
}

/// What else is wrong.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct Also {
    pub(in crate::cli) sentence: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct ModelState {
    pub(in crate::cli) provider: String,
    pub(in crate::cli) state: String,
}

/// What one of the session's commands runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct Process {
    pub(in crate::cli) pid: u64,
    pub(in crate::cli) name: String,
    pub(in crate::cli) state: String,
    pub(in crate::cli) cpu_seconds: f64,
}
