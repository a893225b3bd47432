//! The sessions that lie in the journal: taken up when they are asked for, put back when nobody does.
//!
//! Memory holds those that run and those that were asked for lately, so a start with ten thousand
//! finished sessions costs nothing, and each of them can be replayed at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::{Created, Found, Registry, Session, Turn, TurnKind};
use crate::event::State as SessionState;
use crate::journal::{Figures, Journal, JournalError, Opened, Removed, Stored};
use crate::session::limits::StreamSlots;
use crate::session::log::{Epoch, Place};
use crate::session::record::SHOWN;
use crate::session::row::Details;
use crate::session::{CreateError, Interrupted, Request, TurnHandle};

/// How long a session stays in memory after it was last asked for.
const WARM: Duration = Duration::from_mins(1);

/// How long a request waits for a journal that is being opened.
const OPENING: Duration = Duration::from_secs(10);

/// The end of a turn that the backend is to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) id: String,
    pub(crate) turn: u32,
    pub(crate) state: SessionState,
    /// Why it failed: the code, and a sentence.
    pub(crate) problem: Option<(String, String)>,
    pub(crate) last_event_id: String,
}

/// Why the sessions on disk cannot be had now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("the journal is still being opened")]
    Opening,
    #[error(transparent)]
    Journal(#[from] JournalError),
}

// === impl Registry ===

impl Registry {
    /// Takes up what the journal has of an earlier life: sessions that were running go to the driver,
    /// which ends their turns. All others stay where they are.
    pub(crate) async fn load(&self) {
        let Some(journal) = &self.shared.journal else {
            return;
        };
        let turns = self.interrupted(journal.opened().await);
        tracing::info!(interrupted = turns.len(), "the journal is open");
        self.shared.loaded_tx.send_replace(true);
        for turn in turns {
            // The driver takes them as fast as they come, unless we are leaving.
            if self.shared.turns_tx.send(turn).await.is_err() {
                return;
            }
        }
    }

    /// The turns that an earlier life began: they run until the driver has ended them.
    fn interrupted(&self, opened: Opened) -> Vec<Turn> {
        let (mut turns, mut lost) = (Vec::new(), Vec::new());
        let mut state = self.shared.state.lock();
        state.last_number = state.last_number.max(opened.last_number);
        for (stored, notes) in opened.unfinished {
            let session = self.stored(stored);
            let status = session.status();
            let (turn_handle, outcome_rx) = self.turn_handle(session.clone(), None);
            turn_handle
                .outcome_tx
                .send_replace(Some(Ok(created(&session))));
            state.insert(&session, outcome_rx);
            let Some(remote_id) = status.remote_id.clone() else {
                lost.push(turn_handle);
                continue;
            };
            let interrupted = Interrupted {
                remote_id,
                notes,
                before: status.before.clone(),
                // The row was written last when the turn began.
                began: status.last_activity,
            };
            turns.push(Turn {
                kind: TurnKind::Recover(interrupted),
                turn_handle,
            });
        }
        drop(state);
        // OpenCode never had a conversation for these, so there is nothing to look for.
        lost.iter().for_each(TurnHandle::lost);
        turns
    }

    /// What became of `id`.
    pub(crate) async fn find(&self, id: &str) -> Result<Found, ArchiveError> {
        self.loaded().await?;
        if let Some(found) = self.here(id) {
            return Ok(found);
        }
        let Some(journal) = &self.shared.journal else {
            return Ok(Found::Unknown);
        };
        Ok(match journal.session(id).await? {
            Some(stored) => self.take_up(stored),
            // It may have come or gone meanwhile.
            None => self.here(id).unwrap_or(Found::Unknown),
        })
    }

    pub(super) fn here(&self, id: &str) -> Option<Found> {
        self.shared.state.lock().find(id)
    }

