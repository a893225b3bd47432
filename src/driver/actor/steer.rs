//! Prompts that come while the turn runs: OpenCode takes them into the very next call of the model.
//!
//! They are handed over one after the other. While one is on its way the turn does not end: an answer that looks like the
//! last one may have come before it.

use std::time::Duration;

use super::state::Actor;
use super::steers::{Handed, PendingSteer};
use crate::driver::prompt::PromptText;
use crate::opencode::CallError;
use crate::opencode::types::Message;
use crate::session::Steer;

/// So many for one turn; further ones are turns of their own.
const MOST: usize = 64;

/// How often one is handed over, in case nobody knows whether it arrived: OpenCode knows it by its ids.
const ATTEMPTS: u32 = 3;

// === impl Actor ===

impl Actor {
    /// Takes a prompt for this turn, unless the turn is ending. One that is dropped is the next turn.
    pub(super) fn on_steer(&mut self, steer: Steer) {
        let steers = &mut self.steers;
        // What is no prompt, such as a command, cannot be told more.
        let is_prompt = self.turn.can_go_on;
        let is_full = steers.waiting.len() + steers.taken.len() >= MOST;
        if self.stopping.is_some() || !is_prompt || is_full {
            return;
        }
        steers.waiting.push_back(PendingSteer {
            text: self.turn.prompt_text.steer(&steer.prompt),
            taken_tx: Some(steer.taken_tx),
            attempts: 0,
        });
    }

    /// Hands over the next one, if the agent runs.
    pub(super) fn begin_steer(&mut self) {
        let is_ready = self.stopping.is_none()
            && !self.child_lost
            && self.recovery.is_none()
            && self.steers.call.is_none();
        let Some(grant) = self.turn.grant.as_ref().filter(|_| is_ready) else {
            return;
        };
        let Some(pending) = self.steers.waiting.pop_front() else {
            return;
        };
        let model = grant.model_ref();
        let (client, remote_id) = (
            self.turn.connection.client.clone(),
            self.turn.remote_id.clone(),
        );
        let workspace = self.context.config.workspace.clone();
        self.steers.call = Some(Box::pin(async move {
            let with_files = pending.text.with_files(&workspace).await;
            let prompt = with_files.prompt(model);
            let handed = client.prompt(&remote_id, &prompt).await;
            (pending, handed)
        }));
    }

    pub(super) fn on_steered(&mut self, (mut pending, handed): Handed) {
        match handed {
            Ok(()) => {
                if let Some(taken_tx) = pending.taken_tx.take() {
                    // Whoever asked may have gone.
                    taken_tx.send(true).ok();
                }
                self.steers.taken.push(pending.text);
                self.note_activity();
            }
            Err(error @ CallError::Status { .. }) => {
                tracing::warn!(%error, "the engine did not take a prompt for a running turn");
            }
            Err(error) => {
                tracing::warn!(%error, "it is not known whether the engine has a prompt; it is handed over again");
                pending.attempts += 1;
                if pending.attempts < ATTEMPTS {
                    self.steers.waiting.push_front(pending);
                }
            }
        }
        // What was found out before may have been about the answer before it.
        self.asked = 0;
        self.check_for_end(Duration::ZERO);
    }

    /// Whether a prompt for this turn is on its way.
    pub(super) fn is_steering(&self) -> bool {
        self.stopping.is_none() && (self.steers.call.is_some() || !self.steers.waiting.is_empty())
    }

    /// The next child is there: what the dead one was told and had not stored is told again.
    pub(super) fn repeat_lost_steers(&mut self, stored: &[Message]) {
        let is_stored = |text: &PromptText| {
            let id = &text.message_id;
            stored.iter().any(|message| message.info.id == *id)
        };
        let taken = std::mem::take(&mut self.steers.taken);
        let (kept, lost): (Vec<_>, Vec<_>) = taken.into_iter().partition(is_stored);
        self.steers.taken = kept;
        for text in lost.into_iter().rev() {
            self.steers.waiting.push_front(PendingSteer {
                text,
                taken_tx: None,
                attempts: 0,
            });
        }
    }
}
