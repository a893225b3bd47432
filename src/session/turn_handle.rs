//! The driver's side of a session: where commands come from and results go to.

mod scheduling;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::beginning::Beginning;
use super::log::{Addition, TurnSpan};
use super::outcome::Outcome;
use super::record::{Command, Session};
use super::request::CreateError;
use super::session_map::{BeforeTurn, SessionMap};
use super::status::{Problem, Status};
use super::turn::TurnKind;
use super::turn_observers::TurnObservers;
use super::unsent::Unsent;
use crate::clock::Timestamp;
use crate::event::{self, Body, Event, Failure, FailureCode, State};
use crate::journal::PromptRow;
use crate::trace::{TraceContext, TurnTrace};

/// A turn, for the driver.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) kind: TurnKind,
    pub(crate) turn_handle: TurnHandle,
}

/// Dropping it before the turn has begun refuses the turn; dropping it before the turn has ended fails it.
#[derive(Debug)]
pub(crate) struct TurnHandle {
    pub(crate) session: Arc<Session>,
    commands_rx: mpsc::Receiver<Command>,
    /// What came for the running turn before it ran.
    early_commands: VecDeque<Command>,
    /// The number of the turn, which each of its events has.
    turn: u32,
    span: Arc<TurnSpan>,
    origin: TurnOrigin,
    /// What becomes of the prompt with the end of the turn.
    prompt: Option<PromptRow>,
    /// What the agent may not have of the turn that this one goes on with.
    unsent: Option<Unsent>,
    /// Its beginning was handed to the disk.
    recorded: Arc<AtomicBool>,
    outcome_tx: watch::Sender<Outcome>,
    scheduler: Scheduler,
    observers: TurnObservers,
}

/// What becomes of a turn that does not begin.
#[derive(Debug)]
pub(super) enum TurnOrigin {
    /// The session goes with it.
    New,
    /// The session is again as it was.
    Further(BeforeTurn),
    /// Its client was told that it will run, so it ends with an event.
    Queued,
}

/// Begins turns. A cheap clone.
#[derive(Clone, Debug)]
pub(super) struct Scheduler {
    pub(super) sessions: Arc<SessionMap>,
    pub(super) turns_tx: mpsc::Sender<Turn>,
    /// Set once: no new turns.
    pub(super) closed: CancellationToken,
    /// Prompts that wait are kept for the next process.
    pub(super) keeps_queues: bool,
    /// What prompts say may be written down.
    pub(super) keeps_words: bool,
    /// How long the model of a session is kept after a turn.
    pub(super) credential_retention: Duration,
    /// The backend is told how turns end.
    pub(super) tells_ends: bool,
}

/// Commands that wait for a session's driver: a cancel each, and it looks between any two events.
const COMMANDS: usize = 16;

// === impl TurnHandle ===

impl TurnHandle {
    /// For the next turn of a session. The receiver gets the result of its beginning.
    /// `parent` is the span of the request that asked for it.
    pub(super) fn new(
        session: Arc<Session>,
        (span, parent): (Arc<TurnSpan>, Option<TraceContext>),
        origin: TurnOrigin,
        scheduler: Scheduler,
    ) -> (Self, watch::Receiver<Outcome>) {
        let (commands_tx, commands_rx) = mpsc::channel(COMMANDS);
        *session.commands_tx.lock() = commands_tx;
        *session.span.lock() = Arc::clone(&span);
        let (outcome_tx, outcome_rx) = watch::channel(None);
        let turn_handle = Self {
            observers: TurnObservers::new(&session, matches!(origin, TurnOrigin::New), parent),
            turn: session.status().turn,
            session,
            commands_rx,
            early_commands: VecDeque::new(),
            span,
            origin,
            prompt: None,
            unsent: None,
            recorded: Arc::default(),
            outcome_tx,
            scheduler,
        };
        (turn_handle, outcome_rx)
    }

    pub(super) fn set_prompt(&mut self, prompt: PromptRow) {
        self.prompt = Some(prompt);
    }

    /// The turn goes on with the one before, of which the agent may not have this. Unless another came between them.
    pub(super) fn set_unsent(&mut self, unsent: Option<Unsent>) {
        if let TurnOrigin::Further(before) = &self.origin {
            self.unsent = unsent.filter(|unsent| unsent.turn == before.status.turn);
        }
    }

