//! The calls of one turn, one by one: those under way, and the newest of those that have ended. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use super::wait::Wait;
use crate::clock::millis;
use crate::model::ModelCall;

/// So many calls are told one by one.
const KEPT: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Calls {
    next: u64,
    under_way: BTreeMap<u64, UnderWay>,
    /// With their numbers, in the order of their ends.
    ended: VecDeque<(u64, ModelCall)>,
}

#[derive(Debug)]
struct UnderWay {
    wait: Wait,
    call: ModelCall,
}

// === impl Calls ===

impl Calls {
    /// A call is sent, for the `attempt`th time. Returns its number.
    pub(super) fn begin(&mut self, subagent: bool, attempt: u32, deadline: SystemTime) -> u64 {
        let number = self.next;
        self.next += 1;
        let since = SystemTime::now();
        let call = ModelCall {
            started_at: since.into(),
            subagent,
            attempt,
            first_byte_ms: None,
            bytes: 0,
            duration_ms: None,
            status: "asked",
        };
        let wait = Wait::Provider { since, deadline };
        self.under_way.insert(number, UnderWay { wait, call });
        number
    }

    /// The gateway itself sends it again.
    pub(super) fn repeated(&mut self, number: u64) {
        if let Some(one) = self.under_way.get_mut(&number) {
            one.call.attempt += 1;
        }
    }

    /// The provider has begun to answer.
    pub(super) fn answering(&mut self, number: u64) {
        if let Some(one) = self.under_way.get_mut(&number) {
            let now = SystemTime::now();
            one.wait = Wait::Answering {
                since: now,
                bytes: 0,
                last_byte: now,
            };
            one.call.status = "answering";
        }
    }

    pub(super) fn first_byte(&mut self, number: u64, after: Duration) {
        if let Some(one) = self.under_way.get_mut(&number) {
            one.call.first_byte_ms = Some(millis(after));
        }
    }

    /// More of an answer came.
    pub(super) fn received(&mut self, number: u64, more: usize) {
        let one = self.under_way.get_mut(&number);
        if let Some(Wait::Answering {
            bytes, last_byte, ..
        }) = one.map(|one| &mut one.wait)
        {
            *bytes += more as u64;
            *last_byte = SystemTime::now();
        }
    }

    /// Returns whether the provider had begun to answer.
    pub(super) fn end(&mut self, number: u64, took: Duration, status: &'static str) -> bool {
        let Some(one) = self.under_way.remove(&number) else {
            return false;
        };
        let call = ModelCall {
            duration_ms: Some(millis(took)),
            status,
            ..one.told()
        };
        if self.ended.len() == KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back((number, call));
        matches!(one.wait, Wait::Answering { .. })
    }

    /// What the calls under way are doing: an answer that is coming in first.
    pub(super) fn wait(&self) -> Option<Wait> {
        let mut waits = self.under_way.values().map(|one| one.wait);
        let answering = waits
            .clone()
            .find(|wait| matches!(wait, Wait::Answering { .. }));
        answering.or_else(|| waits.next())
    }

    /// The newest calls, oldest first.
    pub(super) fn newest(&self) -> Vec<ModelCall> {
        let under_way = self
            .under_way
            .iter()
            .map(|(number, one)| (*number, one.told()));
        let mut all: Vec<_> = self.ended.iter().copied().chain(under_way).collect();
        all.sort_by_key(|(number, _)| *number);
        all.drain(..all.len().saturating_sub(KEPT));
        all.into_iter().map(|(_, call)| call).collect()
    }
}

// === impl UnderWay ===

impl UnderWay {
    fn told(&self) -> ModelCall {
        let bytes = match self.wait {
            Wait::Answering { bytes, .. } => bytes,
            Wait::Idle | Wait::Provider { .. } | Wait::Retry { .. } => 0,
        };
        ModelCall { bytes, ..self.call }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(40);

    #[test]
    fn a_call_is_told_from_its_beginning_to_its_end() {
        let mut calls = Calls::default();
        let number = calls.begin(false, 2, SystemTime::now());
        let [asked] = calls.newest()[..] else {
            panic!("one call");
        };
        assert_eq!((asked.status, asked.attempt, asked.bytes), ("asked", 2, 0));
        assert_eq!((asked.first_byte_ms, asked.duration_ms), (None, None));
        calls.repeated(number);
        calls.received(number, 5);
        calls.answering(number);
        calls.first_byte(number, Duration::from_millis(7));
        calls.received(number, 10);
        calls.received(number, 20);
        let answering = calls.newest()[0];
        assert_eq!((answering.status, answering.attempt), ("answering", 3));
        assert_eq!((answering.bytes, answering.first_byte_ms), (30, Some(7)));
        assert!(calls.end(number, TOOK, "ok"));
        let ended = calls.newest()[0];
        assert_eq!((ended.status, ended.duration_ms), ("ok", Some(40)));
        assert_eq!((ended.bytes, ended.started_at), (30, asked.started_at));
        assert!(!calls.end(number, TOOK, "ok"), "it has ended before");
        assert_eq!(calls.newest().len(), 1);
    }

    #[test]
    fn the_newest_are_kept_in_the_order_of_their_beginnings() {
        let mut calls = Calls::default();
        let long = calls.begin(true, 1, SystemTime::now());
        for attempt in 1..=20 {
            let number = calls.begin(false, attempt, SystemTime::now());
            assert!(!calls.end(number, TOOK, "provider_error"));
        }
        let attempts = |calls: &Calls| {
            let newest = calls.newest();
            newest.iter().map(|call| call.attempt).collect::<Vec<_>>()
        };
        assert_eq!(attempts(&calls), (5..=20).collect::<Vec<_>>());
        // One that began before all of them and ends last takes the place of the oldest end, and is told as what it is.
        calls.end(long, TOOK, "cut");
        assert_eq!(attempts(&calls)[..2], [1, 6]);
        assert!(calls.newest()[0].subagent);
    }
}
