//! The prompts that came while a turn runs, and how far each has got. Pure: the task of the turn makes the calls.
//!
//! ```text
//! new --next_to_hand_over--> sent --its message is in the conversation--> stored
//!                             |  ^
//!    no answer, or no message |  | a few times, and in each new child, with the same ids, by which OpenCode knows it
//!                             v  |
//!                            again --too often--> unsure --when the turn seems to end--> stored, or never taken
//! ```
//!
//! OpenCode answers before it has stored a message, so only the conversation proves that the agent has a prompt. Until then
//! nobody is told that it is part of the turn; and an end that was found out before it was stored may be the end of what
//! came before it.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::prompt::PromptText;
use crate::opencode::types::Message;
use crate::session::{Steer, SteerOutcome, SteerRecord};

/// So many for one turn; further ones are turns of their own.
const MOST: usize = 64;

/// How often one is handed over to the same child.
const ATTEMPTS: u32 = 3;

/// How long one may wait to be handed over. After that it is a turn of its own.
const WAIT: Duration = Duration::from_secs(20);

/// How long a client waits to hear whether the agent has it.
const ANSWER: Duration = Duration::from_secs(25);

/// The pause before the end is asked for once more while one is being handed over. Once it has been, that is done at once.
const PENDING_PAUSE: Duration = Duration::from_millis(500);

/// The pauses before the conversation is read once more for a message that is not there yet.
const READ_AGAIN_MS: [u64; 4] = [100, 200, 400, 800];

/// The prompts of a running turn besides the one it began with.
#[derive(Debug, Default)]
pub(super) struct Steers {
    /// In the order in which they came.
    entries: Vec<Entry>,
    /// Grows with whatever may begin another answer of the model.
    changes: u64,
    /// How often in a row a message was not there.
    missed: usize,
    announcements: Vec<Announcement>,
}

#[derive(Debug)]
struct Entry {
    text: PromptText,
    record: SteerRecord,
    /// Those who wait to hear what becomes of it.
    clients: Vec<oneshot::Sender<SteerOutcome>>,
    since: Instant,
    stage: Stage,
    /// How often it was handed over to this child without success.
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not handed over yet.
    New,
    /// It is being handed over.
    Sent,
    /// It is handed over again: nobody knows whether the agent has it.
    Again,
    /// It was handed over too often. Whether the agent has it is looked up when the turn seems to end.
    Unsure,
    /// The conversation has it, and so the agent does.
    Stored,
}

/// How handing one over went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandOver {
    /// OpenCode took it, and the conversation has it.
    Stored,
    /// OpenCode took it, and the conversation does not have it whole.
    NotStored(Presence),
    Refused,
    NoAnswer,
}

/// What the conversation has of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    /// Its words come after it, and are not there.
    WithoutWords,
    Whole,
}

/// Whether a turn that seems to have ended may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The agent has answered everything it was told.
    Settled,
    /// Ask for the end once more, after this long.
    AskAgain(Duration),
}

/// What is to be told, in this order.
#[derive(Debug)]
pub(super) enum Announcement {
    /// To the stream: the prompt is part of the turn.
    Steered(SteerRecord),
    Outcome(Vec<oneshot::Sender<SteerOutcome>>, SteerOutcome),
    /// To the disk: the agent never had it.
    Forgotten(SteerRecord),
}

// === impl Steers ===

impl Steers {
    /// Takes a prompt that is to be handed over with the words of `text`.
    pub(super) fn add(&mut self, steer: Steer, text: PromptText) {
        let key = steer.record.idempotency();
        let is_full = self.entries.len() >= MOST;
        let same = self.entries.iter_mut().find(|entry| {
            let known = entry.record.idempotency();
            key.zip(known)
                .is_some_and(|(key, known)| key.key == known.key)
        });
        let outcome = match same {
            Some(entry) if entry.record.idempotency() != key => SteerOutcome::KeyReused,
            Some(entry) if entry.stage == Stage::Stored => SteerOutcome::Taken,
            Some(entry) => {
                entry.clients.push(steer.outcome_tx);
                return;
            }
            None if is_full => SteerOutcome::NotTaken,
            None => {
                self.entries.push(Entry {
                    text,
                    record: steer.record,
                    clients: vec![steer.outcome_tx],
                    since: steer.since,
                    stage: Stage::New,
                    attempts: 0,
                });
                return;
            }
        };
        self.answer(vec![steer.outcome_tx], outcome);
    }

