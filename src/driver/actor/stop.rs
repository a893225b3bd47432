//! The end of a turn: by a command, a deadline or the shutdown, and what is done in every case.

use std::time::Duration;

use tokio::time::Instant;

use super::state::Actor;
use crate::clock::Timestamp;
use crate::driver::publish::{note_deleted_files, publish};
use crate::driver::translate::End;
use crate::driver::{end_reasons, resync};
use crate::event::{Event, FailureCode};
use crate::session::Command;

/// How long a stopped turn may take to end in good order. A client that cancels is answered within 5 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a stop waits for a prompt that is on its way.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(1);

// === impl Actor ===

impl Actor {
    pub(super) fn on_command(&mut self, command: Option<Command>) -> Option<End> {
        // The session holds a sender, so this does not end before the session.
        match command? {
            Command::Cancel(done_tx) => {
                self.waiting.push(done_tx);
                self.stop(End::Cancelled)
            }
            Command::Steer(steer) => {
                self.on_steer(*steer);
                None
            }
            Command::Answer(answer) => self.on_answer(answer),
        }
    }

    pub(super) fn on_deadline(&mut self) -> Option<End> {
        match self.stopping.take() {
            Some((end, _)) => Some(end),
            None => self.stop(end_reasons::timeout(self.turn.time_limit)),
        }
    }

    /// Begins to end the turn: abort, no more model calls, no more commands. The first reason holds.
    /// Between two children nothing runs that could be stopped: then it ends now.
    pub(super) fn stop(&mut self, end: End) -> Option<End> {
        if self.stopping.is_some() {
            return None;
        }
        if self.child_lost {
            return Some(end);
        }
        // Before the abort ends the calls that asked: who waits for an answer learns why none is taken.
        let reason = match &end {
            End::Cancelled => "the turn was cancelled",
            End::Complete { .. } | End::Failed(_) => "the turn is ended",
        };
        self.turn.translator.withdraw_asks(reason, Timestamp::now());
        self.stopping = Some((end, Instant::now() + STOP_TIMEOUT));
        self.show_usage();
        // Held until the agent was aborted. A call that is cut before looks like a lost connection: OpenCode
        // begins another try, and may then ignore the abort.
        self.end_egress();
        let grant = self.turn.grant.take();
        self.asked = 0;
        let (prompting, steering) = (self.recovery.take(), self.steer_call.take());
        let (connection, remote_id) = (self.turn.connection.clone(), self.turn.remote_id.clone());
        let (engine, session_tree) = (
            self.context.engine.clone(),
            self.turn.subscription.session_tree(),
        );
        let end_check = self.ask_for_end();
        let may_ask = self.turn.translator.asks.settings().may_ask;
        let workspace = self.context.config.workspace.clone();
        self.end_check = Some(Box::pin(async move {
            // A prompt that arrives after the abort would start another run.
            let handed_over = async {
                if let Some(prompting) = prompting {
                    prompting.await;
                }
                if let Some(steering) = steering {
                    steering.await;
                }
            };
            tokio::time::timeout(PROMPT_TIMEOUT, handed_over).await.ok();
            connection.abort(&remote_id).await;
            drop(grant);
            if may_ask {
                resync::clear_asks(&connection, &session_tree, &workspace).await;
            }
            // Also what left the process group of its command.
            log_ended(engine.end_tools(session_tree).await);
            end_check.await
        }));
        None
    }

    /// Publishes the end and what belongs before it.
    pub(super) async fn close(mut self, end: End) {
        self.show_usage();
        // Before the terminal event can be seen: then no key is in use any more.
        self.turn.grant = None;
        self.end_egress();
        (self.end_check, self.recovery, self.steer_call) = (None, None, None);
        // One that was not handed over is the next turn. This comes before the terminal event.
        self.steers.end();
        self.announce_steers();
        // What a command left running lives as long as the session does, and no client may see the end before
        // it: the next turn of this session would find it.
        let session_tree = self.turn.subscription.session_tree();
        log_ended(self.context.engine.end_tools(session_tree).await);
        let alone = self.running_turn.alone();
        let translator = &mut self.turn.translator;
        translator.finish(end, alone, Timestamp::now());
        note_deleted_files(&mut translator.events).await;
        self.turn.subscription.end();
        self.show_asks();
        // Of this turn: with its terminal event the next one may begin, and the session's status is of that.
        let ended = self.turn.translator.events.iter().find_map(Event::turn_end);
        publish(&self.turn_handle, &mut self.turn.translator.events);
        tracing::info!(
            session.id = self.turn_handle.session.id,
            turn.number = self.turn_handle.turn(),
            state = ended.map(|(state, _)| state.as_str()),
            code = ended.and_then(|(_, code)| code).map(FailureCode::as_str),
            "session ended"
        );
        self.context.registry.ended();
        self.turn_handle.session.set_facts(None);
        // A command that comes now is carried out already: with the turn handle its queue goes, which says so.
        drop(self.waiting);
    }
}

fn log_ended(processes: usize) {
    if processes > 0 {
        tracing::info!(
            processes,
            "ended what the session's commands had left running"
        );
    }
}
