//! Ends of turns that the backend is to be told of.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use super::{ArchiveError, Registry};
use crate::event::State;
use crate::session::record::{PUBLISH_WAIT, Session};
use crate::session::session_map::Found;
use crate::session::turn_ends::TurnEnd;

/// The end of a turn, for the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) id: String,
    pub(crate) turn: u32,
    pub(crate) state: State,
    /// Why it failed: the code, and a sentence.
    pub(crate) problem: Option<(String, String)>,
    pub(crate) last_event_id: String,
}

// === impl Report ===

impl Report {
    /// Of which session and turn it is.
    pub(crate) fn key(&self) -> (String, u32) {
        (self.id.clone(), self.turn)
    }
}

// === impl Registry ===

impl Registry {
    /// Ends of turns that the backend was not told of.
    pub(crate) async fn unreported(&self, limit: usize) -> Result<Vec<Report>, ArchiveError> {
        self.loaded().await?;
        let here = self.in_memory();
        let published = join_all(here.iter().map(|session| session.next_end_shown()));
        // A disk that does not answer delays only the reports of its own sessions.
        drop(tokio::time::timeout(PUBLISH_WAIT, published).await);
        let reports = here.iter().filter_map(|session| session.report());
        let mut reports: Vec<Report> = reports.take(limit).collect();
        if let Some(journal) = &self.shared.journal {
            let stored = journal.unreported(limit + here.len()).await?;
            let is_here = |number| here.iter().any(|known| known.number == number);
            let others = stored
                .into_iter()
                .filter(|stored| !is_here(stored.row.number));
            let room = limit - reports.len();
            reports.extend(
                others
                    .filter_map(|stored| self.stored(stored).report())
                    .take(room),
            );
        }
        Ok(reports)
    }

    /// Whether what a report says still holds: the turn did not go on.
    pub(crate) fn holds(&self, report: &Report) -> bool {
        match self.shared.sessions.find(&report.id) {
            Some(Found::Here(session)) => {
                let status = session.status();
                let is_last = status.turn == report.turn && status.state.is_final();
                is_last || session.ends.lock().has(report.turn)
            }
            Some(Found::Gone) => false,
            // It is only in the journal, and nothing begins there.
            Some(Found::Unknown) | None => true,
        }
    }

    /// The backend was told of the end of this session's last turn, and has lost it.
    pub(crate) fn report_again(&self, session: &Session) {
        let before = session.status().turn.saturating_sub(1);
        session.reported.fetch_min(before, Ordering::Relaxed);
        session.log.record_report(before);
        self.ended();
    }

    /// The backend knows of the end of this turn. Returns whether it does not of another one.
    pub(crate) async fn reported(&self, id: &str, turn: u32) -> Result<bool, ArchiveError> {
        let Found::Here(session) = self.find(id).await? else {
            return Ok(false);
        };
        session.reported.fetch_max(turn, Ordering::Relaxed);
        session.ends.lock().told(turn);
        session.log.record_report(turn);
        Ok(session.earlier_end().is_some() || session.is_unreported())
    }
}

// === impl Session ===

impl Session {
    /// Whether its last turn has ended and the backend was not told.
    fn is_unreported(&self) -> bool {
        self.is_final() && self.reported.load(Ordering::Relaxed) < self.status().turn
    }

    /// The end of an earlier turn of which the backend was not told.
    fn earlier_end(&self) -> Option<TurnEnd> {
        let reported = self.reported.load(Ordering::Relaxed);
        let current = self.status().turn;
        self.ends.lock().next(reported, current).cloned()
    }

    /// Waits until readers may see the end that the backend is to be told of next, if there is one.
    async fn next_end_shown(&self) {
        if let Some(end) = self.earlier_end() {
            self.log.shown_past(end.last.saturating_sub(1)).await;
        } else if self.is_unreported() {
            self.log.end_shown().await;
        }
    }

    /// The next end, for the backend. One that readers may not see yet is not reported, because after a power cut it could
    /// be another one.
    fn report(&self) -> Option<Report> {
        if let Some(end) = self.earlier_end() {
            let is_shown = self.log.last_event_id().seq >= end.last;
            return is_shown.then(|| Report {
                id: self.id.clone(),
                turn: end.turn,
                // Only what ended is kept.
                state: State::parse(&end.state).unwrap_or(State::Failed),
                problem: end.problem,
                last_event_id: self.log.id(end.last).to_string(),
            });
        }
        let last_event_id = self.log.end_id()?;
        let status = self.status();
        self.is_unreported().then(|| Report {
            id: self.id.clone(),
            turn: status.turn,
            state: status.state,
            problem: status
                .problem
                .as_ref()
                .map(|problem| (problem.code.to_string(), problem.sentence.clone())),
            last_event_id: last_event_id.to_string(),
        })
    }
}
