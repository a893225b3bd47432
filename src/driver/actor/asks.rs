//! Answers to what the agents ask: those of clients, of rules, and of the deadline, sent to OpenCode one by one.
//!
//! While a person is waited for, the clock of the turn stands still.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::ask_calls::{Deadline, Sent};
use super::state::Actor;
use crate::clock::Timestamp;
use crate::driver::translate::End;
use crate::event::{AnsweredBy, Reply};
use crate::opencode::{CallError, Client};
use crate::session::{Answer, AnswerCommand, AnswerError, AskKind, AskOutcome};

/// How often an answer that no client gave is sent if OpenCode does not take it, and the pause in between, in which a
/// call has its own end. After that the request is given up; the turn's deadline remains.
const ATTEMPTS: u32 = 5;
const ATTEMPT_PAUSE: Duration = Duration::from_secs(6);

// === impl Actor ===

impl Actor {
    /// A person is asked, from now on until the deadline.
    pub(super) fn wait_for_answer(&mut self, request: String) {
        let timeout = self.turn.translator.asks.settings().timeout;
        self.asks.set_deadline(request, timeout);
    }

    /// A rule gave an answer.
    pub(super) fn send_decided(&mut self, request: String) {
        self.asks.set_deadline(request.clone(), ATTEMPT_PAUSE);
        self.send_answer(request);
    }

    /// An answer of a client. It is told what came of it once OpenCode has it.
    pub(super) fn on_answer(&mut self, command: AnswerCommand) -> Option<End> {
        let AnswerCommand {
            request_id,
            answer,
            result_tx,
        } = command;
        let (kind, asks) = (answer.kind(), &mut self.turn.translator.asks);
        match asks.give(&request_id, answer.clone(), AnsweredBy::Client) {
            Ok(()) => {
                let waiting = &mut self.asks.waiting;
                waiting.insert(request_id.clone(), (answer, result_tx));
                self.send_answer(request_id);
            }
            Err(error) => {
                let error = match error {
                    AnswerError::Unknown => self.ended_before(&request_id, kind),
                    error => error,
                };
                result_tx.send(Err(error)).ok();
            }
        }
        None
    }

    fn ended_before(&mut self, request: &str, kind: AskKind) -> AnswerError {
        // What ended just now is not in the status yet.
        self.show_asks();
        let status = self.turn_handle.session.status();
        let outcome = status.asks.outcome(request, kind).cloned();
        outcome.map_or(AnswerError::Unknown, AnswerError::Ended)
    }

    /// Sends the answer that was given to `request`.
    pub(super) fn send_answer(&mut self, request: String) {
        let Some(answer) = self.turn.translator.asks.given(&request).cloned() else {
            return;
        };
        let client = self.turn.connection.client.clone();
        let workspace = self.context.config.workspace.clone();
        self.asks.sending.push(Box::pin(async move {
            let result = send(&client, &workspace, &request, &answer).await;
            (request, result)
        }));
    }

    pub(super) fn on_sent(&mut self, (request, result): Sent) -> Option<End> {
        let now = Timestamp::now();
        let translator = &mut self.turn.translator;
        let taken = match result {
            Ok(()) => {
                translator.answer_taken(&request, now);
                true
            }
            // Another client of OpenCode was first, or nobody waits for it any more.
            Err(CallError::Status { status: 404, .. }) => {
                translator.asks.forget_answer(&request);
                translator.ask_gone(&request, now);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "an answer did not reach the agent");
                translator.asks.take_back(&request);
                false
            }
        };
        let end = self.apply_signals();
        if let Some((answer, result_tx)) = self.asks.waiting.remove(&request) {
            let result = if taken {
                // The client finds its answer in the stream.
                self.publish();
                self.verdict(&request, &answer)
            } else {
                Err(AnswerError::Unavailable)
            };
            // A client that does not wait any more needs no answer.
            result_tx.send(result).ok();
        }
        end
    }

    /// Whether `answer` is how the request ended.
    fn verdict(&self, request: &str, answer: &Answer) -> Result<(), AnswerError> {
        let status = self.turn_handle.session.status();
        let given = AskOutcome::Answered {
            by: AnsweredBy::Client,
            answer: answer.clone(),
        };
        match status.asks.outcome(request, answer.kind()) {
            Some(outcome) if *outcome == given => Ok(()),
            Some(outcome) => Err(AnswerError::Ended(outcome.clone())),
            None => Err(AnswerError::Unknown),
        }
    }

    /// Gives the default answer to what nobody answered in time, and sends once more what did not arrive.
    pub(super) fn on_ask_deadline(&mut self) -> Option<End> {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.asks.deadlines)
            .into_iter()
            .partition(|deadline| deadline.at <= now);
        self.asks.deadlines = later;
        for deadline in due {
            let translator = &mut self.turn.translator;
            let (request, attempts) = (deadline.request, deadline.attempts + 1);
            if attempts > ATTEMPTS {
                translator.asks.forget_answer(&request);
                translator.ask_gone(&request, Timestamp::now());
                continue;
            }
            // An answer of a client that is on its way comes first.
            if translator.asks.give_default(&request) || translator.asks.is_decided(&request) {
                self.send_answer(request.clone());
            }
            self.asks.deadlines.push(Deadline {
                request,
                at: now + ATTEMPT_PAUSE,
                attempts,
            });
        }
        self.apply_signals()
    }

    /// Shows clients what waits and what has ended, and stops and starts the clock of the turn.
    pub(super) fn show_asks(&mut self) {
        let asks = &mut self.turn.translator.asks;
        if !asks.take_changed() {
            return;
        }
        let (open, ended) = (asks.shown(), asks.take_ended());
        let deadlines = &mut self.asks.deadlines;
        deadlines.retain(|deadline| asks.is_open(&deadline.request));
        let always = asks.always();
        let rules_changed = *self.turn_handle.session.status().asks.always != *always;
        self.turn_handle.update(|status| {
            status.asks.open = open.clone();
            status.asks.add_ended(ended);
            if rules_changed {
                status.asks.always = always.into();
            }
        });
        if rules_changed {
            // What was allowed for the session is allowed after a restart too.
            let session = &self.turn_handle.session;
            session.log.record(session.row(), false);
        }
        self.run_clock(!open.is_empty());
    }

    fn run_clock(&mut self, waiting: bool) {
        match (waiting, self.asks.since) {
            (true, None) => {
                self.asks.since = Some(Instant::now());
                self.note_activity();
            }
            (false, Some(since)) => {
                self.deadline += since.elapsed();
                self.asks.since = None;
                self.note_activity();
            }
            _ => {}
        }
    }

    /// The child is gone, and with it everything that was on its way to it.
    pub(super) fn drop_answers(&mut self) {
        self.asks.sending.clear();
        // Their senders are told by the status how the request ended.
        self.show_asks();
        self.asks.waiting.clear();
    }
}

async fn send(
    client: &Client,
    workspace: &Path,
    request: &str,
    answer: &Answer,
) -> Result<(), CallError> {
    match answer {
        Answer::Permission { reply, message } => {
            let reply = match reply {
                Reply::Once | Reply::Always => Reply::Once,
                Reply::Reject => Reply::Reject,
            };
            client
                .answer_permission(workspace, request, reply.as_str(), message.as_deref())
                .await
        }
        Answer::Questions(answers) => client.answer_question(workspace, request, answers).await,
        Answer::QuestionsRejected => client.reject_question(workspace, request).await,
    }
}
