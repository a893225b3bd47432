//! What a session is doing right now, or why it does nothing: from facts to one sentence and fields. Pure.
//!
//! The turn's task gathers the [`Facts`] once a second; the stream's phase `stalled`, the log and
//! `GET /sessions/{id}/diagnosis` all say what [`diagnose`] makes of them. A further cause is a word in [`Cause`], a fact,
//! and a line in [`of_turn`], whose order is the order of precedence.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use strum::IntoStaticStr;
use utoipa::ToSchema;

use super::asks::{Ask, Subject};
use super::queue::QueueHead;
use crate::clock::Timestamp;
use crate::event::State;
use crate::model::ModelCall;

/// A turn that spoke within this time works; nobody asks why it is silent.
const QUIET_MILLIS: u64 = 5_000;

/// Why the session is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
#[cfg_attr(test, derive(strum::VariantArray))]
pub(crate) enum Cause {
    /// The turn has not begun.
    Starting,
    Working,
    /// The model's answer comes in.
    Answering,
    /// A call was made, and nothing comes: not yet, or not any more.
    WaitingForProvider,
    /// The provider failed and is asked again.
    ProviderRetry,
    ToolRunning,
    /// The agent asks for leave to use a tool.
    WaitingPermission,
    /// The agent asks its user something.
    WaitingQuestion,
    /// A prompt waits: for the end of the turn, or for a key.
    Queued,
    Compacting,
    /// The agent's process died, or is being replaced.
    EngineRestarting,
    /// The agent's process does not answer.
    ChildWedged,
    /// Nothing is heard from the agent, and nothing explains it.
    FeedSilent,
    Stopping,
    JournalDegraded,
    MemoryPressure,
    Ended,
}

/// What the gateway knows of the model's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelWait {
    Idle,
    /// A call was sent and nothing has come back.
    Asked {
        since: Timestamp,
        until: Timestamp,
    },
    Answering {
        since: Timestamp,
        bytes: u64,
        last_byte: Timestamp,
        /// When the answer is given up if nothing more comes.
        until: Timestamp,
    },
    Retry {
        until: Timestamp,
    },
}

/// What the turn's task knows.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// When something was last heard of the agent.
    pub(crate) heard: Timestamp,
    /// When the turn ends with `timeout`.
    pub(crate) deadline: Timestamp,
    pub(crate) model: ModelWait,
    /// Its name and where it is; empty once the turn is being stopped.
    pub(crate) provider: String,
    /// What the last failed call of the model failed with.
    pub(crate) last_error: Option<String>,
    pub(crate) retries: u64,
    /// What the provider calls the model; empty once the turn is being stopped.
    pub(crate) model_name: String,
    /// The newest calls of the model, oldest first.
    pub(crate) calls: Vec<ModelCall>,
    /// The agent's own words while it waits to ask the provider again.
    pub(crate) agent_retries: Option<String>,
    pub(crate) tool: Option<(Arc<str>, Timestamp)>,
    pub(crate) tool_counts: ToolCounts,
    pub(crate) compacting: bool,
    /// What waits for a person, oldest first.
    pub(crate) asks: Arc<[Arc<Ask>]>,
    /// The next of the prompts that wait for the end of the turn.
    pub(crate) queued: Option<QueueHead>,
    /// Which time of how many the turn goes on in another process; nothing while it runs in one.
    pub(crate) recovery: Option<(u32, u32)>,
    /// Since when the agent's event stream is broken.
    pub(crate) feed_lost: Option<Timestamp>,
    pub(crate) stopping: bool,
    /// OpenCode's ids of the session and its subagents.
    pub(crate) agent_sessions: Vec<String>,
}

/// Which tools a turn has called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ToolCounts {
    /// How often each, with those of subagents.
    pub(crate) calls: BTreeMap<String, u32>,
    /// The newest call.
    pub(crate) repeated: Option<RepeatedCall>,
}

/// How often a call was made in a row with the same arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RepeatedCall {
    pub(crate) tool: String,
    pub(crate) times: u32,
    /// At so many the turn ends; null: at no number.
    pub(crate) limit: Option<u32>,
}

/// What is around all turns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// Why the engine takes no work.
    pub(crate) engine: Option<String>,
    /// Health checks that the engine has missed in a row.
    pub(crate) missed_checks: u32,
    pub(crate) memory: Option<String>,
    /// Why nothing can be written to the disk.
    pub(crate) journal: Option<String>,
}

/// Where the session is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Situation<'a> {
    Ended {
        state: State,
        at: Option<Timestamp>,
        reason: Option<&'a str>,
        /// The next of the prompts that wait all the same.
        queued: Option<QueueHead>,
    },
    /// Its turn has been asked for and does not run yet.
    Opening {
        since: Timestamp,
    },
    Running(&'a Facts),
}

