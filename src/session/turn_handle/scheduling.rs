//! How one turn follows another: the next prompt of the queue is taken when a turn has ended, and given to the driver.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Scheduler, Turn, TurnHandle, TurnOrigin};
use crate::model::ModelSpec;
use crate::session::prompt_row;
use crate::session::record::Session;
use crate::session::request::{CreateError, Request};
use crate::session::session_map::State as Sessions;
use crate::session::status::Status;
use crate::session::turn::TurnKind;
use crate::session::turn_ends::TurnEnd;

/// A turn that was taken from the queue, and what stands against it.
pub(in crate::session) struct Next {
    turn_handle: TurnHandle,
    begins: Result<(Box<Request>, Option<Box<ModelSpec>>), CreateError>,
}

impl Scheduler {
    /// Whether a prompt waits and may begin.
    pub(super) fn has_next(&self, session: &Session) -> bool {
        let keeps = self.keeps_queues && self.closed.is_cancelled();
        !keeps && session.queue.lock().is_ready()
    }

    /// Begins the next turn of a session that is idle, if a prompt waits.
    pub(in crate::session) fn begin_next(&self, session: &Arc<Session>) {
        let mut sessions = self.sessions.lock();
        let next = if session.is_final() {
            self.next_turn(&mut sessions, session)
        } else {
            None
        };
        drop(sessions);
        if let Some(next) = next {
            self.start(next);
        }
    }

    /// Before another turn begins: what the backend may not know yet of the one before.
    pub(in crate::session) fn keep_end(&self, session: &Session, earlier: &Status) {
        if self.tells_ends && session.reported.load(Ordering::Relaxed) < earlier.turn {
            // A prompt may have been queued or withdrawn since the terminal event.
            let last = session.span.lock().last();
            let last = last.unwrap_or_else(|| session.log.last_appended());
            let end = TurnEnd::new(earlier, last);
            session.ends.lock().add(&session.id, end);
        }
    }

    /// Takes the next prompt of a session whose turn has ended. It is to be started without the lock.
    pub(in crate::session) fn next_turn(
        &self,
        sessions: &mut Sessions,
        session: &Arc<Session>,
    ) -> Option<Next> {
        if !self.has_next(session) {
            return None;
        }
        let queued = session.queue.lock().pop_ready()?;
        let earlier = session.status();
        self.keep_end(session, &earlier);
        session.log.begin_turn();
        session.begin_turn(&earlier, queued.turn, &queued.request.policy);
        if let Some(entry) = sessions.sessions.get_mut(&session.id) {
            entry.removed = None;
        }
        queued.span.begin(session.log.last_appended());
        let (mut turn_handle, _) = TurnHandle::new(
            Arc::clone(session),
            (queued.span, queued.trace),
            TurnOrigin::Queued,
            self.clone(),
        );
        let request = queued.request;
        let prompt = prompt_row::taken(&queued.id, queued.turn, &request, queued.from, false);
        turn_handle.set_prompt(prompt);
        let kept = sessions.credentials.get(session.number);
        let begins = match request.model.clone().apply(kept) {
            _ if self.closed.is_cancelled() => Err(CreateError::ShuttingDown),
            None => Err(CreateError::CredentialsRequired),
            Some(model) => {
                sessions
                    .credentials
                    .keep_while_running(session.number, model.clone());
                Ok((request, Some(Box::new(model))))
            }
        };
        Some(Next {
            turn_handle,
            begins,
        })
    }

    /// Gives a turn to the driver.
    pub(in crate::session) fn start(&self, next: Next) {
        let Next {
            turn_handle,
            begins,
        } = next;
        match begins {
            Ok((request, model)) => {
                let kind = TurnKind::Prompt { request, model };
                // One that the driver does not take ends itself when it is dropped.
                drop(self.turns_tx.try_send(Turn { kind, turn_handle }));
            }
            Err(error) => turn_handle.refuse(error),
        }
    }
}