    pub(crate) const fn turn(&self) -> u32 {
        self.turn
    }

    pub(super) fn span(&self) -> Arc<TurnSpan> {
        Arc::clone(&self.span)
    }

    pub(crate) const fn trace(&self) -> &TurnTrace {
        self.observers.trace()
    }

    /// What notes on disk that the turn begins.
    pub(crate) fn beginning(&mut self) -> Beginning {
        Beginning::new(
            Arc::clone(&self.session),
            (self.prompt.clone(), self.scheduler.keeps_words),
            self.unsent.take(),
            Arc::clone(&self.recorded),
        )
    }

    /// The turn runs: its client may be told. `before` is OpenCode's newest message before it.
    pub(crate) fn accept(&self, remote_id: &str, before: Option<String>) {
        self.update(|status| {
            status.state = State::Running;
            status.remote_id = Some(remote_id.to_owned());
            status.begun = true;
            status.before = before;
            // With the prompt it became final.
            status.reverted = None;
        });
        self.session.log.begin_turn();
        let begins = !self.recorded.load(Ordering::Relaxed);
        self.session.log.record(self.session.row(), begins);
        self.observers.began();
        self.set_begun();
    }

    /// Answers whoever waits for the beginning of the turn: it runs.
    pub(super) fn set_begun(&self) {
        self.outcome_tx
            .send_replace(Some(Ok(self.session.created())));
    }

    /// The turn did not come about: a new session's id is free again, an older one is as it was.
    pub(crate) fn refuse(self, error: CreateError) {
        self.give_up(error);
    }

    /// The next command of a client. Nothing once the session is gone. Cancel-safe.
    pub(crate) async fn command(&mut self) -> Option<Command> {
        match self.early_commands.pop_front() {
            Some(command) => Some(command),
            None => self.commands_rx.recv().await,
        }
    }

    /// Waits until a client wants the end of a turn that does not run yet, and returns who waits for that. Other commands
    /// are kept until it runs. Cancel-safe.
    pub(crate) async fn cancelled(&mut self) -> Option<oneshot::Sender<()>> {
        loop {
            match self.commands_rx.recv().await? {
                Command::Cancel(done_tx) => return Some(done_tx),
                // One too many is dropped, which says that it is not part of the turn.
                steer @ Command::Steer(_) if self.early_commands.len() < COMMANDS => {
                    self.early_commands.push_back(steer);
                }
                Command::Steer(_) => {}
                // Nothing is asked yet: whoever answers is told what is known of the request.
                Command::Answer(answer) => drop(answer),
            }
        }
    }

