//! Ends of turns that the backend is still to be told of, though another turn of the session has begun since.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::status::Status;

/// The end of a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TurnEnd {
    pub(super) turn: u32,
    /// As the contract spells it.
    pub(super) state: String,
    /// Why it failed: the code, and a sentence.
    pub(super) problem: Option<(String, String)>,
    /// The number of the session's last event at the end.
    pub(super) last: u64,
}

/// In the order of the turns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TurnEnds(VecDeque<TurnEnd>);

/// So many wait for a backend that does not answer; of older ones it is never told.
const MOST: usize = 32;

// === impl TurnEnd ===

impl TurnEnd {
    pub(super) fn new(status: &Status, last: u64) -> Self {
        let problem = status.problem.as_ref();
        Self {
            turn: status.turn,
            state: status.state.as_str().to_owned(),
            problem: problem.map(|problem| (problem.code.to_string(), problem.sentence.clone())),
            last,
        }
    }
}

// === impl TurnEnds ===

impl TurnEnds {
    /// `session` is the id of theirs, for the log.
    pub(super) fn add(&mut self, session: &str, end: TurnEnd) {
        // The turn after this end was about to begin once before, and did not.
        self.0.retain(|known| known.turn < end.turn);
        if self.0.len() >= MOST {
            let lost = self.0.pop_front();
            tracing::warn!(
                session.id = session,
                turn = lost.map(|lost| lost.turn),
                "the backend was not told of the end of this turn, and is not any more: too many newer ones wait"
            );
        }
        self.0.push_back(end);
    }

    /// The backend knows of the end of this turn.
    pub(super) fn told(&mut self, turn: u32) {
        self.0.retain(|known| known.turn > turn);
    }

    /// The next one to tell of a session whose present or last turn is `current`.
    pub(super) fn next(&self, reported: u32, current: u32) -> Option<&TurnEnd> {
        let mut ends = self.0.iter();
        ends.find(|end| end.turn > reported && end.turn < current)
    }

    pub(super) fn has(&self, turn: u32) -> bool {
        self.0.iter().any(|end| end.turn == turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(turn: u32) -> TurnEnd {
        TurnEnd {
            turn,
            state: "completed".into(),
            problem: None,
            last: u64::from(turn),
        }
    }

    #[test]
    fn they_are_told_in_order_and_that_of_the_last_turn_is_not_among_them() {
        let mut ends = TurnEnds::default();
        ends.add("s", end(1));
        // The second turn did not begin.
        assert!(ends.next(0, 1).is_none());
        ends.add("s", end(1));
        ends.add("s", end(2));
        assert_eq!(ends.next(0, 3).unwrap().turn, 1);
        ends.told(1);
        assert!(!ends.has(1) && ends.has(2));
        assert_eq!(ends.next(1, 3).unwrap().turn, 2);
        assert!(ends.next(2, 3).is_none());
    }

    #[test]
    fn so_many_wait_and_the_oldest_are_forgotten() {
        let mut ends = TurnEnds::default();
        for turn in 1..=40 {
            ends.add("s", end(turn));
        }
        assert_eq!(ends.next(0, 41).unwrap().turn, 9);
    }
}
