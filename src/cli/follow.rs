//! Following a session: its events as lines, what goes on below them, answers to what the agent asks, and Ctrl-C.

mod calls;
mod form;
mod view;

use std::pin::pin;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::calls::{Calls, Done};
pub(super) use self::form::{Form, Owner, Until};
use self::view::{Said, Stopping, View, stopped};
use super::client::{Client, Session, Stream, StreamRequest, StreamStep, number};
use super::exit::{Exit, Outcome, Problem};
use super::plain_text::one_line;
use super::terminal::{KeyMode, Terminal, suspend, suspended, suspensions, typed};

/// Between two pictures of the row that moves.
const FRAME: Duration = Duration::from_millis(100);

/// Between two looks at the figures of the turn.
const FIGURES: Duration = Duration::from_secs(2);

/// How long the end of a turn that was stopped is waited for.
const STOPPED: Duration = Duration::from_secs(10);

/// What is followed, and how.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) client: Client,
    pub(super) session: String,
    pub(super) terminal: Terminal,
    pub(super) request: StreamRequest,
    pub(super) form: Form,
    /// Whether the model's thoughts are shown. They may be asked for without that: they have numbers too.
    pub(super) reasoning: bool,
    pub(super) full: bool,
    pub(super) until: Until,
    pub(super) owner: Owner,
    pub(super) timeout: Option<Duration>,
}

// === impl Follow ===

impl Follow {
    pub(super) async fn run(self) -> Outcome {
        let Self {
            client,
            session,
            terminal,
            request,
            form,
            reasoning,
            full,
            until,
            owner,
            timeout,
        } = self;
        let mut view = View::new(terminal, form, full, &session, until, owner);
        let (mut interrupt, mut terminate) = (
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
        );
        let mut key_mode = view.asks().then(KeyMode::enter).flatten();
        let mut suspensions = suspensions(key_mode.as_ref())?;
        let mut keys = view.asks().then(typed);
        let (mut figures, _stop_figures) = view.live.then(|| poll(&client, &session)).unzip();
        let mut ticks = tokio::time::interval(FRAME);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut stopping: Option<Stopping> = None;
        let mut stream = Stream::new(client.clone(), request);
        let mut calls = Calls::new(&client, &session);
        loop {
            let mut next = pin!(stream.next());
            let step = loop {
                let said = tokio::select! {
                    step = &mut next => break step.map_err(|problem| gave_up(problem, owner, &session))?,
                    _ = interrupt.recv() => match stopping {
                        // Nobody waits for a stop that does not come.
                        Some(_) => return Ok(stopped(stopping)),
                        None => view.interrupted().into_iter().collect(),
                    },
                    _ = terminate.recv() => vec![view.terminated()],
                    typed = typed_in(&mut keys) => view.typed(&typed),
                    () = suspended(&mut suspensions) => {
                        view.leave_terminal()?;
                        suspend(&mut key_mode);
                        Vec::new()
                    }
                    done = calls.next() => match done {
                        Done::Stopped(stopped) => { stopped?; Vec::new() }
                        Done::Answered(answered) => { view.answered(answered); Vec::new() }
                    },
                    () = until_deadline(deadline) => vec![Said::Stop(Stopping::Timeout)],
                    _ = ticks.tick(), if view.live => {
                        view.tick(figures.as_mut().and_then(|figures| figures.borrow_and_update().clone()));
                        Vec::new()
                    }
                };
                for said in said {
                    match said {
                        Said::Leave => return Ok(Exit::Interrupted),
                        Said::Detach => return view.detach(),
                        Said::Answer(answer) => calls.answer(answer),
                        // The end did not come either.
                        Said::Stop(_) if stopping.is_some() => return Ok(stopped(stopping)),
                        Said::Stop(why) => {
                            stopping = Some(why);
                            deadline = Some(Instant::now() + STOPPED);
                            calls.stop();
                        }
                    }
                }
                view.draw()?;
            };
            match step {
                StreamStep::Event(event) => {
                    if reasoning || event.text("source") != "reasoning" {
                        view.event(&event)?;
                    }
                    if until == Until::TurnEnds && event.is_terminal() {
                        return view.ended(&event, stopping);
                    }
                    if let (Until::Number(last), Some(number)) = (until, event.number())
                        && number >= last
                    {
                        return view.finish(Exit::Done);
                    }
                }
                StreamStep::Lost(reason) => view.lost(reason)?,
                StreamStep::End if until == Until::TurnEnds => {
                    // The end of the turn is before what is kept.
                    view.finish(Exit::Done)?;
                    return how_it_ended(&client.session(&session).await?);
                }
                StreamStep::End => return view.finish(Exit::Done),
            }
        }
    }
}

