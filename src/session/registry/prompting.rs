//! Whether a further prompt of a session begins a turn, waits for one, or becomes part of the one that runs.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use tokio::sync::{mpsc, oneshot, watch};

use uuid::Uuid;

use super::{Registry, repeats};
use crate::clock::Timestamp;
use crate::event::{Body, Event, PromptNote, PromptState};
use crate::journal::PromptRow;
use crate::model::ModelSpec;
use crate::session::accepted::{Acceptance, Accepted};
use crate::session::credentials::KeptBefore;
use crate::session::log::{Addition, TurnSpan};
use crate::session::prompt_row;
use crate::session::queue::{MAX_QUEUED, Queued};
use crate::session::record::{Command, PUBLISH_WAIT, Session, Steer};
use crate::session::request::{CreateError, OnBusy, Request, Task};
use crate::session::session_map::State;
use crate::session::status::Status;
use crate::session::turn::Outcome;
use crate::session::turn_handle::TurnOrigin;

/// How long a prompt for a running turn may take to reach the agent.
const STEER: Duration = Duration::from_secs(25);

/// What was decided, and what is to be done without the lock.
enum Admission {
    /// It came before.
    Repeated(Accepted, Option<watch::Receiver<Outcome>>),
    Begin(Box<Begin>),
    /// It waits; the session is idle, so that the first that waits is to begin.
    BeginNext(Accepted),
    Wait(Accepted),
    /// It waits, and the running turn is to be cancelled.
    Interrupt(Accepted, mpsc::Sender<Command>),
    /// It is for the running turn, whose driver says whether it comes in time. The number says how often the session was
    /// stopped before.
    Steer(Box<Request>, Accepted, mpsc::Sender<Command>, u64),
}

struct Begin {
    request: Request,
    model: Option<ModelSpec>,
    turn_handle: crate::session::TurnHandle,
    outcome_rx: watch::Receiver<Outcome>,
    accepted: Accepted,
}

// === impl Registry ===

impl Registry {
    /// Takes a further prompt of a session. One that begins at once is waited for until it runs or was refused, as a new
    /// session is.
    pub(crate) async fn prompt(
        &self,
        session: &Arc<Session>,
        request: Request,
        on_busy: OnBusy,
    ) -> Result<Accepted, CreateError> {
        // The turn before is over in every respect: its last event has its number.
        session.settled().await;
        self.load_key(session, &request).await?;
        match self.admit_prompt(session, request, on_busy, None)? {
            Admission::Steer(request, accepted, commands_tx, stops) => {
                let steering = (accepted, commands_tx, stops);
                self.steer(session, *request, steering).await
            }
            admission => self.carry_out(session, admission).await,
        }
    }

    /// Hands a prompt to the running turn. If that ends before the agent has it, it is the next turn, unless the session
    /// was stopped.
    async fn steer(
        &self,
        session: &Arc<Session>,
        request: Request,
        (accepted, commands_tx, stops): (Accepted, mpsc::Sender<Command>, u64),
    ) -> Result<Accepted, CreateError> {
        let (taken_tx, taken_rx) = oneshot::channel();
        let prompt = request.prompt.clone();
        let steering = async {
            let command = Command::Steer(Steer { prompt, taken_tx });
            commands_tx.send(command).await.is_ok() && taken_rx.await.unwrap_or(false)
        };
        if tokio::time::timeout(STEER, steering).await.unwrap_or(false) {
            let (turn, from) = (accepted.turn, accepted.from.seq);
            let row = prompt_row::taken(&new_id(), turn, &request, from, true);
            repeats::remember(session, &request, &accepted, None);
            self.note(session, (PromptState::Steered, &request), row, None);
            self.noted(session).await;
            return Ok(accepted);
        }
        session.settled().await;
        let admission = self.admit_prompt(session, request, OnBusy::Queue, Some(stops))?;
        self.carry_out(session, admission).await
    }

    async fn carry_out(
        &self,
        session: &Arc<Session>,
        admission: Admission,
    ) -> Result<Accepted, CreateError> {
        match admission {
            // It was not asked for again.
            Admission::Steer(_, accepted, ..) => Ok(accepted),
            Admission::Repeated(accepted, outcome_rx) => {
                if let Some(outcome_rx) = outcome_rx {
                    let (session, after) = (Arc::clone(session), accepted.from.seq);
                    self.outcome(session, outcome_rx, after).await?;
                }
                Ok(accepted)
            }
            Admission::Begin(begin) => {
                let Begin {
                    request,
                    model,
                    turn_handle,
                    outcome_rx,
                    accepted,
                } = *begin;
                self.start(request, model, turn_handle)?;
                let (session, after) = (Arc::clone(session), accepted.from.seq);
                self.outcome(session, outcome_rx, after).await?;
                Ok(accepted)
            }
            Admission::BeginNext(accepted) => {
                self.shared.scheduler.begin_next(session);
                self.noted(session).await;
                Ok(accepted)
            }
            Admission::Wait(accepted) => {
                self.noted(session).await;
                Ok(accepted)
            }
            Admission::Interrupt(accepted, commands_tx) => {
                // Nobody waits for that end, and an error means that the turn has ended.
                let (done_tx, _) = oneshot::channel();
                drop(commands_tx.send(Command::Cancel(done_tx)).await);
                self.noted(session).await;
                Ok(accepted)
            }
        }
    }