    /// A page of the sessions older than number `before` that are in `wanted`, the newest first, and
    /// whether there are more.
    pub(crate) async fn list(
        &self,
        before: Option<u64>,
        wanted: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(u64, Arc<Session>)>, bool), ArchiveError> {
        self.loaded().await?;
        let mut all = self.in_memory();
        if let Some(journal) = &self.shared.journal {
            // Rows of sessions in memory may be older than these are; so many may have to be left out.
            let enough = limit + 1 + all.len();
            let known: Vec<u64> = all.iter().map(|session| session.number).collect();
            let stored = journal.sessions(before, wanted, enough).await?;
            let others = stored
                .into_iter()
                .filter(|stored| !known.contains(&stored.row.number));
            all.extend(others.map(|stored| self.stored(stored)));
        }
        all.retain(|session| {
            before.is_none_or(|before| session.number < before) && session.in_state(wanted)
        });
        all.sort_by_key(|session| std::cmp::Reverse(session.number));
        let more = all.len() > limit;
        all.truncate(limit);
        let page = all.into_iter().map(|session| (session.number, session));
        Ok((page.collect(), more))
    }

    /// Ends of turns that the backend was not told of.
    pub(crate) async fn unreported(&self, limit: usize) -> Result<Vec<Report>, ArchiveError> {
        self.loaded().await?;
        let here = self.in_memory();
        let news = here.iter().filter(|session| session.has_news());
        let shown = join_all(news.map(|session| session.log.end_shown()));
        // A disk that does not answer keeps only its own sessions back.
        drop(tokio::time::timeout(SHOWN, shown).await);
        let mut reports: Vec<Report> = here
            .iter()
            .filter_map(|session| session.report())
            .take(limit)
            .collect();
        if let Some(journal) = &self.shared.journal {
            let stored = journal.unreported(limit + here.len()).await?;
            let others = stored
                .into_iter()
                .filter(|stored| here.iter().all(|known| known.number != stored.row.number));
            let room = limit - reports.len();
            reports.extend(
                others
                    .filter_map(|stored| self.stored(stored).report())
                    .take(room),
            );
        }
        Ok(reports)
    }