    /// Whether the prompt with the same key is here, and may be with the agent.
    pub(super) fn has(&self, record: &SteerRecord) -> bool {
        let Some(key) = record.idempotency() else {
            return false;
        };
        let same = |entry: &Entry| {
            let known = entry.record.idempotency();
            entry.stage != Stage::New && known.is_some_and(|known| known.key == key.key)
        };
        self.entries.iter().any(same)
    }

    /// The next one to be handed over, if none is on its way. One that nobody waits for any more is forgotten.
    pub(super) fn next_to_hand_over(&mut self) -> Option<(PromptText, SteerRecord)> {
        self.entries.retain(|entry| {
            entry.stage != Stage::New || entry.clients.iter().any(|client| !client.is_closed())
        });
        if self.sent().is_some() {
            return None;
        }
        let waits = |entry: &&mut Entry| matches!(entry.stage, Stage::New | Stage::Again);
        let next = self.entries.iter_mut().find(waits)?;
        if next.stage == Stage::New {
            // OpenCode orders messages by their ids, and the agent may have said more since the prompt came.
            next.text.renew_ids();
        }
        next.stage = Stage::Sent;
        Some((next.text.clone(), next.record.clone()))
    }

    /// What came of the one that was on its way.
    pub(super) fn on_handed_over(&mut self, result: HandOver) {
        self.changes += 1;
        let Some(at) = self.sent() else { return };
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        match result {
            HandOver::Stored => entry.on_stored(&mut self.announcements),
            // After a call without an answer the first one may have been taken.
            HandOver::Refused if entry.attempts > 0 => entry.stage = Stage::Unsure,
            HandOver::Refused => self.give_up(at),
            HandOver::NotStored(presence) => entry.repeat(presence),
            HandOver::NoAnswer => entry.repeat(Presence::Absent),
        }
    }

    /// Whether one is to be handed over, or is on its way.
    pub(super) fn is_pending(&self) -> bool {
        let pending = |stage| matches!(stage, Stage::New | Stage::Sent | Stage::Again);
        self.entries.iter().any(|entry| pending(entry.stage))
    }

    /// Whether the turn was told anything.
    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// To be kept with a question about the end: its answer says nothing about what was handed over after it was asked.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether the turn may end, given what the conversation has. That was read after `asked` changes.
    pub(super) fn settle(&mut self, asked: u64, presence: impl Fn(&str) -> Presence) -> Verdict {
        if self.is_pending() {
            return Verdict::AskAgain(PENDING_PAUSE);
        }
        if asked != self.changes {
            return Verdict::AskAgain(Duration::ZERO);
        }
        let missing = self.look_up(&presence);
        if missing.is_empty() {
            self.missed = 0;
            return Verdict::Settled;
        }
        if let Some(pause) = READ_AGAIN_MS.get(self.missed) {
            self.missed += 1;
            return Verdict::AskAgain(Duration::from_millis(*pause));
        }
        self.missed = 0;
        self.changes += 1;
        // From the back, because those that are given up leave the list.
        for (at, _) in missing.into_iter().rev() {
            self.give_up(at);
        }
        Verdict::AskAgain(Duration::ZERO)
    }

    /// Notes which of those that were handed over are in the conversation, and returns which are not.
    pub(super) fn look_up(
        &mut self,
        presence: impl Fn(&str) -> Presence,
    ) -> Vec<(usize, Presence)> {
        let mut missing = Vec::new();
        for (at, entry) in self.entries.iter_mut().enumerate() {
            if matches!(entry.stage, Stage::New | Stage::Stored) {
                continue;
            }
            match presence(&entry.text.message_id) {
                Presence::Whole => entry.on_stored(&mut self.announcements),
                presence => missing.push((at, presence)),
            }
        }
        missing
    }