    /// Changes what clients see of the session.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.session.update(change);
    }

    /// Adds an event to the session's log. With the last one the turn is over, on disk too.
    #[cfg(test)]
    pub(crate) fn append(&self, event: &Event) {
        self.publish(event, |_| {});
    }

    /// Changes what clients see of the session, and adds an event to its log. With the last one the turn is over, on disk
    /// too, and the next one of its queue begins.
    pub(crate) fn publish(&self, event: &Event, change: impl FnOnce(&mut Status)) {
        if event.is_terminal() {
            self.end(event, change);
            return;
        }
        // Before the log: whoever sees the event and asks for the status finds what it says.
        self.update(change);
        self.session.log.add(self.addition(event));
    }

    fn addition(&self, event: &Event) -> Addition<'static> {
        self.observers.note(&self.session.id, self.turn, event);
        let note = event.note.as_ref();
        Addition {
            note: note.map(|note| (note.part.clone(), note.value)),
            ..Addition::of(event.encode(self.turn))
        }
    }

    /// The end of this turn and the beginning of the next are one step for everybody else: nobody takes the place of a
    /// session whose prompts wait, and a prompt that comes now either finds the turn running or is the next one.
    fn end(&self, event: &Event, change: impl FnOnce(&mut Status)) {
        let scheduler = &self.scheduler;
        let mut sessions = scheduler.sessions.lock();
        self.update(change);
        let has_next = scheduler.has_next(&self.session);
        self.session.log.add(Addition {
            row: Some(self.session.row()),
            prompt: self
                .prompt
                .clone()
                .filter(|_| !self.leaves_words_on_disk(event)),
            ends: !has_next,
            last_of: Some(&self.span),
            ..self.addition(event)
        });
        let next = scheduler.next_turn(&mut sessions, &self.session);
        if next.is_none() {
            let retention = scheduler.credential_retention;
            let number = self.session.number;
            sessions
                .credentials
                .keep_for(number, retention, Instant::now());
        }
        drop(sessions);
        if let Some(next) = next {
            scheduler.start(next);
        }
        scheduler.sessions.on_turn_ended();
    }

    /// Whether the turn can be gone on with, and the agent may not have its prompt. Then what is on disk of that stays.
    fn leaves_words_on_disk(&self, end: &Event) -> bool {
        let Body::Error(failure) = &end.body else {
            return false;
        };
        let began = matches!(&*self.outcome_tx.borrow(), Some(Ok(_)));
        failure.resumable == Some(true) && (!began || failure.code == FailureCode::Interrupted)
    }

    /// The turn ran in a process that is gone, and nothing of it can be found.
    pub(super) fn fail_as_lost(&self) {
        self.fail(
            FailureCode::Interrupted,
            "the sidecar that ran this session is gone, and nothing of the session is here",
            false,
        );
    }

    fn fail(&self, code: FailureCode, sentence: &str, resumable: bool) {
        let at = Timestamp::now();
        let failure = Failure::fatal(code, sentence, resumable);
        let problem = Problem {
            code: code.as_str().into(),
            sentence: sentence.into(),
        };
        self.publish(&Event::new(at, Body::Error(failure)), |status| {
            status.state = State::Failed;
            status.problem = Some(problem);
            set_ended(status, at);
        });
    }

    fn give_up(&self, error: CreateError) {
        if self.outcome_tx.borrow().is_some() {
            return;
        }
        match &self.origin {
            TurnOrigin::New => self.scheduler.sessions.discard(&self.session),
            TurnOrigin::Further(before) => {
                let recorded = self.recorded.load(Ordering::Relaxed);
                let recorded = self.prompt.clone().filter(|_| recorded);
                let (sessions, keeps_words) =
                    (&self.scheduler.sessions, self.scheduler.keeps_words);
                sessions.undo_turn(&self.session, before.clone(), recorded, keeps_words);
                // What was queued behind it comes now.
                self.scheduler.begin_next(&self.session);
            }
            TurnOrigin::Queued => self.end_unbegun(&error),
        }
        self.outcome_tx.send_replace(Some(Err(error)));
    }

    /// Whether the session's turn is this one, and has not ended.
    fn is_current(&self) -> bool {
        let status = self.session.status();
        status.turn == self.turn && !status.state.is_final()
    }

    /// A turn that was promised did not begin: its readers are told why.
    fn end_unbegun(&self, error: &CreateError) {
        if *error == CreateError::Cancelled {
            let (at, state) = (Timestamp::now(), State::Cancelled);
            let status = event::Status {
                state,
                progress: 0,
                phase: None,
                current_tool: None,
                reason: None,
            };
            self.publish(&Event::new(at, Body::Status(status)), |status| {
                status.state = state;
                set_ended(status, at);
            });
        } else {
            self.fail(
                error.failure_code(),
                &error.for_clients(),
                error.is_resumable(),
            );
        }
    }
}

fn set_ended(status: &mut Status, at: Timestamp) {
    status.last_activity = at;
    status.completed_at = Some(at);
    status.ended = Some(Instant::now());
}

impl Drop for TurnHandle {
    /// A driver that fails must not leave a client waiting: neither for its 201 nor for an end.
    fn drop(&mut self) {
        let began = matches!(&*self.outcome_tx.borrow(), Some(Ok(_)));
        if !began {
            self.give_up(CreateError::Failed("the session's driver ended".into()));
        } else if self.is_current() {
            // A fault of ours, which must not keep readers waiting and the session active for ever.
            self.fail(
                FailureCode::Internal,
                "something failed in the sidecar; its log says what",
                true,
            );
        }
    }
}

#[cfg(test)]
mod tests;
