//! One client's connections: each goes on exactly where the one before was cut, and shows the truth without
//! a hole and without an event twice, or says what is missing.

use super::{Evidence, Faults, turns};
use crate::trace::{Connection, End, Frame, Trace, place};

/// Where a client stands while its trace is walked.
struct Walk<'a> {
    evidence: &'a Evidence,
    trace: &'a Trace,
    cursor: Option<&'a str>,
    /// What a gap promised: the id that must come alone behind it.
    promised: Option<&'a str>,
}

/// Every connection goes on exactly where the one before was cut.
pub(super) fn chain(evidence: &Evidence, trace: &Trace, faults: &mut Faults) {
    if let Some(stuck) = &trace.stuck {
        faults.add("stuck", format!("{}: {stuck}", trace.name));
    }
    let mut walk = Walk {
        evidence,
        trace,
        cursor: None,
        promised: None,
    };
    for connection in &trace.connections {
        walk.promised = None;
        walk.connection(connection, faults);
    }
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn connection(&mut self, connection: &'a Connection, faults: &mut Faults) {
        let name = &self.trace.name;
        if connection.asked.as_deref() != self.cursor {
            faults.add(
                "cursor",
                format!(
                    "{name} asked for {:?} and had {:?}",
                    connection.asked, self.cursor
                ),
            );
        }
        match connection.status {
            200 => {}
            204 => return self.up_to_date(faults),
            // Not made yet, not anymore, or not to be had now: the client asks again.
            404 | 410 if self.cursor.is_some() && !self.evidence.allowed.lost => {
                return faults.add(
                    "gone",
                    format!("{name} got {} at {:?}", connection.status, self.cursor),
                );
            }
            404 | 410 | 503 => return,
            other => return faults.add("status", format!("{name} got {other}")),
        }
        for frame in &connection.frames {
            self.frame(frame, connection, faults);
        }
        let done = self.is_idle();
        if connection.end == End::Clean && !done && !self.evidence.allowed.sent_home {
            faults.add(
                "end",
                format!("{name}: a stream ended after {:?}", self.cursor),
            );
        }
    }

    /// Whether the session was idle where the client stands, as far as that is known.
    fn is_idle(&self) -> bool {
        let truth = self.evidence.replay.as_deref().unwrap_or_default();
        let mut ids = truth.iter().map(|frame| frame.id.as_deref());
        match ids.position(|id| id == self.cursor) {
            Some(at) if self.evidence.allowed.broken => {
                // A restart holds what waits, and says so later.
                let shown = |frame: &&Frame| frame.kind != "prompt";
                truth[..=at]
                    .iter()
                    .rfind(shown)
                    .is_some_and(Frame::is_terminal)
            }
            Some(at) => turns::is_idle(truth, at),
            None => self.evidence.allowed.lost,
        }
    }

    /// 204 says that nothing follows.
    fn up_to_date(&self, faults: &mut Faults) {
        if !self.is_idle() {
            faults.add(
                "end",
                format!("{} got 204 at {:?}", self.trace.name, self.cursor),
            );
        }
    }

    fn frame(&mut self, frame: &'a Frame, connection: &Connection, faults: &mut Faults) {
        if let Some(promised) = self.promised.take() {
            if frame.kind.is_empty() && frame.id.as_deref() == Some(promised) {
                self.cursor = Some(promised);
            } else {
                faults.add(
                    "gap",
                    format!(
                        "{}: {:?} follows a gap to {promised}",
                        self.trace.name, frame.id
                    ),
                );
            }
            return;
        }
        if frame.kind == "gap" {
            self.gap(frame, connection, faults);
            return;
        }
        let Some((epoch, number)) = frame.place() else {
            return faults.add(
                "hole",
                format!(
                    "{}: an event without an id: {}",
                    self.trace.name, frame.kind
                ),
            );
        };
        let at = self.cursor.and_then(place);
        let before = match at {
            Some((known, _)) if known != epoch => {
                return faults.add(
                    "hole",
                    format!(
                        "{}: {:?} follows {:?} without a gap",
                        self.trace.name, frame.id, self.cursor
                    ),
                );
            }
            Some((_, before)) => before,
            None => 0,
        };
        let expected = self.next_shown(epoch, before);
        let fits = if frame.kind.is_empty() {
            // A sign of life may say that events were passed which this client is not shown.
            number > before && expected.is_none_or(|expected| number < expected)
        } else {
            expected.map_or(number > before, |expected| number == expected)
        };
        if !fits {
            let rule = if number <= before { "once" } else { "hole" };
            let name = &self.trace.name;
            faults.add(
                rule,
                format!(
                    "{name}: {:?} follows {:?}, and {expected:?} was expected",
                    frame.id, self.cursor
                ),
            );
        }
        self.cursor = frame.id.as_deref();
    }

    /// The first event behind `before` that this client is to be shown, as far as that is known.
    fn next_shown(&self, epoch: &str, before: u64) -> Option<u64> {
        let truth = self.evidence.replay.as_deref().unwrap_or_default();
        let mut later = truth.iter().filter(|frame| {
            frame
                .place()
                .is_some_and(|(known, number)| known == epoch && number > before)
        });
        let shown = later.find(|frame| self.trace.reasoning || !frame.is_hidden());
        let known = shown.and_then(Frame::place).map(|(_, number)| number);
        known.or_else(|| self.trace.reasoning.then_some(before + 1))
    }

    fn gap(&mut self, frame: &'a Frame, connection: &Connection, faults: &mut Faults) {
        let name = &self.trace.name;
        let (reason, to) = (frame.text("reason"), frame.text("resume_after"));
        self.promised = Some(to);
        if frame.id.is_some()
            || reason != "lagged" && connection.asked.as_deref() != Some(frame.text("requested"))
        {
            faults.add(
                "gap",
                format!(
                    "{name}: a gap from {:?} says {}",
                    connection.asked, frame.data
                ),
            );
        }
        let (from, to) = (self.cursor.and_then(place), place(to));
        let right = match (reason, from, to) {
            // Only memory that a crash took may change the epoch here; nothing is evicted in a round.
            ("epoch_changed", Some((old, _)), Some((new, 0))) => {
                old != new && self.evidence.allowed.lost
            }
            ("evicted" | "lagged", Some((old, from)), Some((new, to))) => {
                let missed = frame.data["missed"].as_u64();
                let counted = old == new && to > from && missed == Some(to - from);
                counted && self.evidence.allowed.lost
            }
            _ => false,
        };
        if !right {
            faults.add(
                "gap",
                format!("{name} was told {} at {:?}", frame.data, self.cursor),
            );
        }
    }
}
