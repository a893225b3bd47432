//! The child died in the middle of the turn: the turn goes on in the next one.
//!
//! ```text
//! wait for the next child --> what had the dead one stored? --> publish it, close what is open --> prompt
//!          |                                                             |
//!          +-- it does not come, or does not know the session            +-- the turn had ended: so it ends
//! ```
//!
//! The gateway's grant outlives the child, so the key stays where it is; only the child's own token is new.

use std::time::{Duration, Instant};

use super::state::{Actor, RecoveryStep};
use crate::clock::Timestamp;
use crate::driver::child_connection::{self, ChildConnection};
use crate::driver::context::Context;
use crate::driver::demux::Item;
use crate::driver::resync::{self, Found, SessionTree, StoredState};
use crate::driver::steering::{Presence, presence};
use crate::driver::translate::End;
use crate::driver::{end_reasons, ending};
use crate::engine::Snapshot;

/// How long a turn waits for the next child. A start may take a minute, and one may fail.
const NEXT_CHILD_TIMEOUT: Duration = Duration::from_mins(2);

// === impl Actor ===

impl Actor {
    /// The child is gone. What it still said is taken. A turn that was being stopped ends as it was meant
    /// to: a shutdown ends the child too, and a caller who cancelled gets what was asked for.
    pub(super) fn on_child_lost(&mut self) -> Option<End> {
        let now = Timestamp::now();
        while let Ok(item) = self.turn.subscription.items_rx.try_recv() {
            if let Item::Event(event) = item {
                self.turn.translator.apply(*event, now);
            }
        }
        if let Some((reason, _)) = self.stopping.take() {
            return Some(reason);
        }
        if self.context.shutdown.halt.is_cancelled() {
            return Some(end_reasons::shutting_down());
        }
        if !self.turn.is_prompt {
            return Some(end_reasons::engine_lost(0));
        }
        let most = self.context.config.recoveries;
        if self.recoveries >= most {
            return Some(end_reasons::engine_lost(self.recoveries));
        }
        self.child_lost = true;
        if let Some(end) = self.apply_signals() {
            return Some(end);
        }
        // The dead child answers no questions.
        (self.end_check, self.resync, self.check_again) = (None, None, false);
        self.steer_call = None;
        self.steers.child_lost();
        self.recoveries += 1;
        tracing::warn!(
            session.id = self.turn_handle.session.id,
            recoveries = self.recoveries,
            "the engine died during a turn; the turn goes on in the next one"
        );
        let reason = format!(
            "the agent's process died; the turn goes on in the next one ({} of {most})",
            self.recoveries
        );
        self.turn.translator.process_lost(reason, now);
        self.drop_answers();
        (self.stalled, self.feed_lost) = (None, None);
        self.recovery = Some(Box::pin(find_next_child(
            self.context.clone(),
            self.turn.remote_id.clone(),
            self.turn.translator.sequences(),
        )));
        None
    }

    /// Takes what a step of the recovery found, and begins the next.
    pub(super) fn on_recovery_step(&mut self, step: RecoveryStep) -> Option<End> {
        match step {
            RecoveryStep::NextChild(connection, stored) => self.on_next_child(connection, stored),
            RecoveryStep::Prompted => {
                self.turn.translator.resumed(Timestamp::now());
                self.note_activity();
                None
            }
            // The engine leaves with the sidecar, and may be gone before the shutdown reaches the turn.
            RecoveryStep::Failed(_) if self.context.shutdown.halt.is_cancelled() => {
                Some(end_reasons::shutting_down())
            }
            RecoveryStep::Failed(end) => Some(end),
        }
    }

