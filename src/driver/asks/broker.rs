//! Which requests are open, and which answer is given to each.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::new_ask::{Asked, NewAsk, Settings};
use super::open::{self, Note, Open};
use crate::clock::Timestamp;
use crate::event::{Agent, AnsweredBy, Reply};
use crate::permission::{self, Rule};
use crate::session::{Answer, AnswerError, Ask, AskKind, AskOutcome, EndedAsk, Subject};

/// So many requests that ended are known again.
pub(super) const ENDED_IDS: usize = 64;

#[derive(Debug)]
pub(crate) struct Asks {
    pub(super) settings: Settings,
    pub(super) always: Vec<Rule>,
    pub(super) open: Vec<Open>,
    /// By OpenCode session: the newest request that was rejected. OpenCode rejects the session's others with it.
    pub(super) rejected: HashMap<String, (String, AnsweredBy)>,
    /// OpenCode's sessions whose run a rejection ended.
    pub(super) stopped: HashSet<String>,
    /// Ended since they were last taken.
    pub(super) ended: Vec<EndedAsk>,
    /// The newest that ended. A list that OpenCode made before may still have them.
    pub(super) ended_ids: VecDeque<String>,
    pub(super) changed: bool,
}

// === impl Asks ===

impl Default for Asks {
    fn default() -> Self {
        Self::new(Settings::default(), Vec::new())
    }
}

impl Asks {
    /// Takes what the note of an event says, if it is about a request: one that another process published, and whose end
    /// is still to come.
    pub(crate) fn restore(&mut self, note: &str, value: u64, now: Timestamp) -> bool {
        let Some(restored) = open::restore(note, value) else {
            return false;
        };
        if let Note::Open(ask) = restored {
            self.open.push(Open::new(ask, now, Duration::ZERO, None));
        }
        true
    }

    /// OpenCode's session `session` is a subagent: what it had asked before that was known is that agent's.
    pub(crate) fn set_agent(&mut self, session: &str, agent: &Arc<Agent>) {
        for open in &mut self.open {
            if open.session == session
                && let Some(ask) = Arc::get_mut(&mut open.ask)
            {
                ask.agent = Some(agent.clone());
            }
        }
    }

    /// `always`: what was allowed before.
    pub(crate) fn new(settings: Settings, always: Vec<Rule>) -> Self {
        Self {
            settings,
            always,
            open: Vec::new(),
            rejected: HashMap::new(),
            stopped: HashSet::new(),
            ended: Vec::new(),
            ended_ids: VecDeque::new(),
            changed: false,
        }
    }

    pub(crate) const fn settings(&self) -> Settings {
        self.settings
    }

    /// Whether a person is waited for.
    pub(crate) fn is_waiting(&self) -> bool {
        self.open.iter().any(|open| open.shown)
    }

    /// Whether there is something to publish in the status since this was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What clients can answer.
    pub(crate) fn shown(&self) -> Arc<[Arc<Ask>]> {
        let shown = self.open.iter().filter(|open| open.shown);
        shown.map(|open| open.ask.clone()).collect()
    }

    pub(crate) fn take_ended(&mut self) -> Vec<EndedAsk> {
        std::mem::take(&mut self.ended)
    }

    pub(crate) fn always(&self) -> &[Rule] {
        &self.always
    }

    /// Every request that OpenCode may still be waiting for.
    pub(crate) fn open_ids(&self) -> Vec<(String, AskKind)> {
        let open = self.open.iter();
        open.map(|open| (open.ask.request_id.clone(), open.ask.kind()))
            .collect()
    }

    /// Takes a new request.
    pub(crate) fn ask(&mut self, new: NewAsk, now: Timestamp) -> Asked {
        let id = &new.request_id;
        if self.find(id).is_some() || self.ended_ids.contains(id) {
            return Asked::Known;
        }
        let given = self.decide(&new.subject);
        let open = Open::new(new, now, self.settings.timeout, given);
        self.changed = true;
        let asked = match &open.given {
            Some(_) => Asked::Decided,
            None => Asked::Waits(Box::new(open.asked(now))),
        };
        self.open.push(open);
        asked
    }