    /// The child is gone, and with it the call that was on its way.
    pub(super) fn child_lost(&mut self) {
        self.changes += 1;
        if let Some(entry) = self.sent().and_then(|at| self.entries.get_mut(at)) {
            entry.stage = Stage::Again;
        }
    }

    /// The next child is there: what the dead one was told and had not stored is told again.
    pub(super) fn next_child(&mut self, presence: impl Fn(&str) -> Presence) {
        self.missed = 0;
        for (at, presence) in self.look_up(presence) {
            if let Some(entry) = self.entries.get_mut(at) {
                entry.attempts = 0;
                entry.hand_over_again(presence);
            }
        }
    }

    /// Answers the clients that have waited for too long.
    pub(super) fn on_time(&mut self, now: Instant) {
        let (late, kept) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry| entry.stage == Stage::New && now >= entry.since + WAIT);
        self.entries = kept;
        let late: Vec<Entry> = late;
        for entry in late {
            self.answer(entry.clients, SteerOutcome::NotTaken);
        }
        let unanswered = self.entries.iter_mut();
        let unanswered = unanswered.filter(|entry| now >= entry.since + ANSWER);
        let clients = unanswered.flat_map(|entry| std::mem::take(&mut entry.clients));
        let clients = clients.collect();
        self.answer(clients, SteerOutcome::Unknown);
    }

    /// The turn ends. One that was handed over is part of it, though nobody knows whether the agent has it: under its key it
    /// must not be run a second time.
    pub(super) fn end(&mut self) {
        for entry in std::mem::take(&mut self.entries) {
            match entry.stage {
                Stage::New => self.answer(entry.clients, SteerOutcome::NotTaken),
                Stage::Stored => {}
                Stage::Sent | Stage::Again | Stage::Unsure => {
                    self.announcements.push(Announcement::Steered(entry.record));
                    self.answer(entry.clients, SteerOutcome::Unknown);
                }
            }
        }
    }

    pub(super) fn take_announcements(&mut self) -> Vec<Announcement> {
        std::mem::take(&mut self.announcements)
    }

    fn sent(&self) -> Option<usize> {
        let is_sent = |entry: &Entry| entry.stage == Stage::Sent;
        self.entries.iter().position(is_sent)
    }

    /// OpenCode does not take it.
    fn give_up(&mut self, at: usize) {
        let entry = self.entries.remove(at);
        let forgotten = Announcement::Forgotten(entry.record);
        self.announcements.push(forgotten);
        self.answer(entry.clients, SteerOutcome::NotTaken);
    }

    fn answer(&mut self, clients: Vec<oneshot::Sender<SteerOutcome>>, outcome: SteerOutcome) {
        if !clients.is_empty() {
            let outcome = Announcement::Outcome(clients, outcome);
            self.announcements.push(outcome);
        }
    }
}

// === impl Entry ===

impl Entry {
    /// The agent has it. That is told to the stream first, and then to whoever sent it.
    fn on_stored(&mut self, announcements: &mut Vec<Announcement>) {
        self.stage = Stage::Stored;
        announcements.push(Announcement::Steered(self.record.clone()));
        let clients = std::mem::take(&mut self.clients);
        if !clients.is_empty() {
            announcements.push(Announcement::Outcome(clients, SteerOutcome::Taken));
        }
    }

    /// It is handed over again, unless it was too often.
    fn repeat(&mut self, presence: Presence) {
        self.attempts += 1;
        if self.attempts >= ATTEMPTS {
            self.stage = Stage::Unsure;
        } else {
            self.hand_over_again(presence);
        }
    }

    fn hand_over_again(&mut self, presence: Presence) {
        self.stage = Stage::Again;
        if presence == Presence::WithoutWords {
            // Under the same id OpenCode would only add to the message that is there.
            self.text.renew_ids();
        }
    }
}

/// What `messages` have of the message with this id.
pub(super) fn presence(messages: &[Message], id: &str) -> Presence {
    match messages.iter().find(|message| message.info.id == id) {
        None => Presence::Absent,
        Some(message) if message.parts.is_empty() => Presence::WithoutWords,
        Some(_) => Presence::Whole,
    }
}

#[cfg(test)]
mod tests;
