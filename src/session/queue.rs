//! The prompts of one session that wait for its turn. Pure bookkeeping; the lock of the sessions decides when.

use std::collections::VecDeque;
use std::sync::Arc;

use super::log::TurnSpan;
use super::request::Request;
use crate::clock::Timestamp;
use crate::model::{ModelChange, ModelSpec};
use crate::trace::TraceContext;

/// The most prompts that wait.
pub(crate) const MAX_QUEUED: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Queued>,
    /// The largest number that was ever given to a turn of the session.
    last_turn: u32,
    /// How often the session was stopped.
    stops: u64,
}

/// A prompt that waits.
#[derive(Debug)]
pub(super) struct Queued {
    /// By which the journal knows it.
    pub(super) id: String,
    pub(super) turn: u32,
    pub(super) at: Timestamp,
    /// The last event when it came.
    pub(super) from: u64,
    pub(super) request: Box<Request>,
    /// It was queued before a restart, and its key is gone: it waits for another one.
    pub(super) held: bool,
    /// It came before those that waited already, because it interrupted the running turn or was meant for it.
    pub(super) is_first: bool,
    pub(super) span: Arc<TurnSpan>,
    /// Of the request that it came with.
    pub(super) trace: Option<TraceContext>,
}

/// The next of the prompts that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueHead {
    pub(crate) turn: u32,
    pub(crate) since: Timestamp,
    pub(crate) held: bool,
    /// How many wait, this one included.
    pub(crate) waiting: usize,
}

/// What clients are told of a prompt that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueuedPrompt {
    pub(crate) turn: u32,
    pub(crate) queued_at: Timestamp,
    pub(crate) held: bool,
    /// The beginning of it.
    pub(crate) text: String,
}

// === impl Queue ===

impl Queue {
    /// The number of the next turn, of a session whose present or last one is `current`.
    pub(super) fn next_turn(&mut self, current: u32) -> u32 {
        self.last_turn = self.last_turn.max(current) + 1;
        self.last_turn
    }

    /// A turn that was the newest did not begin, and no event has its number.
    pub(super) fn undo_turn(&mut self, turn: u32) {
        if self.last_turn == turn {
            self.last_turn -= 1;
        }
    }

    pub(super) const fn last_turn(&self) -> u32 {
        self.last_turn
    }