    /// The next child is there. First everything of the dead one's is published and closed.
    fn on_next_child(&mut self, connection: ChildConnection, stored: StoredState) -> Option<End> {
        (self.turn.connection, self.child_lost, self.asked) = (connection, false, 0);
        let now = Timestamp::now();
        let (root, before) = (&*self.turn.remote_id, self.turn.before.as_deref());
        let stored_end =
            ending::last_of_session(&stored.messages, root, before).and_then(ending::stored_end);
        let prompt = presence(&stored.messages, &self.turn.prompt_text.message_id);
        // A prompt is answered for before it is stored, and its words after its message: the child may have died
        // in between.
        let prompt_was_lost = stored.complete && prompt != Presence::Whole;
        let message_is_empty = prompt_was_lost && prompt == Presence::WithoutWords;
        self.steers.next_child(|id| presence(&stored.messages, id));
        let translator = &mut self.turn.translator;
        translator.apply_missed(stored.history, stored.messages, now);
        translator.abandon_run(now);
        self.note_activity();
        if let Some(end) = self.apply_signals() {
            return Some(end);
        }
        let grant = self.turn.grant.as_ref()?;
        match stored_end {
            Some(End::Complete { .. }) if self.steers.is_pending() => {
                // Nothing was cut off. The agent is told what came since, and that begins another run.
                self.turn.translator.resumed(now);
                self.check_for_end(Duration::ZERO);
                return None;
            }
            Some(end) if !self.steers.is_pending() => {
                return Some(end_reasons::with_provider_cause(end, Some(grant)));
            }
            _ => {}
        }
        if !prompt_was_lost {
            self.turn.prompt_text = self.turn.prompt_text.go_on();
        } else if message_is_empty {
            // Under the same id OpenCode would only add to the message that is there.
            self.turn.prompt_text.renew_ids();
        }
        let model = grant.model_ref();
        // What the dead run left unfinished must not be taken for the end of this one.
        self.turn.before = self.turn.translator.newest_message().map(str::to_owned);
        let (connection, remote_id) = (self.turn.connection.clone(), self.turn.remote_id.clone());
        let prompt_text = self.turn.prompt_text.clone();
        let workspace = self.context.config.workspace.clone();
        self.recovery = Some(Box::pin(async move {
            let prompt_text = prompt_text.with_files(&workspace).await;
            let prompt = prompt_text.prompt(model);
            let Err(error) = connection.client.prompt(&remote_id, &prompt).await else {
                return RecoveryStep::Prompted;
            };
            tracing::warn!(%error, "the next engine did not take the prompt to go on");
            if connection.died_under(&error).await {
                // Its death begins another recovery, which drops this one.
                std::future::pending::<()>().await;
            }
            failed("the next one did not take the prompt to go on", true)
        }));
        None
    }
}

fn failed(reason: &str, resumable: bool) -> RecoveryStep {
    RecoveryStep::Failed(end_reasons::engine_stays_lost(reason, resumable))
}

/// Waits for the next child and asks it what the dead one had stored.
async fn find_next_child(
    context: Context,
    remote_id: String,
    session_tree: SessionTree,
) -> RecoveryStep {
    let finding = async {
        let mut engine = context.engine.watch();
        let mut connections = context.connections.clone();
        loop {
            let connection = tokio::select! {
                connection = child_connection::next(&mut connections) => connection,
                _ = engine.wait_for(Snapshot::given_up) => None,
            };
            let Some(connection) = connection else {
                let reason = context.engine.not_ready(Instant::now());
                let reason = reason.unwrap_or_else(|| "the engine has ended".into());
                return failed(&format!("the next one does not come: {reason}"), true);
            };
            let found = tokio::select! {
                found = resync::look_up(&connection, &remote_id, &session_tree, &context.demux) => found,
                // Nothing was begun in it, so it does not count: the engine counts its restarts.
                () = connection.lost.cancelled() => continue,
            };
            return match found {
                Found::Stored(stored) => RecoveryStep::NextChild(connection, stored),
                Found::Unknown => failed("the next one does not know its session", false),
                Found::NoAnswer => failed("the next one does not answer", true),
            };
        }
    };
    let found = tokio::time::timeout(NEXT_CHILD_TIMEOUT, finding).await;
    found.unwrap_or_else(|_| {
        let secs = NEXT_CHILD_TIMEOUT.as_secs();
        failed(&format!("the next one was not there within {secs} s"), true)
    })
}
