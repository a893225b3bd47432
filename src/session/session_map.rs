//! The sessions in memory: those that run, and those that were asked for lately.
//!
//! One lock over a map; what is decided under it is short and synchronous. A session is in the map from the moment its
//! creation begins, so that the same id twice at once is one session and one refusal.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, watch};

use super::credentials::{Credentials, KeptBefore};
use super::log::{Addition, TurnSpan};
use super::outcome::Outcome;
use super::prompt_note::PromptNotice;
use super::prompt_row;
use super::queue::Queued;
use super::record::Session;
use super::status::Status;
use crate::journal::{PromptRow, Removed};

#[derive(Debug)]
pub(super) struct SessionMap {
    state: Mutex<State>,
    /// OpenCode's ids of sessions that nobody can ask for any more.
    removals_tx: mpsc::Sender<String>,
    /// Changes with the number of active sessions.
    changes_tx: watch::Sender<()>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sessions: HashMap<String, Entry>,
    /// From an idempotency key to the id of the session.
    pub(super) keys: HashMap<String, String>,
    /// From a session's number to its id.
    numbers: HashMap<u64, String>,
    /// Ids of sessions that were removed, and when.
    pub(super) gone: HashMap<String, Instant>,
    /// The number of the newest session.
    pub(super) last_number: u64,
    pub(super) credentials: Credentials,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) session: Arc<Session>,
    pub(super) outcome_rx: watch::Receiver<Outcome>,
    /// When it was last asked for.
    pub(super) used: Instant,
    /// Retention removed it while another turn was about to begin.
    pub(super) removed: Option<Removed>,
}

/// What a session was before a turn that did not begin.
#[derive(Clone, Debug)]
pub(super) struct BeforeTurn {
    pub(super) status: Arc<Status>,
    /// Of its last turn.
    pub(super) span: Arc<TurnSpan>,
    pub(super) model: KeptBefore,
}

/// What is known of an id.
#[derive(Debug)]
pub(crate) enum Found {
    Here(Arc<Session>),
    /// It existed, and was removed.
    Gone,
    Unknown,
}

/// How long the id of a session that was removed is still known to have existed.
pub(super) const GONE_FOR: Duration = Duration::from_mins(10);

/// The most ids of removed sessions that are remembered. Beyond that the oldest is forgotten early.
pub(super) const MAX_GONE: usize = 10_000;

// === impl SessionMap ===

impl SessionMap {
    pub(super) fn new(removals_tx: mpsc::Sender<String>) -> Self {
        Self {
            state: Mutex::default(),
            removals_tx,
            changes_tx: watch::Sender::new(()),
        }
    }

    /// Never held across an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        let state = self.lock();
        let sessions = state.sessions.values();
        sessions.map(|entry| entry.session.clone()).collect()
    }

    /// The same for whoever may not wait longer than until then.
    pub(super) fn all_by(&self, deadline: Instant) -> Option<Vec<Arc<Session>>> {
        let state = self.state.try_lock_until(deadline)?;
        let sessions = state.sessions.values();
        Some(sessions.map(|entry| entry.session.clone()).collect())
    }

    /// Nothing if the id is neither in memory nor known to be gone.
    pub(super) fn find(&self, id: &str) -> Option<Found> {
        self.lock().find(id)
    }

    /// The session with this number, if it is in memory.
    pub(super) fn numbered(&self, number: u64) -> Option<Arc<Session>> {
        let state = self.lock();
        let entry = state.sessions.get(state.numbers.get(&number)?)?;
        (entry.session.number == number).then(|| Arc::clone(&entry.session))
    }

    /// Wakes with every change of the number of active sessions.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes_tx.subscribe()
    }

    /// A turn has ended: whoever waits for that looks again.
    pub(super) fn on_turn_ended(&self) {
        self.changes_tx.send_replace(());
    }

    /// A session that never began: its id is free again.
    pub(super) fn discard(&self, session: &Arc<Session>) {
        let mut state = self.lock();
        state.credentials.remove(session.number);
        let is_same = |entry: &Entry| Arc::ptr_eq(&entry.session, session);
        if state.sessions.get(&session.id).is_some_and(is_same) {
            state.remove(&session.id);
        }
        drop(state);
        session.log.close();
        self.on_turn_ended();
    }

    /// A turn that never began, of a session that was like this before. `recorded` is the prompt whose beginning was handed
    /// to the disk. The readers are told of prompts that wait for a key now, with their words if `keeps_words`.
    pub(super) fn undo_turn(
        &self,
        session: &Session,
        before: BeforeTurn,
        recorded: Option<PromptRow>,
        keeps_words: bool,
    ) {
        let removed = {
            let mut state = self.lock();
            let turn = session.status().turn;
            session.queue.lock().undo_turn(turn);
            session.accepted.lock().forget(turn);
            let mut status = before.status;
            // A revert that was under way when the prompt came was done meanwhile.
            Arc::make_mut(&mut status)
                .reverted
                .clone_from(&session.status().reverted);
            session.status_tx.send_replace(status);
            *session.span.lock() = before.span;
            let mut held = Vec::new();
            state.restore_model(session, before.model, |queued| {
                held.push(PromptNotice::held(queued, keeps_words));
            });
            // Still under the lock: none of them can begin before it is told of.
            for notice in held {
                session.note_prompt(notice, None);
            }
            let entry = state.sessions.get_mut(&session.id);
            entry.and_then(|entry| entry.removed.take())
        };
        if let Some(prompt) = recorded {
            session.log.add(Addition {
                row: Some(session.row()),
                prompt: Some(prompt_row::forgotten(&prompt)),
                ..Addition::default()
            });
        }
        if let Some(removed) = removed {
            self.remove(removed);
        }
        self.on_turn_ended();
    }

    /// Retention removed a session from the journal.
    pub(super) fn remove(&self, removed: Removed) {
        let mut state = self.lock();
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
        state.credentials.remove(removed.number);
        state.remove_for_good(&removed.id, Instant::now());
        drop(state);
        if let Some(remote_id) = removed.remote_id {
            self.delete_remote(remote_id);
        }
    }

    /// Removes what ended `retention` ago: without a journal a session is gone when its time in memory is over.
    pub(super) fn expire(&self, retention: Duration, now: Instant) {
        let is_old = |session: &Session| {
            let ended = session.status().ended;
            ended.is_some_and(|at| now.duration_since(at) >= retention)
        };
        let mut state = self.lock();
        for session in state.select(|entry| is_old(&entry.session)) {
            state.remove_for_good(&session.id, now);
            if let Some(remote_id) = &session.status().remote_id {
                self.delete_remote(remote_id.clone());
            }
        }
        state.forget_gone(now);
    }

    /// Has OpenCode's session deleted, by the next child if there is none.
    pub(super) fn delete_remote(&self, remote_id: String) {
        if let Err(error) = self.removals_tx.try_send(remote_id) {
            tracing::warn!(%error, "an old session stays in the engine");
        }
    }
}