    /// What a rule of the session answers.
    pub(super) fn decide(&self, subject: &Subject) -> Option<(Answer, AnsweredBy)> {
        let answer = match subject {
            Subject::Permission(request)
                if permission::allows(&self.always, &request.permission, &request.patterns) =>
            {
                permit(Reply::Once)
            }
            _ if self.settings.may_ask => return None,
            Subject::Permission(_) => permit(Reply::Reject),
            Subject::Questions(_) => Answer::QuestionsRejected,
        };
        Some((answer, AnsweredBy::Rule))
    }

    /// Gives an answer, if it is the first. It is still to be sent.
    pub(crate) fn give(
        &mut self,
        request_id: &str,
        answer: Answer,
        by: AnsweredBy,
    ) -> Result<(), AnswerError> {
        let kind = answer.kind();
        let open = self.open.iter_mut();
        let mut open = open.filter(|open| open.shown && open.ask.kind() == kind);
        let Some(open) = open.find(|open| open.ask.request_id == request_id) else {
            return Err(AnswerError::Unknown);
        };
        if let Some((answer, by)) = open.given.clone() {
            return Err(AnswerError::Ended(AskOutcome::Answered { answer, by }));
        }
        open.check(&answer)?;
        open.given = Some((answer, by));
        Ok(())
    }

    /// Gives the answer of a request that nobody has answered in time. False if somebody has.
    pub(crate) fn give_default(&mut self, request_id: &str) -> bool {
        let answer = match self.find(request_id).map(|open| open.ask.kind()) {
            Some(AskKind::Permission) => permit(self.settings.default),
            Some(AskKind::Question) => Answer::QuestionsRejected,
            None => return false,
        };
        self.give(request_id, answer, AnsweredBy::Timeout).is_ok()
    }

    /// Whether an answer that no client gave is still to reach OpenCode.
    pub(crate) fn is_decided(&self, request_id: &str) -> bool {
        let given = self.find(request_id).and_then(|open| open.given.as_ref());
        given.is_some_and(|(_, by)| *by != AnsweredBy::Client)
    }

    pub(crate) fn is_open(&self, request_id: &str) -> bool {
        self.find(request_id).is_some()
    }

    /// Whether a rejection without a message ended what the agent of `session` was doing.
    pub(crate) fn has_stopped(&self, session: &str) -> bool {
        self.stopped.contains(session)
    }

    /// The answer that is to be sent.
    pub(crate) fn given(&self, request_id: &str) -> Option<&Answer> {
        let (answer, _) = self.find(request_id)?.given.as_ref()?;
        Some(answer)
    }

    /// The answer did not reach OpenCode. After a client's, the request waits again. What a rule or the deadline answered
    /// stays the answer, and is sent once more: a request that a rule covers must not wait for a person after all.
    pub(crate) fn take_back(&mut self, request_id: &str) {
        if !self.is_decided(request_id) {
            self.forget_answer(request_id);
        }
    }

    /// OpenCode does not know the request any more, so the answer is not how it ended.
    pub(crate) fn forget_answer(&mut self, request_id: &str) {
        if let Some(open) = self.find_mut(request_id)
            && open.shown
        {
            open.given = None;
        }
    }

    pub(super) fn find(&self, request_id: &str) -> Option<&Open> {
        let mut open = self.open.iter();
        open.find(|open| open.ask.request_id == request_id)
    }

    pub(super) fn find_mut(&mut self, request_id: &str) -> Option<&mut Open> {
        let mut open = self.open.iter_mut();
        open.find(|open| open.ask.request_id == request_id)
    }

    pub(super) fn remove(&mut self, request_id: &str) -> Option<Open> {
        let at = self
            .open
            .iter()
            .position(|open| open.ask.request_id == request_id)?;
        Some(self.open.remove(at))
    }
}

pub(super) fn permit(reply: Reply) -> Answer {
    let message = None;
    Answer::Permission { reply, message }
}
