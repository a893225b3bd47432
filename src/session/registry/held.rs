//! Prompts that waited when an earlier process ended: they have no key, and wait for one.

use std::sync::Arc;

use tokio::sync::watch;

use super::Registry;
use crate::clock::Timestamp;
use crate::event::{Body, Event, Failure, FailureCode, PromptState};
use crate::journal::{PromptRow, Stored};
use crate::session::log::Addition;
use crate::session::prompt_row::{self, Restored};
use crate::session::queue::Queued;
use crate::session::record::Session;

const LOST: &str = "this prompt waited when the sidecar was restarted, and its words are not kept (JOURNAL_PROMPTS)";

// === impl Registry ===

impl Registry {
    /// Takes the sessions whose prompts wait into memory, and tells their readers what becomes of these.
    pub(super) fn hold(&self, waiting: Vec<(Stored, Vec<PromptRow>)>) {
        for (stored, mut rows) in waiting {
            // A turn that was about to begin has ended as any that was interrupted; whoever goes on with it needs its words.
            rows.retain(|row| row.turn != stored.row.turn);
            if rows.is_empty() {
                continue;
            }
            let session = self.with_prompts(stored);
            let last = rows.iter().map(|row| row.turn).max();
            session
                .queue
                .lock()
                .restore_last_turn(last.unwrap_or_default());
            let held = rows
                .into_iter()
                .filter_map(|row| self.hold_one(&session, row));
            let held = held.collect();
            session.queue.lock().restore(held);
        }
    }

    fn with_prompts(&self, stored: Stored) -> Arc<Session> {
        let mut state = self.shared.sessions.lock();
        if let Some(entry) = state.sessions.get(&stored.row.id) {
            return Arc::clone(&entry.session);
        }
        let session = self.stored(stored);
        let (_, outcome_rx) = watch::channel(Some(Ok(session.created())));
        state.insert(&session, outcome_rx);
        session
    }

    /// The prompt of `row`, if it is to wait.
    fn hold_one(&self, session: &Session, row: PromptRow) -> Option<Queued> {
        if row.turn < session.status().turn {
            // Nobody went on with its turn.
            session.log.add(Addition {
                prompt: Some(prompt_row::without_words(&row)),
                ..Addition::default()
            });
            return None;
        }
        match prompt_row::restored(&session.id, session.tools(), row.clone()) {
            Restored::Held(queued) => {
                self.note(session, (PromptState::Held, &queued.request), row, None);
                Some(*queued)
            }
            Restored::Lost { turn, row } => {
                let failure = Failure::fatal(FailureCode::Interrupted, LOST, true);
                let event = Event::new(Timestamp::now(), Body::Error(failure));
                session.log.add(Addition {
                    row: Some(session.row()),
                    prompt: Some(prompt_row::forgotten(&row)),
                    ..Addition::of(event.encode(turn))
                });
                None
            }
        }
    }
}
