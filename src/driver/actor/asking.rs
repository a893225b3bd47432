//! Asking the child: has the turn ended, what was missed, and stop.

use std::time::Duration;

use tokio::time::Instant;

use super::super::closing;
use super::super::ending::{self, Facts, Verdict};
use super::super::link::Link;
use super::super::resync::{self, Missed};
use super::super::translate::{End, classify};
use super::Actor;
use crate::clock::Timestamp;
use crate::gateway::{Grant, Wait};
use crate::opencode::CallError;
use crate::opencode::types::{Message, SessionStatus};

/// How long a stopped turn may take to end in good order. A client that cancels is answered within 5 s.
const STOPPING: Duration = Duration::from_secs(4);

/// How long the child may take to abort.
const ABORT: Duration = Duration::from_millis(2500);

/// How long a stop waits for a prompt that is on its way.
const TELLING: Duration = Duration::from_secs(1);

/// After a question about the turn's end that got no answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What is known of the root session when an end is suspected.
pub(super) type Findings = Result<(SessionStatus, Vec<Message>), CallError>;

// === impl Actor ===

impl Actor {
    /// Begins to end the turn: abort, no more model calls, no more commands. The first reason holds.
    /// Between two children nothing runs that could be stopped: then it ends now.
    pub(super) fn stop(&mut self, end: End) -> Option<End> {
        if self.stopping.is_some() {
            return None;
        }
        if self.orphaned {
            return Some(end);
        }
        self.stopping = Some((end, Instant::now() + STOPPING));
        self.remember_usage();
        // Held until the agent was told. A call that is cut before looks like a lost connection: OpenCode
        // begins another try, and its abort may then not be heard.
        let grant = self.grant.take();
        self.asked = 0;
        let telling = self.recovery.take();
        let (link, remote_id) = (self.link.clone(), self.remote_id.clone());
        let (engine, family) = (self.context.engine.clone(), self.subscription.family());
        let workspace = self.context.config.workspace.clone();
        self.inquiry = Some(Box::pin(async move {
            if let Some(telling) = telling {
                // A prompt that arrives after the abort would begin what nobody wants any more.
                tokio::time::timeout(TELLING, telling).await.ok();
            }
            if let Err(error) = link.client.abort(&remote_id, ABORT).await {
                tracing::warn!(%error, "the engine did not abort the turn");
            }
            drop(grant);
            // Also what left the process group of its command.
            let escaped = engine.end_tools(family).await;
            if escaped > 0 {
                tracing::info!(
                    processes = escaped,
                    "ended what the turn's commands left behind"
                );
            }
            find_out(&link, &remote_id, &workspace).await
        }));
        None
    }

    pub(super) fn time_is_up(&mut self) -> Option<End> {
        if let Some((end, _)) = self.stopping.take() {
            return Some(end);
        }
        self.stop(closing::timeout(self.context.config.turn_timeout))
    }

    /// Asks the child whether the turn has ended, unless that is being asked.
    pub(super) fn inquire(&mut self, after: Duration) {
        if self.inquiry.is_some() {
            self.inquire_again = true;
            return;
        }
        self.inquire_again = false;
        let (link, remote_id) = (self.link.clone(), self.remote_id.clone());
        let workspace = self.context.config.workspace.clone();
        self.inquiry = Some(Box::pin(async move {
            tokio::time::sleep(after).await;
            find_out(&link, &remote_id, &workspace).await
        }));
    }

    pub(super) fn judge(&mut self, findings: Findings) -> Option<End> {
        let (status, messages) = match findings {
            Ok(findings) => findings,
            // They will not get smaller: what the feed told has to do.
            Err(CallError::TooLarge { .. }) => return Some(self.end_unread()),
            Err(error) => {
                tracing::warn!(%error, "could not ask whether a turn has ended");
                self.inquire(ASK_AGAIN);
                return None;
            }
        };
        let facts = Facts {
            status: &status,
            last: ending::last_of_turn(&messages, self.before.as_deref()),
            error: self.translator.turn_error(),
            cancelled: self.stopping.is_some(),
            asked: self.asked,
        };
        match ending::decide(&facts) {
            Verdict::NotYet if self.inquire_again => self.inquire(Duration::ZERO),
            Verdict::NotYet => {}
            Verdict::AskAgain(wait) => {
                self.asked += 1;
                self.inquire(wait);
            }
            // With the child this turn goes too, and on in the next one.
            Verdict::Ended(end) if self.stopping.is_none() && ending::shows_broken_child(&end) => {
                self.replace_child();
            }
            Verdict::Ended(end) => {
                // What the last events would have said, if they are still on their way.
                self.recall(messages);
                let end = closing::refine(end, self.grant.as_ref());
                return Some(self.stopping.take().map_or(end, |(reason, _)| reason));
            }
        }
        None
    }

