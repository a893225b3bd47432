//! The sessions in the journal: taken into memory when somebody asks for them, and out of it when nobody does.
//!
//! Memory holds those that run and those that were asked for lately, so a start with ten thousand finished sessions
//! costs nothing, and each of them can be replayed at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Registry;
use crate::event::State;
use crate::journal::{JournalError, Opened, PromptRow, Stored};
use crate::session::prompt_row;
use crate::session::record::Session;
use crate::session::request::{CreateError, Request};
use crate::session::session_map::Found;
use crate::session::turn::{Interrupted, TurnKind};
use crate::session::turn_handle::{Turn, TurnHandle, TurnOrigin};

/// How long a session stays in memory after it was last asked for.
const UNUSED: Duration = Duration::from_mins(1);

/// How long a request waits for a journal that is being opened.
const OPENING: Duration = Duration::from_secs(10);

/// Why the sessions on disk are not available now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("the journal is still being opened")]
    Opening,
    #[error(transparent)]
    Journal(#[from] JournalError),
}

// === impl Registry ===

impl Registry {
    /// Loads what the journal has of an earlier process: sessions that were running go to the driver, which ends their
    /// turns. All others stay on disk.
    pub(crate) async fn load(&self) {
        let Some(journal) = &self.shared.journal else {
            return;
        };
        let mut opened = journal.opened().await;
        let waiting = std::mem::take(&mut opened.waiting);
        let turns = self.interrupted(opened, &waiting);
        self.hold(waiting);
        tracing::info!(interrupted = turns.len(), "the journal is open");
        self.shared.loaded_tx.send_replace(true);
        for turn in turns {
            // The driver takes them as fast as they come, unless we are shutting down.
            if self.shared.turns_tx.send(turn).await.is_err() {
                return;
            }
        }
    }

    /// The turns that an earlier process began: they run until the driver has ended them.
    fn interrupted(&self, opened: Opened, waiting: &[(Stored, Vec<PromptRow>)]) -> Vec<Turn> {
        let (mut turns, mut lost) = (Vec::new(), Vec::new());
        let mut state = self.shared.sessions.lock();
        state.last_number = state.last_number.max(opened.last_number);
        for (stored, notes) in opened.unfinished {
            let session = self.stored(stored);
            let status = session.status();
            let (mut turn_handle, outcome_rx) =
                self.turn_handle(&session, session.log.last_appended(), TurnOrigin::New);
            let mut steers = Vec::new();
            let rows = waiting
                .iter()
                .filter(|(stored, _)| stored.row.number == session.number)
                .flat_map(|(_, rows)| rows)
                .filter(|row| row.turn == status.turn);
            for row in rows {
                match session.interrupted_steer(row) {
                    Some(steer) => steers.push(steer),
                    None => turn_handle.set_prompt(prompt_row::without_words(row)),
                }
            }
            turn_handle.set_begun();
            state.insert(&session, outcome_rx);
            let Some(remote_id) = status.remote_id.clone() else {
                lost.push(turn_handle);
                continue;
            };
            let interrupted = Interrupted {
                remote_id,
                // Else they are of the turn before it.
                notes: if status.begun { notes } else { Vec::new() },
                begun: status.begun,
                before: status.before.clone(),
                // The row was last written when the turn began.
                began: status.last_activity,
                steers,
            };
            turns.push(Turn {
                kind: TurnKind::Recover(interrupted),
                turn_handle,
            });
        }
        drop(state);
        // OpenCode never had a conversation for these, so there is nothing to look for.
        lost.iter().for_each(TurnHandle::fail_as_lost);
        turns
    }

    /// What is known of `id`.
    pub(crate) async fn find(&self, id: &str) -> Result<Found, ArchiveError> {
        self.loaded().await?;
        let sessions = &self.shared.sessions;
        if let Some(found) = sessions.find(id) {
            return Ok(found);
        }
        let Some(journal) = &self.shared.journal else {
            return Ok(Found::Unknown);
        };
        Ok(match journal.session(id).await? {
            Some(stored) => self.keep(stored),
            // It may have come or gone meanwhile.
            None => sessions.find(id).unwrap_or(Found::Unknown),
        })
    }