    /// Withdraws turn `turn`, and says whether it waited.
    pub(crate) async fn withdraw(&self, session: &Arc<Session>, turn: u32) -> bool {
        let sessions = self.shared.sessions.lock();
        let withdrawn = session.queue.lock().withdraw(turn);
        let waited = !self
            .note_withdrawn(session, withdrawn.as_slice())
            .is_empty();
        drop(sessions);
        if waited {
            self.noted(session).await;
        }
        waited
    }

    /// Ends a session: what waits is withdrawn, what runs is cancelled, and its key is dropped. The caller has the
    /// deadline; what it does not wait for is only the end of what runs.
    pub(crate) async fn stop(&self, session: &Arc<Session>) -> (Arc<Status>, Vec<u32>) {
        let withdrawn = self.begin_stop(session);
        let status = session.cancel().await;
        if !withdrawn.is_empty() {
            self.noted(session).await;
        }
        (status, withdrawn)
    }

    /// What a stop takes with it at once: all that waits, what is on its way to the running turn, and the key.
    fn begin_stop(&self, session: &Session) -> Vec<u32> {
        let mut sessions = self.shared.sessions.lock();
        sessions.credentials.remove(session.number);
        let withdrawn = session.queue.lock().stop();
        self.note_withdrawn(session, &withdrawn)
    }

    /// Tells the session's readers what was taken out of its queue. Returns the turns.
    fn note_withdrawn(&self, session: &Session, withdrawn: &[Queued]) -> Vec<u32> {
        for queued in withdrawn {
            let after = session.log.last_appended();
            let note = (PromptState::Withdrawn, &*queued.request);
            let row = prompt_row::taken(&queued.id, queued.turn, note.1, queued.from, false);
            self.note(session, note, row, Some(&queued.span));
            queued.span.begin(after);
        }
        withdrawn.iter().map(|queued| queued.turn).collect()
    }

    /// `was_steered`: it was for the turn that ran before, when the session had been stopped so often. It comes before what
    /// waits, and goes with a stop, which it was there before.
    fn admit_prompt(
        &self,
        session: &Arc<Session>,
        request: Request,
        on_busy: OnBusy,
        was_steered: Option<u64>,
    ) -> Result<Admission, CreateError> {
        self.check_open()?;
        let has_room = self.check_journal();
        let mut state = self.shared.sessions.lock();
        if !matches!(state.sessions.get(&session.id), Some(entry) if Arc::ptr_eq(&entry.session, session))
        {
            return Err(CreateError::Removed);
        }
        if let Some((accepted, outcome_rx)) = repeats::repeated(session, &request)? {
            return Ok(Admission::Repeated(accepted, outcome_rx));
        }
        let stops = session.queue.lock().stops();
        if was_steered.is_some_and(|before| before != stops) {
            return Err(CreateError::Stopped);
        }
        let status = session.status();
        let idle = status.state.is_final();
        if !idle && on_busy == OnBusy::Reject {
            return Err(CreateError::Running);
        }
        if status.remote_id.is_none() {
            return Err(if idle {
                CreateError::NeverBegan
            } else {
                CreateError::StillCreated
            });
        }
        let kept = state.credentials.get(session.number);
        let model = request.model.clone().apply(kept);
        if model.is_none() && !matches!(request.task, Task::Shell(_)) {
            return Err(CreateError::CredentialsRequired);
        }
        if idle {
            self.check_limit(&state)?;
            has_room?;
            let waits = session.queue.lock().has_held() && !request.prompt.is_empty();
            if !waits {
                return Ok(self.admit_next(state, session, request, model));
            }
        }
        if on_busy == OnBusy::Steer && !idle {
            let accepted = Accepted {
                turn: status.turn,
                acceptance: Acceptance::Steered,
                from: session.log.id(session.log.last_appended()),
                span: Arc::clone(&session.span.lock()),
            };
            let commands_tx = session.commands_tx.lock().clone();
            return Ok(Admission::Steer(
                Box::new(request),
                accepted,
                commands_tx,
                stops,
            ));
        }
        let interrupts = on_busy == OnBusy::Interrupt && !idle;
        let front = was_steered.is_some() || interrupts;
        let accepted = self.enqueue(session, &status, request, front)?;
        if session.queue.lock().has_held() {
            // Those that are held have a key again, which is this one's.
            if let Some(model) = model {
                state.credentials.begin_turn(session.number, model);
                session.queue.lock().release_held();
            }
        }
        Ok(if idle {
            Admission::BeginNext(accepted)
        } else if interrupts {
            Admission::Interrupt(accepted, session.commands_tx.lock().clone())
        } else {
            Admission::Wait(accepted)
        })
    }