    /// After a restart: numbers up to this were given.
    pub(super) fn restore_last_turn(&mut self, last_turn: u32) {
        self.last_turn = self.last_turn.max(last_turn);
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_QUEUED
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a prompt could begin now.
    pub(super) fn is_ready(&self) -> bool {
        self.entries.front().is_some_and(|entry| !entry.held)
    }

    pub(super) fn has_held(&self) -> bool {
        self.entries.iter().any(|entry| entry.held)
    }

    pub(super) fn push(&mut self, queued: Queued) {
        if queued.is_first {
            self.entries.push_front(queued);
        } else {
            self.entries.push_back(queued);
        }
    }

    /// After a restart, in the order of their turns: takes those that an earlier process had in its queue.
    pub(super) fn restore(&mut self, queued: Vec<Queued>) {
        for queued in queued {
            self.push(queued);
        }
    }

    /// The place of turn `turn` in the log, if it waits.
    pub(super) fn span(&self, turn: u32) -> Option<Arc<TurnSpan>> {
        let mut entries = self.entries.iter();
        let entry = entries.find(|entry| entry.turn == turn)?;
        Some(Arc::clone(&entry.span))
    }

    /// There is a key again.
    pub(super) fn release_held(&mut self) {
        for entry in &mut self.entries {
            entry.held = false;
        }
    }

    /// The key that came is gone with its turn, which did not begin: those that wait bring none, and wait for another one.
    /// `on_held` is called for each that did not wait for a key before.
    pub(super) fn hold(&mut self, mut on_held: impl FnMut(&Queued)) {
        for entry in self.entries.iter_mut().filter(|entry| !entry.held) {
            entry.held = true;
            on_held(entry);
        }
    }

    /// The first model that one of those that wait brings whole, with its key.
    pub(super) fn first_model(&self) -> Option<&ModelSpec> {
        let mut entries = self.entries.iter();
        entries.find_map(|entry| match &entry.request.model {
            ModelChange::Whole(model) => Some(&**model),
            _ => None,
        })
    }

    /// Takes the next one, if it could begin.
    pub(super) fn pop_ready(&mut self) -> Option<Queued> {
        self.entries.pop_front_if(|entry| !entry.held)
    }

    /// Takes out turn `turn`, if it waits.
    pub(super) fn withdraw(&mut self, turn: u32) -> Option<Queued> {
        let at = self.entries.iter().position(|entry| entry.turn == turn)?;
        self.entries.remove(at)
    }

    /// The session is stopped: takes out all, and what is on its way to the running turn is not to wait here.
    pub(super) fn stop(&mut self) -> Vec<Queued> {
        self.stops += 1;
        std::mem::take(&mut self.entries).into()
    }

    /// Differs from what it was if the session was stopped in between.
    pub(super) const fn stops(&self) -> u64 {
        self.stops
    }

    pub(super) fn waits(&self, turn: u32) -> bool {
        self.entries.iter().any(|entry| entry.turn == turn)
    }

    pub(super) fn head(&self) -> Option<QueueHead> {
        self.entries.front().map(|next| QueueHead {
            turn: next.turn,
            since: next.at,
            held: next.held,
            waiting: self.entries.len(),
        })
    }

    pub(super) fn list(&self) -> Vec<QueuedPrompt> {
        let entries = self.entries.iter();
        let told = entries.map(|entry| QueuedPrompt {
            turn: entry.turn,
            queued_at: entry.at,
            held: entry.held,
            text: entry.request.prompt.shown(),
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::request;

    fn queued(turn: u32, held: bool) -> Queued {
        Queued {
            id: turn.to_string(),
            from: 0,
            turn,
            at: Timestamp::from_millis(0),
            request: Box::new(request("s")),
            held,
            is_first: false,
            span: Arc::new(TurnSpan::new()),
            trace: None,
        }
    }

    fn turns(queue: &Queue) -> Vec<u32> {
        queue.list().iter().map(|prompt| prompt.turn).collect()
    }

    #[test]
    fn they_come_in_order_and_one_that_interrupts_comes_first() {
        let mut queue = Queue::default();
        for _ in 0..2 {
            let turn = queue.next_turn(1);
            queue.push(queued(turn, false));
        }
        let turn = queue.next_turn(1);
        let first = |turn| Queued {
            is_first: true,
            ..queued(turn, false)
        };
        queue.push(first(turn));
        assert_eq!(turns(&queue), [4, 2, 3]);
        let mut restored = Queue::default();
        restored.restore(vec![queued(2, true), queued(3, true), first(4), first(5)]);
        assert_eq!(turns(&restored), [5, 4, 2, 3], "after a restart too");
        assert_eq!(queue.pop_ready().unwrap().turn, 4);
        assert_eq!(queue.next_turn(4), 5, "numbers only grow");
    }

    #[test]
    fn a_number_that_was_withdrawn_is_not_given_again_and_one_without_events_is() {
        let mut queue = Queue::default();
        let turn = queue.next_turn(1);
        queue.push(queued(turn, false));
        assert!(queue.withdraw(9).is_none());
        assert_eq!(queue.withdraw(2).unwrap().turn, 2);
        assert!(queue.is_empty());
        let turn = queue.next_turn(1);
        assert_eq!(turn, 3);
        queue.undo_turn(turn);
        assert_eq!(queue.next_turn(1), 3);
    }

    #[test]
    fn what_is_held_waits_and_so_does_what_comes_after_it() {
        let mut queue = Queue::default();
        queue.push(queued(2, true));
        queue.push(queued(3, false));
        assert!(queue.has_held() && !queue.is_ready());
        assert!(queue.pop_ready().is_none());
        queue.release_held();
        assert_eq!(queue.pop_ready().unwrap().turn, 2);
        assert_eq!(queue.stop().len(), 1);
    }

    #[test]
    fn those_that_wait_are_held_again_when_the_key_is_gone_unless_one_of_them_brings_one() {
        let mut queue = Queue::default();
        let mut without = queued(2, false);
        without.request.model = ModelChange::Nothing;
        queue.push(without);
        assert!(queue.first_model().is_none());
        let mut held = Vec::new();
        for _ in 0..2 {
            queue.hold(|entry| held.push(entry.turn));
        }
        assert_eq!(held, [2], "it is told once");
        queue.push(queued(3, false));
        assert_eq!(queue.first_model().unwrap().name, "m");
    }
}
