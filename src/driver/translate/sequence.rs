//! Where a session is in its sequence of durable events, and whether one is missing.
//!
//! A durable event comes twice: live, and directly after that as a `sync` event with its number. A number counts
//! as seen only if the live event came before it: the first event on a new connection may be a `sync` whose live
//! event was lost. Once a number is missing, the position stays there until the history has brought what is
//! missing, and what was received meanwhile is remembered as one run of numbers.

/// The position in one session's sequence.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// Everything up to here is known.
    seen: Option<u64>,
    /// Whether a durable event came whose number is still to come.
    unnumbered: bool,
    gap: Option<Gap>,
}

#[derive(Debug)]
struct Gap {
    /// The first number after the missing ones.
    end: u64,
    /// The last of those that came after it without a further hole.
    received: Option<u64>,
}

// === impl Gap ===

impl Gap {
    /// Something is missing before `number`; and its own event too, unless that is `known`.
    const fn before(number: u64, known: bool) -> Self {
        if known {
            Self {
                end: number,
                received: Some(number),
            }
        } else {
            Self {
                end: number.saturating_add(1),
                received: None,
            }
        }
    }
}

// === impl Sequence ===

impl Sequence {
    pub(super) const fn seen(&self) -> Option<u64> {
        self.seen
    }

    /// A durable event came.
    pub(super) const fn event(&mut self) {
        self.unnumbered = true;
    }

    /// Nothing more comes for what was received on the old connection.
    pub(super) const fn lost(&mut self) {
        self.unnumbered = false;
    }

    /// Its number came. True if that shows, for the first time, that something is missing.
    pub(super) fn number(&mut self, number: u64) -> bool {
        let known = std::mem::take(&mut self.unnumbered);
        let next = self.seen.map_or(number, |seen| seen.saturating_add(1));
        if number < next {
            return false;
        }
        if let Some(gap) = &mut self.gap {
            let follows = number == gap.received.map_or(gap.end, |last| last.saturating_add(1));
            if known && follows {
                gap.received = Some(number);
            } else {
                *gap = Gap::before(number, known);
            }
            return false;
        }
        if known && number == next {
            self.seen = Some(number);
            return false;
        }
        self.gap = Some(Gap::before(number, known));
        true
    }

    /// The history brought the event of this number.
    pub(super) fn recalled(&mut self, number: u64) {
        self.seen = self.seen.max(Some(number));
        if let Some(gap) = self.gap.take_if(|gap| number.saturating_add(1) >= gap.end) {
            self.seen = self.seen.max(gap.received);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn live(sequence: &mut Sequence, number: u64) -> bool {
        sequence.event();
        sequence.number(number)
    }

    #[test]
    fn a_hole_is_told_once_and_mended_by_the_history() {
        let mut sequence = Sequence::default();
        assert!(!live(&mut sequence, 3));
        assert!(!live(&mut sequence, 4));
        assert!(live(&mut sequence, 7));
        assert!(!live(&mut sequence, 8), "it is known already");
        assert_eq!(sequence.seen(), Some(4));
        sequence.recalled(5);
        assert_eq!(sequence.seen(), Some(5));
        sequence.recalled(6);
        assert_eq!(
            sequence.seen(),
            Some(8),
            "what was received meanwhile counts"
        );
        assert!(!live(&mut sequence, 9));
    }

    #[test]
    fn a_number_without_its_event_is_a_hole() {
        let mut sequence = Sequence::default();
        live(&mut sequence, 0);
        sequence.event();
        sequence.lost();
        assert!(sequence.number(1));
        assert_eq!(sequence.seen(), Some(0));
        sequence.recalled(1);
        assert_eq!(sequence.seen(), Some(1));
        assert!(!live(&mut sequence, 2));
    }

    proptest! {
        /// Whatever is lost, everything up to the position was received or recalled.
        #[test]
        fn nothing_lost_is_claimed(events in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 1..60)) {
            let (mut sequence, mut received) = (Sequence::default(), std::collections::BTreeSet::new());
            live(&mut sequence, 0);
            for (number, (event, sync, ask)) in (1..).zip(events) {
                if event { sequence.event(); received.insert(number); } else { sequence.lost(); }
                if sync { sequence.number(number); } else { sequence.lost(); }
                if ask {
                    for missing in sequence.seen().unwrap() + 1..=number {
                        received.insert(missing);
                        sequence.recalled(missing);
                    }
                    prop_assert_eq!(sequence.seen(), Some(number));
                }
                prop_assert!((1..=sequence.seen().unwrap()).all(|number| received.contains(&number)));
            }
        }
    }
}
