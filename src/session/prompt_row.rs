//! A prompt as a row of the journal, and back. The provider key is not in it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::log::TurnSpan;
use super::prompt::Prompt;
use super::queue::Queued;
use super::request::{Idempotency, Request, Task};
use super::unsent::{HandedOver, Unsent};
use crate::clock::Timestamp;
use crate::journal::PromptRow;
use crate::model::{Budget, ModelChange, ModelFields};
use crate::permission::PolicyChange;
use crate::tool::Tools;

/// What a row holds besides the columns that are searched.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Details {
    /// When it came, in milliseconds since 1970.
    at: u64,
    /// The last event when it came.
    from: u64,
    steered: bool,
    withdrawn: bool,
    /// It came before those that waited already.
    is_first: bool,
    digest: Option<[u8; 32]>,
    /// When it was about to be handed to the agent, as the beginning of a turn.
    begun_at: Option<u64>,
    /// OpenCode's id of a prompt for the running turn that it is being given.
    message_id: Option<String>,
    /// Of one that waits; nothing if prompts are not to be kept.
    prompt: Option<Prompt>,
    system_prompt: Option<String>,
    timeout_secs: Option<u64>,
    model: Option<Model>,
    policy: PolicyChange,
}

/// A [`ModelChange`] without its key.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Model {
    /// With the base address: the model is whole.
    provider: Option<String>,
    base: String,
    name: Option<String>,
    version: Option<String>,
    temperature: Option<f64>,
    max_tokens: Option<u32>,
    context_window: Option<u32>,
    max_total_tokens: Option<u64>,
    max_calls: Option<u64>,
}

/// What is known of a prompt that a client may send again.
#[derive(Clone, Debug)]
pub(super) struct KeyedPrompt {
    pub(super) idempotency: Idempotency,
    pub(super) turn: u32,
    pub(super) steered: bool,
    /// It was taken out of the queue.
    pub(super) withdrawn: bool,
    pub(super) from: u64,
}

/// A prompt that waits, or why it cannot be run any more.
pub(super) enum Restored {
    Held(Box<Queued>),
    /// Its words were not kept.
    Lost {
        turn: u32,
        row: PromptRow,
    },
}

/// A prompt that waits in the queue.
pub(super) fn waiting(queued: &Queued, keep_words: bool) -> PromptRow {
    let request = &queued.request;
    let details = Details {
        prompt: keep_words.then(|| request.prompt.clone()),
        system_prompt: request.system_prompt.clone().filter(|_| keep_words),
        timeout_secs: request.timeout.map(|limit| limit.as_secs()),
        model: model(&request.model),
        policy: request.policy.clone(),
        is_first: queued.is_first,
        ..Details::of(request, queued.at, queued.from)
    };
    row(&queued.id, queued.turn, true, request, &details)
}

/// A prompt that waits no more, or never did: it is kept only if it has a key.
pub(super) fn taken(id: &str, turn: u32, request: &Request, from: u64, steered: bool) -> PromptRow {
    let details = Details {
        steered,
        ..Details::of(request, Timestamp::now(), from)
    };
    row(id, turn, false, request, &details)
}

/// A prompt that is about to be handed to the agent, with its words until the end of its turn: nobody knows until then whether
/// the agent has them. `taken` is what its row is after that.
pub(super) fn begun(taken: &PromptRow, prompt: &Prompt, system_prompt: Option<&str>) -> PromptRow {
    changed(taken, true, |details| {
        details.begun_at = Some(Timestamp::now().as_millis());
        details.prompt = Some(prompt.clone());
        details.system_prompt = system_prompt.map(str::to_owned);
    })
}

/// What the agent may not have of the prompt of a turn that has ended.
pub(super) fn unsent(row: &PromptRow, handed_over: &HandedOver) -> Option<Unsent> {
    let details = Details::parse(&row.details);
    Some(Unsent {
        turn: row.turn,
        prompt: details.prompt.filter(|prompt| !prompt.is_empty())?,
        system_prompt: details.system_prompt,
        handed_over: details.begun_at.map(|_| handed_over.clone()),
    })
}

