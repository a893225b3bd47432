//! Tells a session's readers, and the journal, what becomes of a prompt for the running turn.

use std::sync::Arc;

use super::accepted::AcceptedPrompt;
use super::log::Addition;
use super::prompt_row;
use super::record::Session;
use super::steer::SteerRecord;
use super::turn::InterruptedSteer;
use crate::clock::Timestamp;
use crate::event::{Body, Event, PromptNote, PromptState};
use crate::journal::PromptRow;

// === impl Session ===

impl Session {
    /// Notes on disk, if it has a key, that a prompt is about to be given to the agent as this message. A disk that fails is
    /// not waited for.
    pub(crate) async fn record_steer(&self, record: &SteerRecord, message_id: &str) {
        if record.keyed.is_none() {
            return;
        }
        self.log.add(Addition {
            prompt: Some(prompt_row::steering(&record.row, message_id)),
            ..Addition::default()
        });
        self.noted().await;
    }

    /// Notes in the log, and on disk for whoever sends it again, that a prompt is part of the running turn.
    pub(crate) fn note_steer(&self, record: SteerRecord) {
        let SteerRecord { row, text, keyed } = record;
        if let Some(keyed) = keyed {
            self.accepted.lock().add(keyed);
        }
        let body = Body::Prompt(PromptNote {
            state: PromptState::Steered,
            text,
        });
        let frame = Event::new(Timestamp::now(), body).encode(row.turn);
        self.log.add(Addition {
            row: Some(self.row()),
            prompt: Some(row),
            ..Addition::of(frame)
        });
    }

    /// The agent never had it: the same prompt may come again.
    pub(crate) fn forget_steer(&self, record: &SteerRecord) {
        if let Some(keyed) = &record.keyed {
            let key = keyed.prompt.idempotency.key.clone();
            self.accepted.lock().forget_key(key);
            self.log.add(Addition {
                prompt: Some(prompt_row::forgotten(&record.row)),
                ..Addition::default()
            });
        }
    }

    /// What a row says of a prompt that was being given to the agent of the turn that was interrupted; nothing if it is another.
    /// From here on whoever sends it again is told to wait.
    pub(super) fn interrupted_steer(&self, row: &PromptRow) -> Option<InterruptedSteer> {
        let (message_id, prompt) = prompt_row::interrupted_steer(row)?;
        self.accepted
            .lock()
            .add_unsure(prompt.idempotency.key.clone());
        let keyed = AcceptedPrompt {
            prompt,
            span: Arc::clone(&self.span.lock()),
            outcome_rx: None,
        };
        let record = SteerRecord {
            row: prompt_row::without_words(row),
            text: None,
            keyed: Some(keyed),
        };
        Some(InterruptedSteer { message_id, record })
    }
}