/// One sentence, and the same in fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Diagnosis {
    pub(crate) cause: Cause,
    pub(crate) sentence: String,
    /// Since when that is so, where it is known.
    pub(crate) since: Option<Timestamp>,
    /// What happens next without anybody doing anything.
    pub(crate) next: Option<Next>,
    /// What else is wrong.
    pub(crate) also: Vec<Trouble>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DiagnosisNext)]
pub(crate) struct Next {
    pub(crate) at: Timestamp,
    pub(crate) what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DiagnosisTrouble)]
pub(crate) struct Trouble {
    pub(crate) cause: Cause,
    pub(crate) sentence: String,
}

/// A finding before troubles beside it are added.
type Finding = (
    Cause,
    String,
    Option<Timestamp>,
    Option<(Timestamp, &'static str)>,
);

/// The one place where a cause is found.
pub(crate) fn diagnose(
    situation: Situation<'_>,
    around: &Surroundings,
    now: Timestamp,
) -> Diagnosis {
    let (cause, sentence, since, next) = match situation {
        Situation::Ended {
            queued: Some(head), ..
        } => {
            let since = Some(head.since);
            (Cause::Queued, idle_queue_sentence(&head), since, None)
        }
        Situation::Ended {
            state, at, reason, ..
        } => {
            let reason = reason.map(|reason| format!(": {reason}"));
            let reason = reason.unwrap_or_default();
            let sentence = format!("the session is {}{reason}", state.as_str());
            (Cause::Ended, sentence, at, None)
        }
        Situation::Opening { since } => opening(since, around),
        Situation::Running(facts) => of_turn(facts, around, now),
    };
    let behind = match situation {
        Situation::Running(facts) => facts.queued.as_ref().map(busy_queue_sentence),
        _ => None,
    };
    let troubles = [
        (Cause::Queued, behind),
        (Cause::JournalDegraded, journal_sentence(around)),
        (Cause::MemoryPressure, around.memory.clone()),
    ];
    let also = troubles
        .into_iter()
        .filter(|(other, _)| !matches!(cause, Cause::Ended | Cause::Queued) && *other != cause)
        .filter_map(|(cause, sentence)| Some((cause, sentence?)))
        .map(|(cause, sentence)| Trouble { cause, sentence });
    Diagnosis {
        cause,
        sentence,
        since,
        next: next.map(|(at, what)| Next { at, what }),
        also: also.collect(),
    }
}

fn opening(since: Timestamp, around: &Surroundings) -> Finding {
    let (cause, sentence) = match (&around.engine, &around.memory) {
        (Some(reason), _) => (
            Cause::EngineRestarting,
            format!("the turn waits for the agent's process: {reason}"),
        ),
        (None, Some(reason)) => (Cause::MemoryPressure, reason.clone()),
        (None, None) => (
            Cause::Starting,
            "the turn is being handed to the agent".to_owned(),
        ),
    };
    (cause, sentence, Some(since), None)
}

/// The first that holds is the cause: what ends or replaces the turn, then what it waits for, then silence.
fn of_turn(facts: &Facts, around: &Surroundings, now: Timestamp) -> Finding {
    let quiet = now.as_millis().saturating_sub(facts.heard.as_millis());
    let seconds = quiet / 1000;
    let timeout = Some((facts.deadline, "the turn ends with timeout"));
    if facts.stopping {
        let sentence = "the turn is being ended".to_owned();
        return (Cause::Stopping, sentence, None, None);
    }
    if let Some((nth, most)) = facts.recovery {
        let reason = around.engine.as_deref().unwrap_or("it has just come up");
        let sentence = format!(
            "the agent's process died; the turn goes on in the next one ({nth} of {most}), for which it waits: {reason}"
        );
        return (
            Cause::EngineRestarting,
            sentence,
            Some(facts.heard),
            timeout,
        );
    }
    if around.missed_checks > 0 {
        let sentence = format!(
            "the agent's process does not answer: it missed {} health checks in a row; after three it is replaced, and the turn goes on in the next one",
            around.missed_checks
        );
        return (Cause::ChildWedged, sentence, Some(facts.heard), timeout);
    }
    if let Some(since) = facts.feed_lost {
        let sentence = format!(
            "the agent's event stream is broken since {since}; it is being opened again, and what was missed is asked for"
        );
        return (Cause::FeedSilent, sentence, Some(since), timeout);
    }
    if let Some(ask) = facts.asks.first() {
        return of_person(ask, facts.asks.len() - 1);
    }
    let model = of_model(facts, now);
    if facts.compacting {
        let waits = model.map(|(_, sentence, ..)| format!(", {sentence}"));
        let sentence = format!(
            "the conversation is being summarised to fit the model's context{}",
            waits.unwrap_or_default()
        );
        return (Cause::Compacting, sentence, Some(facts.heard), timeout);
    }
    if let Some(finding) = model {
        return finding;
    }
    if let Some((tool, since)) = &facts.tool {
        let words = if quiet < QUIET_MILLIS {
            format!("the tool {tool} is running since {since}")
        } else {
            format!("the tool {tool} is running and has said nothing for {seconds} s")
        };
        return (Cause::ToolRunning, words, Some(*since), timeout);
    }
    if let Some(sentence) = journal_sentence(around) {
        return (Cause::JournalDegraded, sentence, None, timeout);
    }
    if quiet < QUIET_MILLIS {
        let sentence = "the agent is working".to_owned();
        return (Cause::Working, sentence, Some(facts.heard), timeout);
    }
    let sentence = format!(
        "nothing was heard from the agent for {seconds} s, and it waits neither for the model nor for a tool; it is asked whether the turn has ended"
    );
    (Cause::FeedSilent, sentence, Some(facts.heard), timeout)
}

/// A person is waited for; so many `further` requests wait behind this one.
fn of_person(ask: &Ask, further: usize) -> Finding {
    let (cause, wanted) = match &ask.subject {
        Subject::Permission(request) => (
            Cause::WaitingPermission,
            format!("a permission: {}", request.permission),
        ),
        Subject::Questions(_) => (
            Cause::WaitingQuestion,
            "an answer to the agent's question".to_owned(),
        ),
    };
    let asker = match &ask.agent {
        Some(agent) => format!(", asked for by the subagent {}", agent.name),
        None => String::new(),
    };
    let further = match further {
        0 => String::new(),
        further => format!("; {further} more wait"),
    };
    let sentence = format!(
        "waiting for somebody to give {wanted}{asker} ({}){further}",
        ask.request_id
    );
    let next = Some((ask.deadline, "the default answer is given"));
    (cause, sentence, Some(ask.asked_at), next)
}

/// Of a session whose turn has ended. Only what is held waits then, but for a moment.
fn idle_queue_sentence(head: &QueueHead) -> String {
    let waits_for = if head.held {
        "a key, because the sidecar was restarted and keeps none: send a prompt or resume with a model_config"
    } else {
        "its beginning"
    };
    format!("turn {} is queued and waits for {waits_for}", head.turn)
}

fn busy_queue_sentence(head: &QueueHead) -> String {
    match head.waiting {
        1 => format!("turn {} is queued until this one ends", head.turn),
        waiting => format!(
            "turn {} is queued until this one ends, and {} more behind it",
            head.turn,
            waiting - 1
        ),
    }
}

/// What the turn waits for at the provider, if it does.
fn of_model(facts: &Facts, now: Timestamp) -> Option<Finding> {
    const GIVEN_UP: &str = "the call is given up and made again";
    let provider = &facts.provider;
    match facts.model {
        ModelWait::Asked { since, until } => {
            let sentence = format!(
                "waiting for the model provider until {until}: nothing has come from {provider} since {since}"
            );
            let next = Some((until, GIVEN_UP));
            Some((Cause::WaitingForProvider, sentence, Some(since), next))
        }
        ModelWait::Answering {
            bytes,
            last_byte,
            until,
            ..
        } if now.as_millis().saturating_sub(last_byte.as_millis()) >= QUIET_MILLIS => {
            let sentence = format!(
                "waiting for the model provider until {until}: {provider} has fallen silent in the middle of an answer, after {bytes} bytes"
            );
            let next = Some((until, GIVEN_UP));
            Some((Cause::WaitingForProvider, sentence, Some(last_byte), next))
        }
        ModelWait::Answering { since, bytes, .. } => {
            let sentence = format!("the answer of {provider} comes in: {bytes} bytes so far");
            Some((Cause::Answering, sentence, Some(since), None))
        }
        ModelWait::Retry { until } => {
            let why = facts.last_error.as_deref().unwrap_or("it failed");
            let sentence = format!(
                "the model provider is asked again at {until}, after {} retries: {why}",
                facts.retries
            );
            let next = Some((until, "the provider is asked again"));
            Some((Cause::ProviderRetry, sentence, None, next))
        }
        ModelWait::Idle => {
            let words = facts.agent_retries.as_ref()?;
            let sentence = format!("the model provider is asked again soon: {words}");
            Some((Cause::ProviderRetry, sentence, None, None))
        }
    }
}

fn journal_sentence(around: &Surroundings) -> Option<String> {
    let reason = around.journal.as_ref()?;
    Some(format!(
        "events are shown from memory, because they cannot be written: {reason}"
    ))
}

// === impl Cause ===

impl Cause {
    pub(crate) const fn as_str(self) -> &'static str {
        self.into_str()
    }
}

#[cfg(test)]
mod tests;
