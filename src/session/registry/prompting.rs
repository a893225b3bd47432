//! Whether a further prompt of a session begins a turn, waits for one, or becomes part of the one that runs.

use std::sync::Arc;

use parking_lot::MutexGuard;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use uuid::Uuid;

use super::{Registry, repeats};
use crate::clock::Timestamp;
use crate::event::PromptState;
use crate::journal::PromptRow;
use crate::model::{ModelChange, ModelSpec};
use crate::session::accepted::{Acceptance, Accepted};
use crate::session::credentials::KeptBefore;
use crate::session::log::TurnSpan;
use crate::session::outcome::Outcome;
use crate::session::prompt_note::PromptNotice;
use crate::session::prompt_row;
use crate::session::queue::{MAX_QUEUED, Queued};
use crate::session::record::{Command, Session};
use crate::session::request::{CreateError, OnBusy, Request, Task};
use crate::session::session_map::{BeforeTurn, State};
use crate::session::status::Status;
use crate::session::steer::{Steer, SteerOutcome, SteerRecord};
use crate::session::turn_handle::TurnOrigin;
use crate::trace;

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
        self.load_key(session, request.idempotency.as_ref()).await?;
        let unsent = self.unsent(session, &request).await?;
        match self.admit_prompt(session, request, on_busy, None)? {
            Admission::Steer(request, accepted, commands_tx, stops) => {
                let steering = (accepted, commands_tx, stops);
                self.steer(session, *request, steering).await
            }
            Admission::Begin(mut begin) => {
                begin.turn_handle.set_unsent(unsent);
                self.carry_out(session, Admission::Begin(begin)).await
            }
            admission => self.carry_out(session, admission).await,
        }
    }

    /// Hands a prompt to the running turn, whose task has the deadline. If that ends before the agent has it, it is the
    /// next turn, unless the session was stopped.
    async fn steer(
        &self,
        session: &Arc<Session>,
        request: Request,
        (accepted, commands_tx, stops): (Accepted, mpsc::Sender<Command>, u64),
    ) -> Result<Accepted, CreateError> {
        let (outcome_tx, outcome_rx) = oneshot::channel();
        let steer = Box::new(Steer {
            prompt: request.prompt.clone(),
            record: self.steer_record(&request, &accepted),
            since: Instant::now(),
            outcome_tx,
        });
        // An error means that the turn has ended.
        drop(commands_tx.send(Command::Steer(steer)).await);
        match outcome_rx.await.unwrap_or(SteerOutcome::NotTaken) {
            SteerOutcome::Taken => {
                session.noted().await;
                Ok(accepted)
            }
            SteerOutcome::NotTaken => {
                session.settled().await;
                let admission = self.admit_prompt(session, request, OnBusy::Queue, Some(stops))?;
                self.carry_out(session, admission).await
            }
            SteerOutcome::Unknown => Err(CreateError::SteerUnknown),
            SteerOutcome::KeyReused => Err(CreateError::KeyReused),
        }
    }

    /// What is noted of a prompt once it is part of the running turn.
    fn steer_record(&self, request: &Request, accepted: &Accepted) -> SteerRecord {
        let (turn, from) = (accepted.turn, accepted.from.seq);
        let shown = self.shared.config.keep_prompts;
        SteerRecord {
            row: prompt_row::taken(&new_id(), turn, request, from, true),
            text: shown.then(|| request.prompt.shown()),
            keyed: repeats::keyed(request, accepted, None),
        }
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
                session.noted().await;
                Ok(accepted)
            }
            Admission::Wait(accepted) => {
                session.noted().await;
                Ok(accepted)
            }
            Admission::Interrupt(accepted, commands_tx) => {
                // Nobody waits for that end, and an error means that the turn has ended.
                let (done_tx, _) = oneshot::channel();
                drop(commands_tx.send(Command::Cancel(done_tx)).await);
                session.noted().await;
                Ok(accepted)
            }
        }
    }

    /// `stops_before` is given for a prompt that was for the running turn, which ended before the agent had it: how often
    /// the session had been stopped when it came. It comes before what waits, and a stop since then takes it along.
    fn admit_prompt(
        &self,
        session: &Arc<Session>,
        request: Request,
        on_busy: OnBusy,
        stops_before: Option<u64>,
    ) -> Result<Admission, CreateError> {
        self.check_open()?;
        let has_room = self.check_journal();
        let mut state = self.shared.sessions.lock();
        if !matches!(state.sessions.get(&session.id), Some(entry) if Arc::ptr_eq(&entry.session, session))
        {
            return Err(CreateError::Removed);
        }
        if let Some((accepted, outcome_rx)) =
            repeats::repeated(session, request.idempotency.as_ref())?
        {
            if self.releases_held(&mut state, session, &request)? {
                return Ok(Admission::BeginNext(accepted));
            }
            return Ok(Admission::Repeated(accepted, outcome_rx));
        }
        let stops = session.queue.lock().stops();
        if stops_before.is_some_and(|before| before != stops) {
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
        // The first of those that are held leaves the queue at once.
        if !idle && session.queue.lock().is_full() {
            return Err(CreateError::QueueFull(MAX_QUEUED));
        }
        let is_first = stops_before.is_some() || interrupts;
        let accepted = self.enqueue(session, &status, request, is_first);
        if session.queue.lock().has_held() {
            // Those that are held have a key again, which is this one's.
            if let Some(model) = model {
                state.credentials.keep_while_running(session.number, model);
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

    /// A prompt that came before brings a key for those that are held. Returns whether the first of them is to begin.
    fn releases_held(
        &self,
        state: &mut State,
        session: &Session,
        request: &Request,
    ) -> Result<bool, CreateError> {
        let mut queue = session.queue.lock();
        let ModelChange::Whole(model) = &request.model else {
            return Ok(false);
        };
        if !queue.has_held() {
            return Ok(false);
        }
        let idle = session.is_final();
        if idle {
            self.check_limit(state)?;
        }
        state
            .credentials
            .keep_while_running(session.number, (**model).clone());
        queue.release_held();
        Ok(idle)
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
            Some(model) => match state.credentials.keep_while_running(session.number, model) {
                None => KeptBefore::Nothing,
                Some(kept) => KeptBefore::Model(Box::new(kept)),
            },
        };
        let origin = TurnOrigin::Further(BeforeTurn {
            status: earlier,
            span: Arc::clone(&session.span.lock()),
            model: kept_before,
        });
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
        is_first: bool,
    ) -> Accepted {
        let from = session.log.last_appended();
        let queued = Queued {
            id: new_id(),
            from,
            turn: session.queue.lock().next_turn(status.turn),
            at: Timestamp::now(),
            request: Box::new(request),
            held: false,
            is_first,
            span: Arc::new(TurnSpan::new()),
            trace: trace::current(),
        };
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
        session.queue.lock().push(queued);
        accepted
    }

    /// Tells the session's readers what became of a prompt.
    pub(super) fn note(
        &self,
        session: &Session,
        (state, request): (PromptState, &Request),
        row: PromptRow,
        last_of: Option<&TurnSpan>,
    ) {
        let shown = self.shared.config.keep_prompts && state != PromptState::Withdrawn;
        let notice = PromptNotice {
            state,
            text: shown.then(|| request.prompt.shown()),
            row,
        };
        session.note_prompt(notice, last_of);
    }
}

/// By which the journal knows a prompt.
fn new_id() -> String {
    Uuid::now_v7().to_string()
}