// === impl State ===

impl State {
    pub(super) fn active(&self) -> usize {
        let sessions = self.sessions.values();
        sessions.filter(|entry| !entry.session.is_final()).count()
    }

    /// A turn did not begin: what was kept before it is kept again, unless the session was stopped meanwhile.
    fn restore_model(
        &mut self,
        session: &Session,
        before: KeptBefore,
        on_held: impl FnMut(&Queued),
    ) {
        let (credentials, number) = (&mut self.credentials, session.number);
        let was_stopped = credentials.get(number).is_none();
        match before {
            KeptBefore::Unchanged => {}
            _ if was_stopped => {}
            KeptBefore::Model(kept) => credentials.restore(number, *kept),
            KeptBefore::Nothing => {
                let mut queue = session.queue.lock();
                // A key that came with a prompt behind it is one for those that are held, too.
                if let Some(model) = queue.first_model().cloned() {
                    credentials.keep_while_running(number, model);
                } else {
                    queue.hold(on_held);
                    credentials.remove(number);
                }
            }
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn insert(&mut self, session: &Arc<Session>, outcome_rx: watch::Receiver<Outcome>) {
        self.gone.remove(&session.id);
        if let Some(key) = session.key() {
            self.keys.insert(key.clone(), session.id.clone());
        }
        self.numbers.insert(session.number, session.id.clone());
        let entry = Entry {
            session: session.clone(),
            outcome_rx,
            used: Instant::now(),
            removed: None,
        };
        self.sessions.insert(session.id.clone(), entry);
    }

    pub(super) fn find(&mut self, id: &str) -> Option<Found> {
        if let Some(entry) = self.sessions.get_mut(id) {
            entry.used = Instant::now();
            return Some(Found::Here(entry.session.clone()));
        }
        self.gone.contains_key(id).then_some(Found::Gone)
    }

    pub(super) fn select(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Arc<Session>> {
        let found = self.sessions.values().filter(|entry| wanted(entry));
        found.map(|entry| entry.session.clone()).collect()
    }

    /// Takes a session out of memory.
    pub(super) fn remove(&mut self, id: &str) -> Option<Entry> {
        let entry = self.sessions.remove(id)?;
        self.numbers.remove(&entry.session.number);
        if let Some(key) = entry.session.key() {
            self.keys.remove(key);
        }
        Some(entry)
    }

    /// Takes a session out of memory that is nowhere else any more.
    fn remove_for_good(&mut self, id: &str, now: Instant) {
        if let Some(entry) = self.remove(id) {
            self.credentials.remove(entry.session.number);
            entry.session.log.close();
        }
        self.remember_gone(id.to_owned(), now);
    }

    pub(super) fn remember_gone(&mut self, id: String, now: Instant) {
        if self.gone.len() >= MAX_GONE {
            let oldest = self.gone.iter().min_by_key(|(_, since)| **since);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.gone.remove(&oldest);
            }
        }
        self.gone.insert(id, now);
    }

    pub(super) fn forget_gone(&mut self, now: Instant) {
        self.gone
            .retain(|_, since| now.duration_since(*since) < GONE_FOR);
    }
}
