//! What the child is asked about a turn that runs: whether it has ended, and what was missed.

use std::time::Duration;

use super::state::{Actor, EndCheckResult, Findings};
use crate::clock::Timestamp;
use crate::driver::end_reasons;
use crate::driver::ending::{self, Decision, Observation};
use crate::driver::resync::{self, StoredState};
use crate::driver::steering::{Verdict, presence};
use crate::driver::translate::{End, classify};
use crate::opencode::CallError;
use crate::opencode::types::{Message, SessionStatus};

/// The pause after a question about the turn's end that got no answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);

// === impl Actor ===

impl Actor {
    /// Asks the child whether the turn has ended, unless that is being asked.
    pub(super) fn check_for_end(&mut self, after: Duration) {
        self.check_again = self.end_check.is_some();
        if self.check_again {
            return;
        }
        let end_check = self.ask_for_end();
        self.end_check = Some(Box::pin(async move {
            tokio::time::sleep(after).await;
            end_check.await
        }));
    }

    pub(super) fn ask_for_end(&self) -> impl Future<Output = EndCheckResult> + Send + 'static {
        let (client, remote_id) = (
            self.turn.connection.client.clone(),
            self.turn.remote_id.clone(),
        );
        let workspace = self.context.config.workspace.clone();
        let (steers, was_steered) = (self.steers.changes(), !self.steers.is_empty());
        async move {
            let ask_status = async || -> Result<SessionStatus, CallError> {
                let mut statuses = client.statuses(&workspace).await?;
                Ok(statuses.remove(&remote_id).unwrap_or(SessionStatus::Idle))
            };
            let mut status = ask_status().await?;
            // A session that works has not ended, whatever its messages say.
            let messages = match status {
                SessionStatus::Idle => client.messages(&remote_id).await?,
                _ => Vec::new(),
            };
            if was_steered && status == SessionStatus::Idle {
                // What it was told may have begun another run, which is in the middle of these messages.
                status = ask_status().await?;
            }
            Ok(Findings {
                status,
                messages,
                steers,
            })
        }
    }

    pub(super) fn on_findings(&mut self, findings: EndCheckResult) -> Option<End> {
        let Findings {
            status,
            messages,
            steers,
        } = match findings {
            Ok(findings) => findings,
            Err(CallError::TooLarge { .. }) => return Some(self.end_without_messages()),
            Err(error) => {
                tracing::warn!(%error, "could not ask whether a turn has ended");
                self.check_for_end(ASK_AGAIN);
                return None;
            }
        };
        let observed = Observation {
            status: &status,
            last: ending::last_of_turn(&messages, self.turn.before.as_deref()),
            error: self.turn.translator.turn_error(),
            cancelled: self.stopping.is_some(),
            asked: self.asked,
            task_done: !self.turn.is_prompt && self.task_call.is_none(),
        };
        match ending::decide(&observed) {
            Decision::NotYet if self.check_again => self.check_for_end(Duration::ZERO),
            Decision::NotYet => {}
            Decision::AskAgain(wait) => {
                self.asked += 1;
                self.check_for_end(wait);
            }
            Decision::Ended(_) if self.is_steered_on(steers, &messages) => {}
            // With the child this turn goes too, and on in the next one.
            Decision::Ended(end) if self.stopping.is_none() && ending::shows_broken_child(&end) => {
                self.replace_child();
            }
            Decision::Ended(end) => {
                // What the last events would have said, if they are still on their way.
                let translator = &mut self.turn.translator;
                translator.apply_missed(Vec::new(), messages, Timestamp::now());
                return Some(self.end_as(end));
            }
        }
        None
    }

    /// Whether the turn goes on because of what the agent was told meanwhile, although the end of a run was found.
    fn is_steered_on(&mut self, asked: u64, messages: &[Message]) -> bool {
        let presence = |id: &str| presence(messages, id);
        if self.stopping.is_some() {
            self.steers.look_up(presence);
            return false;
        }
        match self.steers.settle(asked, presence) {
            Verdict::Settled => return false,
            Verdict::AskAgain(pause) => self.check_for_end(pause),
        }
        true
    }

    /// The call that did the task was answered.
    pub(super) fn on_task_done(&mut self, done: Result<(), CallError>) -> Option<End> {
        match done {
            Ok(()) => {}
            // Nothing of it runs.
            Err(error @ CallError::Status { .. }) if self.stopping.is_none() => {
                tracing::warn!(%error, "the engine refused a task");
                return Some(end_reasons::task_refused());
            }
            // What comes of it is in the feed, or the child has died.
            Err(error) => tracing::warn!(%error, "a task's call got no answer"),
        }
        self.asked = 0;
        self.check_for_end(Duration::ZERO);
        None
    }

    /// How the turn ends that OpenCode ended with `end`. The reason for which it was stopped comes first.
    fn end_as(&mut self, end: End) -> End {
        if let Some((reason, _)) = self.stopping.take() {
            return reason;
        }
        let end = end_reasons::with_provider_cause(end, self.turn.grant.as_ref());
        self.after_rejection(end)
    }

    /// A rejection without a message stops the agent in the middle of its work, and OpenCode says only that it had called
    /// tools.
    fn after_rejection(&self, end: End) -> End {
        match end {
            End::Complete {
                finish_reason: Some(reason),
            } if reason == "tool-calls"
                && self.turn.translator.asks.has_stopped(&self.turn.remote_id) =>
            {
                End::Complete {
                    finish_reason: Some("rejected".to_owned()),
                }
            }
            end => end,
        }
    }

    /// The end of an idle turn whose messages are too large to be read. They will not get smaller: what the
    /// feed brought has to do.
    fn end_without_messages(&mut self) -> End {
        tracing::warn!(
            "the messages of a turn are too large to be read; it ends with what was streamed"
        );
        let end = match self.turn.translator.turn_error() {
            Some(error) => End::Failed(classify(error)),
            None => End::Complete {
                finish_reason: None,
            },
        };
        self.end_as(end)
    }

    fn replace_child(&self) {
        let generation = self.turn.connection.generation;
        tracing::warn!(
            session.id = self.turn_handle.session.id,
            child.generation = generation.get(),
            "the engine can run no turn any more; it is replaced"
        );
        let why = "an aborted turn left it in a state in which every turn fails";
        self.context.engine.replace(generation, why);
    }

    /// Asks for the events that were missed, and for the requests, which no history has. Until the answer no other
    /// event is taken.
    pub(super) fn begin_resync(&mut self) {
        let (connection, demux) = (self.turn.connection.clone(), self.context.demux.clone());
        let sequences = self.turn.translator.sequences();
        let workspace = self.context.config.workspace.clone();
        let may_ask = self.turn.translator.asks.settings().may_ask;
        self.resync = Some(Box::pin(async move {
            let mut missed = resync::ask(connection.clone(), sequences, demux).await;
            if may_ask {
                missed.asks = resync::listed_asks(&connection, &workspace).await;
            }
            missed
        }));
    }

    pub(super) fn on_missed(&mut self, missed: StoredState) -> Option<End> {
        self.feed_lost = None;
        let (now, translator) = (Timestamp::now(), &mut self.turn.translator);
        translator.apply_missed(missed.history, missed.messages, now);
        if let Some(listed) = missed.asks {
            translator.apply_listed_asks(listed, missed.complete, now);
        }
        self.note_activity();
        // The end may be among what was missed.
        self.check_for_end(Duration::ZERO);
        self.apply_signals()
    }
}