/// A prompt whose words are not needed any more.
pub(super) fn without_words(row: &PromptRow) -> PromptRow {
    changed(row, false, |details| {
        details.begun_at = None;
        details.message_id = None;
        details.prompt = None;
        details.system_prompt = None;
    })
}

/// A prompt that was taken out of the queue.
pub(super) fn withdrawn(queued: &Queued) -> PromptRow {
    let details = Details {
        withdrawn: true,
        ..Details::of(&queued.request, queued.at, queued.from)
    };
    row(&queued.id, queued.turn, false, &queued.request, &details)
}

/// It is as if it had never come.
pub(super) fn forgotten(row: &PromptRow) -> PromptRow {
    PromptRow {
        waits: false,
        key: None,
        details: "{}".into(),
        ..row.clone()
    }
}

/// A prompt that is being given to the agent of the running turn as this message. `taken` is what its row is after that.
pub(super) fn steering(taken: &PromptRow, message_id: &str) -> PromptRow {
    changed(taken, true, |details| {
        details.message_id = Some(message_id.to_owned());
    })
}

/// The row with some of its details changed.
fn changed(row: &PromptRow, waits: bool, change: impl FnOnce(&mut Details)) -> PromptRow {
    let mut details = Details::parse(&row.details);
    change(&mut details);
    PromptRow {
        waits,
        details: json(&details),
        ..row.clone()
    }
}

/// What a row says of a prompt that was being given to the agent: OpenCode's id of it, and how it is recognised.
pub(super) fn interrupted_steer(row: &PromptRow) -> Option<(String, KeyedPrompt)> {
    let message_id = Details::parse(&row.details).message_id?;
    Some((message_id, keyed(without_words(row))?))
}

/// What a row says of a prompt with a key. One that the agent may not have is none that was taken.
pub(super) fn keyed(row: PromptRow) -> Option<KeyedPrompt> {
    let details = Details::parse(&row.details);
    if details.message_id.is_some() {
        return None;
    }
    Some(KeyedPrompt {
        idempotency: Idempotency {
            key: row.key?,
            digest: details.digest.unwrap_or_default(),
        },
        turn: row.turn,
        steered: details.steered,
        withdrawn: details.withdrawn,
        from: details.from,
    })
}

/// What a row of an earlier process says of a prompt that waits, of the session with this id and these tools.
pub(super) fn restored(id: &str, tools: Option<&Tools>, row: PromptRow) -> Restored {
    let details = Details::parse(&row.details);
    let Some(prompt) = details.prompt.filter(|prompt| !prompt.is_empty()) else {
        return Restored::Lost {
            turn: row.turn,
            row,
        };
    };
    let digest = details.digest.unwrap_or_default();
    let request = Request {
        id: id.to_owned(),
        // What is no prompt never waits.
        task: Task::Prompt,
        prompt,
        system_prompt: details.system_prompt,
        model: details.model.map_or(ModelChange::Nothing, Model::change),
        tools: tools.cloned(),
        labels: super::labels::Labels::default(),
        timeout: details.timeout_secs.map(Duration::from_secs),
        policy: details.policy,
        idempotency: row.key.map(|key| Idempotency { key, digest }),
    };
    Restored::Held(Box::new(Queued {
        id: row.id,
        turn: row.turn,
        at: Timestamp::from_millis(details.at),
        from: details.from,
        request: Box::new(request),
        held: true,
        is_first: details.is_first,
        span: Arc::new(TurnSpan::new()),
        trace: None,
    }))
}

fn row(id: &str, turn: u32, waits: bool, request: &Request, details: &Details) -> PromptRow {
    PromptRow {
        id: id.to_owned(),
        turn,
        waits,
        key: request.idempotency.as_ref().map(|known| known.key.clone()),
        details: json(details),
    }
}

/// Strings and numbers always become JSON.
fn json(details: &Details) -> String {
    serde_json::to_string(details).unwrap_or_default()
}