    /// The session is idle, and this is its next turn.
    fn admit_next(
        &self,
        mut state: MutexGuard<'_, State>,
        session: &Arc<Session>,
        request: Request,
        model: Option<ModelSpec>,
    ) -> Admission {
        let earlier = session.status();
        let turn = session.queue.lock().next_turn(earlier.turn);
        if model.is_some() {
            session.queue.lock().release_held();
        }
        self.shared.scheduler.keep_end(session, &earlier);
        session.begin_turn(&earlier, turn, &request.policy);
        // The entry's own outcome stays: it answers whoever repeats the request that created the session.
        if let Some(entry) = state.sessions.get_mut(&session.id) {
            entry.removed = None;
        }
        let kept_before = match model.clone() {
            None => KeptBefore::Unchanged,
            Some(model) => match state.credentials.begin_turn(session.number, model) {
                None => KeptBefore::Nothing,
                Some(kept) => KeptBefore::Model(Box::new(kept)),
            },
        };
        let origin = TurnOrigin::Further {
            earlier,
            model: kept_before,
        };
        let after = session.log.last_appended();
        let (mut turn_handle, outcome_rx) = self.turn_handle(session, after, origin);
        turn_handle.set_prompt(prompt_row::taken(&new_id(), turn, &request, after, false));
        let accepted = Accepted {
            turn,
            acceptance: Acceptance::Running,
            from: session.log.id(after),
            span: turn_handle.span(),
        };
        repeats::remember(session, &request, &accepted, Some(outcome_rx.clone()));
        let begin = Begin {
            request,
            model,
            turn_handle,
            outcome_rx,
            accepted,
        };
        Admission::Begin(Box::new(begin))
    }

    fn enqueue(
        &self,
        session: &Session,
        status: &Status,
        request: Request,
        front: bool,
    ) -> Result<Accepted, CreateError> {
        let mut queue = session.queue.lock();
        if queue.is_full() {
            return Err(CreateError::QueueFull(MAX_QUEUED));
        }
        let from = session.log.last_appended();
        let queued = Queued {
            id: new_id(),
            from,
            turn: queue.next_turn(status.turn),
            at: Timestamp::now(),
            request: Box::new(request),
            held: false,
            span: Arc::new(TurnSpan::new()),
        };
        drop(queue);
        let accepted = Accepted {
            turn: queued.turn,
            acceptance: Acceptance::Queued,
            from: session.log.id(from),
            span: Arc::clone(&queued.span),
        };
        repeats::remember(session, &queued.request, &accepted, None);
        let note = (PromptState::Queued, &*queued.request);
        let row = prompt_row::waiting(&queued, self.shared.config.keep_prompts);
        self.note(session, note, row, None);
        let mut queue = session.queue.lock();
        if front {
            queue.push_front(queued);
        } else {
            queue.push_back(queued);
        }
        Ok(accepted)
    }

    /// Tells the session's readers what became of a prompt.
    pub(super) fn note(
        &self,
        session: &Session,
        (state, request): (PromptState, &Request),
        prompt: PromptRow,
        last_of: Option<&TurnSpan>,
    ) {
        let shown = self.shared.config.keep_prompts && state != PromptState::Withdrawn;
        let body = Body::Prompt(PromptNote {
            state,
            text: shown.then(|| request.prompt.shown()),
        });
        let frame = Event::new(Timestamp::now(), body).encode(prompt.turn);
        session.log.add(Addition {
            row: Some(session.row()),
            last_of,
            prompt: Some(prompt),
            ..Addition::of(frame)
        });
    }

    /// Waits until what was noted of a session is on disk: whoever is told of it must find it after a restart.
    async fn noted(&self, session: &Session) {
        drop(tokio::time::timeout(PUBLISH_WAIT, session.log.written()).await);
    }
}

/// By which the journal knows a prompt.
fn new_id() -> String {
    Uuid::now_v7().to_string()
}
