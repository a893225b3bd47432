//! Prompts that come while the turn runs: OpenCode takes them into the very next call of the model.
//!
//! That is what 1.18.33 does with any prompt for a busy session. Its newer route with `delivery` is not used: for a session of
//! the older API it answers 200, and the prompt is never run.
//!
//! They are handed over one after the other. What is decided about them is in `driver::steering`; here the calls are made,
//! and their readers and senders are told.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use super::state::Actor;
use crate::driver::steering::{Announcement, HandOver, Presence};
use crate::opencode::{CallError, Client};
use crate::session::Steer;

/// The pauses before it is looked up once more whether OpenCode has stored what it took. That takes it milliseconds.
const LOOK_UP_PAUSES_MS: [u64; 6] = [10, 40, 100, 200, 400, 800];

// === impl Actor ===

impl Actor {
    /// Takes a prompt for this turn, unless the turn is ending. One that is dropped is the next turn. A prompt that came before
    /// under its key is none: that one may be with the agent already, and has the same end.
    pub(super) fn on_steer(&mut self, steer: Steer) {
        let goes_on = self.stopping.is_none() || self.steers.has(&steer.record);
        if goes_on && self.turn.is_prompt {
            let text = self.turn.prompt_text.steer(&steer.prompt);
            self.steers.add(steer, text);
        }
    }

    /// Hands over the next one, if the agent runs.
    pub(super) fn hand_over_steer(&mut self) {
        let is_ready = self.stopping.is_none() && !self.child_lost && self.recovery.is_none();
        let Some(grant) = self.turn.grant.as_ref().filter(|_| is_ready) else {
            return;
        };
        let Some((text, record)) = self.steers.next_to_hand_over() else {
            return;
        };
        let model = grant.model_ref();
        let (connection, remote_id) = (self.turn.connection.clone(), self.turn.remote_id.clone());
        let workspace = self.context.config.workspace.clone();
        let session = Arc::clone(&self.turn_handle.session);
        self.steer_call = Some(Box::pin(async move {
            let client = &connection.client;
            let with_files = text.with_files(&workspace).await;
            let prompt = with_files.prompt(model);
            session.record_steer(&record, &text.message_id).await;
            let (error, result) = match client.prompt(&remote_id, &prompt).await {
                Ok(()) => match look_up(client, &remote_id, &text.message_id).await {
                    Ok(Presence::Whole) => return HandOver::Stored,
                    Ok(presence) => return HandOver::NotStored(presence),
                    Err(error) => (error, HandOver::NoAnswer),
                },
                Err(error @ CallError::Status { .. }) => (error, HandOver::Refused),
                Err(error) => (error, HandOver::NoAnswer),
            };
            tracing::warn!(%error, "the engine did not take a prompt for a running turn");
            if connection.died_under(&error).await {
                // With its death this call is dropped.
                pending::<()>().await;
            }
            result
        }));
    }

    pub(super) fn on_handed_over(&mut self, result: HandOver) {
        self.steers.on_handed_over(result);
        self.note_activity();
        // What was found before may have been about the answer before it.
        self.asked = 0;
        self.check_for_end(Duration::ZERO);
    }

    /// Tells the stream, and then whoever waits for it, what became of prompts for this turn.
    pub(super) fn announce_steers(&mut self) {
        for announcement in self.steers.take_announcements() {
            match announcement {
                Announcement::Steered(record) => self.turn_handle.session.note_steer(record),
                Announcement::Forgotten(record) => self.turn_handle.session.forget_steer(&record),
                Announcement::Outcome(clients, outcome) => {
                    for outcome_tx in clients {
                        // Whoever asked may have gone.
                        outcome_tx.send(outcome).ok();
                    }
                }
            }
        }
    }
}

/// Looks up what the conversation has of a message that OpenCode has just taken, until it has all of it or enough time has
/// passed.
async fn look_up(client: &Client, session: &str, message: &str) -> Result<Presence, CallError> {
    let mut pauses = LOOK_UP_PAUSES_MS.into_iter();
    loop {
        let presence = match client.stored_message(session, message).await {
            Ok(stored) if stored.parts.is_empty() => Presence::WithoutWords,
            Ok(_) => Presence::Whole,
            Err(CallError::Status { status: 404, .. }) => Presence::Absent,
            Err(error) => return Err(error),
        };
        let pause = pauses.next().filter(|_| presence != Presence::Whole);
        let Some(pause) = pause else {
            return Ok(presence);
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}