fn model(change: &ModelChange) -> Option<Model> {
    match change {
        ModelChange::Nothing => None,
        ModelChange::Fields(fields) => Some(Model::of(fields)),
        ModelChange::Whole(spec) => Some(Model {
            provider: Some(spec.upstream.provider().name.to_owned()),
            base: spec.upstream.base().to_owned(),
            name: Some(spec.name.clone()),
            version: spec.version.clone(),
            temperature: spec.temperature,
            max_tokens: spec.max_tokens,
            context_window: spec.context_window,
            max_total_tokens: spec.budget.max_total_tokens,
            max_calls: spec.budget.max_calls,
        }),
        ModelChange::Keyless {
            provider,
            base,
            fields,
        } => Some(Model {
            provider: Some(provider.clone()),
            base: base.clone(),
            ..Model::of(fields)
        }),
    }
}

// === impl Details ===

impl Details {
    fn of(request: &Request, at: Timestamp, from: u64) -> Self {
        Self {
            at: at.as_millis(),
            from,
            digest: request.idempotency.as_ref().map(|known| known.digest),
            ..Self::default()
        }
    }

    /// What cannot be parsed is as if it had not been written.
    fn parse(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_else(|error| {
            tracing::error!(%error, "a prompt in the journal cannot be read");
            Self::default()
        })
    }
}

// === impl Model ===

impl Model {
    fn of(fields: &ModelFields) -> Self {
        Self {
            name: fields.name.clone(),
            version: fields.version.clone(),
            temperature: fields.temperature,
            max_tokens: fields.max_tokens,
            context_window: fields.context_window,
            max_total_tokens: fields.budget.max_total_tokens,
            max_calls: fields.budget.max_calls,
            ..Self::default()
        }
    }

    fn change(self) -> ModelChange {
        let fields = Box::new(ModelFields {
            name: self.name,
            version: self.version,
            key: None,
            temperature: self.temperature,
            max_tokens: self.max_tokens,
            context_window: self.context_window,
            budget: Budget {
                max_total_tokens: self.max_total_tokens,
                max_calls: self.max_calls,
            },
        });
        match self.provider {
            Some(provider) => ModelChange::Keyless {
                provider,
                base: self.base,
                fields,
            },
            None => ModelChange::Fields(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelSpec;
    use crate::secret::Secret;
    use crate::session::tests::{model as spec, request};

    fn policy() -> PolicyChange {
        PolicyChange {
            egress: None,
            questions: Some(true),
            ..PolicyChange::default()
        }
    }

    fn queued() -> Queued {
        let spec = ModelSpec {
            key: Some(Secret::new("key-of-nobody")),
            ..spec()
        };
        Queued {
            id: "p".into(),
            turn: 2,
            at: Timestamp::from_millis(7),
            from: 5,
            request: Box::new(Request {
                model: ModelChange::Whole(Box::new(spec)),
                policy: policy(),
                ..request("a")
            }),
            held: false,
            is_first: true,
            span: Arc::new(TurnSpan::new()),
            trace: None,
        }
    }

    #[test]
    fn a_row_has_all_of_a_prompt_but_its_provider_key() {
        let row = waiting(&queued(), true);
        assert!(!format!("{row:?}").contains("key-of-nobody"));
        let Restored::Held(held) = restored("a", None, row) else {
            panic!("its words are kept");
        };
        assert_eq!((held.turn, held.from, held.held), (2, 5, true));
        assert!(held.is_first);
        assert_eq!(held.request.prompt, queued().request.prompt);
        assert_eq!(held.request.policy, policy());
        let ModelChange::Keyless {
            provider, fields, ..
        } = &held.request.model
        else {
            panic!("{:?}", held.request.model);
        };
        assert_eq!((&**provider, fields.name.as_deref()), ("local", Some("m")));
    }

    #[test]
    fn words_that_are_not_to_be_kept_are_lost() {
        let row = waiting(&queued(), false);
        assert!(!row.details.contains("hello"));
        assert!(matches!(
            restored("a", None, row),
            Restored::Lost { turn: 2, .. }
        ));
    }
}