    /// A page of the sessions older than number `before` that are in state `wanted`, the newest first, and whether there
    /// are more.
    pub(crate) async fn list(
        &self,
        before: Option<u64>,
        wanted: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(u64, Arc<Session>)>, bool), ArchiveError> {
        self.loaded().await?;
        let mut all = self.in_memory();
        if let Some(journal) = &self.shared.journal {
            // Rows of sessions in memory may be outdated and are left out, so as many more are asked for.
            let enough = limit + 1 + all.len();
            let known: Vec<u64> = all.iter().map(|session| session.number).collect();
            let stored = journal.sessions(before, wanted, enough).await?;
            let others = stored
                .into_iter()
                .filter(|stored| !known.contains(&stored.row.number));
            all.extend(others.map(|stored| self.stored(stored)));
        }
        all.retain(|session| {
            before.is_none_or(|before| session.number < before)
                && wanted.is_none_or(|wanted| session.status().state.as_str() == wanted)
        });
        all.sort_by_key(|session| std::cmp::Reverse(session.number));
        let more = all.len() > limit;
        all.truncate(limit);
        let page = all.into_iter().map(|session| (session.number, session));
        Ok((page.collect(), more))
    }

    /// Takes into memory what `request` names, so that it can be decided on there.
    pub(super) async fn load_requested(&self, request: &Request) -> Result<(), CreateError> {
        let unavailable = |error: ArchiveError| CreateError::JournalUnavailable(error.to_string());
        self.find(&request.id).await.map_err(unavailable)?;
        match &request.idempotency {
            Some(idempotency) => self
                .load_created(&idempotency.key)
                .await
                .map_err(unavailable),
            None => Ok(()),
        }
    }

    /// Takes into memory the session that was created under `key`.
    pub(super) async fn load_created(&self, key: &str) -> Result<(), ArchiveError> {
        self.loaded().await?;
        let Some(journal) = &self.shared.journal else {
            return Ok(());
        };
        let is_known = self.shared.sessions.lock().keys.contains_key(key);
        if !is_known && let Some(stored) = journal.session_by_key(key).await? {
            self.keep(stored);
        }
        Ok(())
    }

    /// Waits until the sessions of an earlier process are known.
    pub(super) async fn loaded(&self) -> Result<(), ArchiveError> {
        let mut loaded_rx = self.shared.loaded_tx.subscribe();
        let loaded = tokio::time::timeout(OPENING, loaded_rx.wait_for(|loaded| *loaded)).await;
        match loaded {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ArchiveError::Opening),
        }
    }

    /// Puts a stored session into the map, unless it is there or was removed meanwhile.
    fn keep(&self, stored: Stored) -> Found {
        let session = self.stored(stored);
        let mut state = self.shared.sessions.lock();
        if let Some(found) = state.find(&session.id) {
            return found;
        }
        if !session.is_final() {
            // Those that run never leave the map; one that nobody drives would stay active for ever.
            tracing::error!(
                session.id = session.id,
                "the journal has a turn that nobody drives"
            );
            session.update(|status| status.state = State::Failed);
        }
        let (_, outcome_rx) = watch::channel(Some(Ok(session.created())));
        state.insert(&session, outcome_rx);
        Found::Here(session)
    }

    /// A session as the journal has it.
    pub(super) fn stored(&self, stored: Stored) -> Arc<Session> {
        Arc::new(Session::from_stored(stored, |extent| self.log(extent)))
    }

    /// Takes out of memory what nobody asks for and the disk has completely.
    pub(in crate::session) fn unload(&self, now: Instant) {
        let mut state = self.shared.sessions.lock();
        let unused: Vec<String> = state
            .sessions
            .iter()
            .filter(|(_, entry)| {
                now.duration_since(entry.used) >= UNUSED
                    && entry.session.is_final()
                    && Arc::strong_count(&entry.session) == 1
                    && entry.session.queue.lock().is_empty()
                    && entry.session.log.can_be_unloaded()
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in unused {
            state.remove(&id);
        }
        state.forget_gone(now);
    }
}