    /// Whether what a report says still holds: no other turn has begun.
    pub(crate) fn holds(&self, report: &Report) -> bool {
        match self.here(&report.id) {
            Some(Found::Here(session)) => {
                let status = session.status();
                status.turn == report.turn && status.state.is_final()
            }
            Some(Found::Gone) => false,
            // It lies in the journal; nothing begins there.
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

    /// The backend knows of the end of this turn.
    pub(crate) async fn reported(&self, id: &str, turn: u32) -> Result<(), ArchiveError> {
        if let Found::Here(session) = self.find(id).await? {
            session.reported.fetch_max(turn, Ordering::Relaxed);
            session.log.record_report(turn);
        }
        Ok(())
    }

    /// Takes up what `request` names, so that it can be decided on in memory.
    pub(super) async fn recall(&self, request: &Request) -> Result<(), CreateError> {
        let unavailable = |error: ArchiveError| CreateError::JournalUnavailable(error.to_string());
        self.find(&request.id).await.map_err(unavailable)?;
        if let (Some(journal), Some(idempotency)) = (&self.shared.journal, &request.idempotency) {
            let known = self.shared.state.lock().keys.contains_key(&idempotency.key);
            if !known
                && let Some(stored) = journal
                    .session_by_key(&idempotency.key)
                    .await
                    .map_err(|error| unavailable(error.into()))?
            {
                self.take_up(stored);
            }
        }
        Ok(())
    }

    async fn loaded(&self) -> Result<(), ArchiveError> {
        let mut loaded_rx = self.shared.loaded_tx.subscribe();
        let loaded = tokio::time::timeout(OPENING, loaded_rx.wait_for(|loaded| *loaded)).await;
        match loaded {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ArchiveError::Opening),
        }
    }

    /// Puts a stored session into the map, unless it is there or was let go meanwhile.
    fn take_up(&self, stored: Stored) -> Found {
        let session = self.stored(stored);
        let mut state = self.shared.state.lock();
        if let Some(found) = state.find(&session.id) {
            return found;
        }
        if !session.is_final() {
            // Those that run never leave the map; one that nobody drives would hold a place for ever.
            tracing::error!(
                session.id = session.id,
                "the journal has a turn that nobody drives"
            );
            session.update(|status| status.state = SessionState::Failed);
        }
        let (_, outcome_rx) = watch::channel(Some(Ok(created(&session))));
        state.insert(&session, outcome_rx);
        Found::Here(session)
    }

    /// A session as the journal has it.
    fn stored(&self, stored: Stored) -> Arc<Session> {
        let Stored { row, oldest, last } = stored;
        let facts = Details::read(&row.facts);
        let now = SessionState::parse(&row.state).unwrap_or(SessionState::Failed);
        let place = Place {
            number: row.number,
            epoch: Epoch::parse(&row.epoch).unwrap_or_else(Epoch::random),
            oldest,
            last,
            idle: now.is_final(),
        };
        Arc::new(Session {
            id: row.id,
            created_at: facts.created_at(),
            number: row.number,
            origin: facts.origin(),
            key: row.key,
            log: self.log(place),
            slots: StreamSlots::default(),
            commands_tx: Mutex::new(mpsc::channel(1).0),
            status_tx: watch::Sender::new(Arc::new(facts.status(now, row.remote_id, row.turn))),
            reported: AtomicU32::new(row.reported),
        })
    }

    /// Puts back what nobody asks for and the disk has whole.
    pub(in crate::session) fn unload(&self, now: Instant) {
        let mut state = self.shared.state.lock();
        let cold: Vec<String> = state
            .sessions
            .iter()
            .filter(|(_, entry)| {
                now.duration_since(entry.used) >= WARM
                    && entry.session.is_final()
                    && Arc::strong_count(&entry.session) == 1
                    && entry.session.log.can_leave()
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in cold {
            state.remove(&id);
        }
        state.forget_gone(now);
    }

    /// Follows the journal's retention until it ends.
    pub(crate) async fn follow_retention(self, mut removed_rx: mpsc::Receiver<Removed>) {
        while let Some(removed) = removed_rx.recv().await {
            self.remove(removed);
        }
    }

    pub(in crate::session) fn remove(&self, removed: Removed) {
        let mut state = self.shared.state.lock();
        if let Some(entry) = state.sessions.get_mut(&removed.id) {
            if entry.session.number != removed.number {
                return;
            }
            if !entry.session.is_final() {
                // Another turn of it is about to begin. If it does, the journal takes it back.
                entry.removed = Some(removed);
                return;
            }
        }
        if let Some(entry) = state.remove(&removed.id) {
            entry.session.log.close();
        }
        state.remember(removed.id, Instant::now());
        drop(state);
        if let Some(remote_id) = removed.remote_id {
            self.delete_remote(remote_id);
        }
    }

    /// A turn that never began, of a session that had one before.
    pub(in crate::session) fn restore(&self, session: &Session, earlier: Arc<super::Status>) {
        session.status_tx.send_replace(earlier);
        let removed = {
            let mut state = self.shared.state.lock();
            let entry = state.sessions.get_mut(&session.id);
            entry.and_then(|entry| entry.removed.take())
        };
        if let Some(removed) = removed {
            self.remove(removed);
        }
        self.ended();
    }

    /// How the disk does, in figures; nothing without one.
    pub(crate) fn figures(&self) -> Option<Figures> {
        self.shared.journal.as_ref().map(Journal::figures)
    }

    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.shared.journal.as_ref()
    }
}

pub(super) fn created(session: &Session) -> Created {
    Created {
        remote_id: session.status().remote_id.clone().unwrap_or_default(),
        created_at: session.created_at,
    }
}

// === impl Session ===

impl Session {
    /// Whether its last turn has ended and the backend was not told.
    fn has_news(&self) -> bool {
        let status = self.status();
        status.state.is_final() && self.reported.load(Ordering::Relaxed) < status.turn
    }

    /// The end that the backend is to hear of. Nobody hears of one that readers may not see yet: it could
    /// be another one after a power cut.
    fn report(&self) -> Option<Report> {
        let last_event_id = self.log.end_id()?;
        let status = self.status();
        self.has_news().then(|| Report {
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
