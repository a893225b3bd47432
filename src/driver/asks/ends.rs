//! How requests end: answered, taken along by a rejection, or withdrawn.

use super::broker::{Asks, ENDED_IDS, permit};
use super::open::Open;
use crate::clock::Timestamp;
use crate::event::{AnsweredBy, Event, Reply};
use crate::permission::{Action, Rule};
use crate::session::{Answer, AskKind, AskOutcome, EndedAsk, Subject};

/// What the answer `always` can allow in one session. Past that the oldest is forgotten, and asked for again.
const MAX_ALWAYS: usize = 256;

// === impl Asks ===

impl Asks {
    /// OpenCode has the answer that was given. Returns what to publish, and which other requests that answers.
    pub(crate) fn confirm(
        &mut self,
        request_id: &str,
        now: Timestamp,
    ) -> (Option<Event>, Vec<String>) {
        let given = self.find(request_id).and_then(|open| open.given.clone());
        let Some((answer, by)) = given else {
            return (None, Vec::new());
        };
        let event = self.end(request_id, answer, by, None, now);
        (event, self.decide_open())
    }

    /// OpenCode says how a permission was answered: by us, with another one, or by somebody who is its client too.
    pub(crate) fn replied(
        &mut self,
        request_id: &str,
        reply: &str,
        now: Timestamp,
    ) -> (Option<Event>, Vec<String>) {
        let Some(open) = self.find(request_id) else {
            return (None, Vec::new());
        };
        let rejected = reply == Reply::Reject.as_str();
        let given_rejects = |answer: &Answer| {
            matches!(
                answer,
                Answer::Permission {
                    reply: Reply::Reject,
                    ..
                }
            )
        };
        if let Some((answer, _)) = &open.given
            && given_rejects(answer) == rejected
        {
            return self.confirm(request_id, now);
        }
        let with = self.rejected.get(&open.session).filter(|_| rejected);
        let (by, with) = match with {
            Some((with, by)) => (*by, Some(with.clone())),
            None => (AnsweredBy::Client, None),
        };
        let answer = permit(if rejected { Reply::Reject } else { Reply::Once });
        let event = self.end(request_id, answer, by, with, now);
        (event, self.decide_open())
    }

    /// OpenCode says how a question was answered; `None`: it was rejected.
    pub(crate) fn question_replied(
        &mut self,
        request_id: &str,
        answers: Option<Vec<Vec<String>>>,
        now: Timestamp,
    ) -> Option<Event> {
        let given = self.find(request_id)?.given.as_ref();
        let by = given.map_or(AnsweredBy::Client, |(_, by)| *by);
        let answer = answers.map_or(Answer::QuestionsRejected, Answer::Questions);
        self.end(request_id, answer, by, None, now)
    }

    /// The request is not in OpenCode's list any more, and nobody heard how it ended.
    pub(crate) fn missed_end(&mut self, request_id: &str, now: Timestamp) -> Option<Event> {
        let open = self.find(request_id)?;
        if open.shown
            && let Some((answer, by)) = open.given.clone()
        {
            return self.end(request_id, answer, by, None, now);
        }
        if open.ask.kind() == AskKind::Permission
            && let Some((with, by)) = self.rejected.get(&open.session).cloned()
        {
            return self.end(request_id, permit(Reply::Reject), by, Some(with), now);
        }
        self.withdraw(request_id, "the agent waits for it no longer", now)
    }

    /// The call that asked has a result. Returns the requests that OpenCode still lists, and what to publish.
    pub(crate) fn call_ended(
        &mut self,
        call_id: &str,
        now: Timestamp,
    ) -> Vec<(String, AskKind, Option<Event>)> {
        let of_call = |open: &&Open| open.ask.call_id.as_deref() == Some(call_id);
        let ids: Vec<(String, AskKind)> = self
            .open
            .iter()
            .filter(of_call)
            .map(|open| (open.ask.request_id.clone(), open.ask.kind()))
            .collect();
        ids.into_iter()
            .map(|(id, kind)| {
                // An answer that is on its way was the reason why the call went on.
                let event = if self.given(&id).is_some() {
                    self.missed_end(&id, now)
                } else {
                    self.withdraw(&id, "the tool call that asked has ended", now)
                };
                (id, kind, event)
            })
            .collect()
    }

    pub(crate) fn withdraw_all(&mut self, reason: &str, now: Timestamp) -> Vec<Event> {
        let ids = self.open_ids();
        ids.into_iter()
            .filter_map(|(id, _)| self.withdraw(&id, reason, now))
            .collect()
    }

    pub(crate) fn withdraw(
        &mut self,
        request_id: &str,
        reason: &str,
        now: Timestamp,
    ) -> Option<Event> {
        let open = self.remove(request_id)?;
        let reason = reason.to_owned();
        let event = open.withdrawn(&reason, now);
        self.note_end(&open, AskOutcome::Withdrawn { reason });
        event
    }

    fn end(
        &mut self,
        request_id: &str,
        answer: Answer,
        by: AnsweredBy,
        with: Option<String>,
        now: Timestamp,
    ) -> Option<Event> {
        let open = self.remove(request_id)?;
        if answer.ends_run() {
            self.stopped.insert(open.session.clone());
        }
        if let Answer::Permission { reply, .. } = &answer {
            match (reply, &open.ask.subject) {
                (Reply::Reject, _) if with.is_none() => {
                    let newest = (request_id.to_owned(), by);
                    self.rejected.insert(open.session.clone(), newest);
                }
                (Reply::Always, Subject::Permission(request)) => {
                    for pattern in &request.always {
                        self.allow(&request.permission, pattern);
                    }
                }
                _ => {}
            }
        }
        let event = open.answered(&answer, by, with, now);
        self.note_end(&open, AskOutcome::Answered { answer, by });
        Some(event)
    }

    fn allow(&mut self, permission: &str, pattern: &str) {
        let rule = Rule {
            permission: permission.to_owned(),
            pattern: pattern.to_owned(),
            action: Action::Allow,
        };
        if !self.always.contains(&rule) {
            let surplus = (self.always.len() + 1).saturating_sub(MAX_ALWAYS);
            self.always.drain(..surplus);
            self.always.push(rule);
        }
    }

    /// Gives the answers that the rules have for open requests by now, and says for which.
    fn decide_open(&mut self) -> Vec<String> {
        let mut decided = Vec::new();
        for at in 0..self.open.len() {
            let Some(open) = self.open.get(at).filter(|open| open.given.is_none()) else {
                continue;
            };
            let (id, given) = (open.ask.request_id.clone(), self.decide(&open.ask.subject));
            if let (Some(given), Some(open)) = (given, self.open.get_mut(at)) {
                open.given = Some(given);
                decided.push(id);
            }
        }
        decided
    }

    fn note_end(&mut self, open: &Open, outcome: AskOutcome) {
        self.changed = true;
        if self.ended_ids.len() == ENDED_IDS {
            self.ended_ids.pop_front();
        }
        self.ended_ids.push_back(open.ask.request_id.clone());
        self.ended.push(EndedAsk {
            request_id: open.ask.request_id.clone(),
            kind: open.ask.kind(),
            outcome,
        });
    }
}