    fn replace_child(&self) {
        let generation = self.link.generation;
        tracing::warn!(
            session.id = self.turn_handle.session.id,
            child.generation = generation.get(),
            "the engine can do no turn any more; the next one takes its subscription"
        );
        let why = "an aborted turn left it in a state in which every turn fails";
        self.context.engine.replace(generation, why);
    }

    /// The end of an idle turn whose messages are too large to be read.
    fn end_unread(&mut self) -> End {
        tracing::warn!(
            "the messages of a turn are too large to be read; it ends with what was streamed"
        );
        let end = self.translator.turn_error().map_or(
            End::Complete {
                finish_reason: None,
            },
            |error| End::Failed(classify(error)),
        );
        let end = closing::refine(end, self.grant.as_ref());
        self.stopping.take().map_or(end, |(reason, _)| reason)
    }

    pub(super) fn begin_resync(&mut self) {
        let family: Vec<(String, Option<u64>)> = self
            .translator
            .sequences()
            .map(|(id, seen)| (id.to_owned(), seen))
            .collect();
        let others = self.context.demux.others(&family);
        self.resync = Some(Box::pin(resync::ask(self.link.clone(), family, others)));
    }

    pub(super) fn catch_up(&mut self, mut missed: Missed) -> Option<End> {
        let now = Timestamp::now();
        let (history, messages) = (missed.history, &mut missed.messages);
        self.translator
            .apply_missed(history, messages, now, &mut self.batch);
        self.recall(missed.messages);
        self.note_activity();
        // The end may be among what was missed.
        self.inquire(Duration::ZERO);
        self.apply_signals()
    }

    pub(super) fn recall(&mut self, messages: Vec<Message>) {
        let now = Timestamp::now();
        for message in messages {
            self.translator.apply_message(message, now, &mut self.batch);
        }
    }

    /// Says why nothing is heard: once, and again when it is for another reason.
    pub(super) fn look(&mut self) {
        let silence = self.last_activity_at.elapsed();
        if self.stopping.is_some()
            || self.recovery.is_some()
            || silence < self.context.config.stall_after
        {
            return;
        }
        let tool = self.turn_handle.session.status().current_tool.clone();
        let (kind, reason) = match (self.grant.as_ref().map(Grant::wait), tool) {
            (Some(Wait::Provider { deadline, .. }), _) => {
                let until = Timestamp::from(deadline);
                (
                    "provider",
                    format!("waiting for the model provider until {until}"),
                )
            }
            (Some(Wait::Retry { until }), _) => {
                let until = Timestamp::from(until);
                (
                    "retry",
                    format!("the model provider is asked again at {until}"),
                )
            }
            (Some(Wait::Answering { .. }), _) => (
                "answering",
                "the model's answer comes in, but the engine says nothing".into(),
            ),
            (_, Some(tool)) => {
                let seconds = silence.as_secs();
                (
                    "tool",
                    format!("the tool {tool} is running and has said nothing for {seconds} s"),
                )
            }
            _ => (
                "silent",
                format!(
                    "nothing was note_activity from the engine for {} s",
                    silence.as_secs()
                ),
            ),
        };
        let before = self.stalled.replace(kind);
        if before == Some(kind) {
            return;
        }
        if before.is_none() {
            // The sign of the end may be what was lost. A session that works says so, and nothing changes.
            self.asked = 0;
            self.inquire(Duration::ZERO);
        }
        self.translator
            .set_stalled(Some(reason), Timestamp::now(), &mut self.batch);
    }
}

async fn find_out(link: &Link, remote_id: &str, workspace: &std::path::Path) -> Findings {
    let mut statuses = link.client.statuses(workspace).await?;
    let status = statuses.remove(remote_id).unwrap_or(SessionStatus::Idle);
    if status != SessionStatus::Idle {
        // Not over, whatever its messages say.
        return Ok((status, Vec::new()));
    }
    Ok((status, link.client.messages(remote_id).await?))
}