/// What is said where the sidecar stays away. The turn may go on without us.
fn gave_up(problem: Problem, owner: Owner, session: &str) -> Problem {
    let may_go_on = matches!(problem.exit, Exit::Unreachable | Exit::TryAgain);
    if !may_go_on || !owner.may_detach() {
        return problem;
    }
    let session = one_line(session);
    let sentence = format!(
        "{}; the turn may go on: `opencode-sidecar attach {session}` follows it again",
        problem.sentence
    );
    Problem::new(problem.exit, sentence)
}

/// How a turn ended whose end was not seen.
fn how_it_ended(session: &Session) -> Outcome {
    let error = session.error.as_ref().map(|error| one_line(&error.error));
    match session.status.as_str() {
        "completed" => Ok(Exit::Done),
        "cancelled" => Ok(Exit::Cancelled),
        "failed" => Err(Problem::failed(error.unwrap_or_else(|| "failed".into()))),
        state => Err(Problem::new(
            Exit::TryAgain,
            format!("the stream ended, and the session is {}", one_line(state)),
        )),
    }
}

/// The number of the newest event, up to which a log is shown that is not followed.
pub(super) fn up_to(session: &Session) -> Option<u64> {
    number(&session.last_event_id).filter(|last| *last > 0)
}

pub(super) fn listen(kind: SignalKind) -> Result<Signal, Problem> {
    signal(kind).map_err(|error| Problem::failed(format!("signals cannot be taken: {error}")))
}

pub(super) async fn typed_in(keys: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Vec<u8> {
    if let Some(receiver) = keys {
        if let Some(typed) = receiver.recv().await {
            return typed;
        }
        // Stdin is at its end.
        *keys = None;
    }
    std::future::pending().await
}

async fn until_deadline(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The session's figures, looked at now and then until the guard is dropped.
fn poll(client: &Client, session: &str) -> (watch::Receiver<Option<Session>>, DropGuard) {
    let (figures_tx, figures_rx) = watch::channel(None);
    let stop = CancellationToken::new();
    let (client, session, stopped) = (client.clone(), session.to_owned(), stop.clone());
    TaskTracker::new().spawn(async move {
        let looks = async {
            loop {
                tokio::time::sleep(FIGURES).await;
                // What cannot be had is not shown.
                if let Ok(session) = client.session(&session).await {
                    figures_tx.send_replace(Some(session));
                }
            }
        };
        stopped.run_until_cancelled(looks).await
    });
    (figures_rx, stop.drop_guard())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_was_not_seen_is_what_the_session_says() {
        let ended = |status: &str| {
            let session = Session {
                status: status.into(),
                ..Session::default()
            };
            match how_it_ended(&session) {
                Ok(exit) => exit,
                Err(problem) => problem.exit,
            }
        };
        assert_eq!(ended("completed"), Exit::Done);
        assert_eq!(ended("failed"), Exit::Failed);
        assert_eq!(ended("cancelled"), Exit::Cancelled);
        assert_eq!(ended("running"), Exit::TryAgain);
    }

    #[test]
    fn a_turn_that_may_go_on_is_named_where_the_sidecar_stays_away() {
        let away = || Problem::new(Exit::Unreachable, "no sidecar answers");
        let said = |owner| gave_up(away(), owner, "s1").sentence;
        assert!(said(Owner::This).ends_with("`opencode-sidecar attach s1` follows it again"));
        assert_eq!(said(Owner::ThisWithItsServer), "no sidecar answers");
    }
}
