//! Following a session: its events as lines, what goes on below them, and Ctrl-C.

use std::pin::pin;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::client::{Client, Event, Session, Stream, StreamRequest, StreamStep, number};
use super::exit::{Exit, Outcome, Problem};
use super::progress::Progress;
use super::screen::Screen;
use super::terminal::{KeyMode, Terminal, typed};
use super::transcript::{Look, Transcript};

/// Between two pictures of the row that moves.
const FRAME: Duration = Duration::from_millis(100);

/// Between two looks at the figures of the turn.
const FIGURES: Duration = Duration::from_secs(2);

/// How long the end of a turn that was stopped is waited for.
const STOPPED: Duration = Duration::from_secs(10);

/// What is written of each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For a person.
    Text,
    /// One line of JSON.
    Json,
    /// As the stream has it.
    Raw,
    /// Nothing but the last message.
    Answer,
}

/// When it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The turn's end, which also is the exit code.
    TurnEnds,
    /// The session is idle.
    Idle,
    /// The event with this number was shown.
    Number(u64),
}

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
    /// Whether Ctrl-C may stop the turn: it was begun by this command.
    pub(super) owns_turn: bool,
    pub(super) timeout: Option<Duration>,
}

/// What is shown, and what has been asked.
struct View {
    form: Form,
    terminal: Terminal,
    session: String,
    screen: Screen,
    transcript: Transcript,
    progress: Progress,
    began: Instant,
    live: bool,
    asking: bool,
}

/// Why the turn is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    Asked,
    Timeout,
}

/// What a signal, a key or the clock says.
enum Said {
    Nothing,
    Stop(Stopping),
    Detach,
    Leave,
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
            owns_turn,
            timeout,
        } = self;
        let mut view = View::new(terminal, form, full, &session, until);
        let (mut interrupt, mut terminate) = (
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
        );
        let _key_mode = view.asks(owns_turn).then(KeyMode::enter);
        let mut keys = view.asks(owns_turn).then(typed);
        let (mut figures, _stop_figures) = view.live.then(|| poll(&client, &session)).unzip();
        let mut ticks = tokio::time::interval(FRAME);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut stopping: Option<Stopping> = None;
        let mut stream = Stream::new(client.clone(), request);
        loop {
            let mut next = pin!(stream.next());
            let step = loop {
                let said = tokio::select! {
                    step = &mut next => break step?,
                    _ = interrupt.recv() => view.interrupted(owns_turn),
                    _ = terminate.recv() => if owns_turn { Said::Stop(Stopping::Asked) } else { Said::Leave },
                    typed = typed_in(&mut keys) => view.typed(&typed),
                    () = until_deadline(deadline) => Said::Stop(Stopping::Timeout),
                    _ = ticks.tick(), if view.live => {
                        view.progress.session = figures.as_mut().and_then(|figures| figures.borrow_and_update().clone());
                        Said::Nothing
                    }
                };
                match said {
                    Said::Nothing => {}
                    Said::Leave => return Ok(Exit::Interrupted),
                    Said::Detach => return view.detach(),
                    // The end did not come either.
                    Said::Stop(_) if stopping.is_some() => return Ok(stopped(stopping)),
                    Said::Stop(why) => {
                        stopping = Some(why);
                        deadline = Some(Instant::now() + STOPPED);
                        client.stop(&session).await?;
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
                StreamStep::Lost(reason) => {
                    view.progress.lost = Some(reason);
                    view.draw()?;
                }
                StreamStep::End => return view.finish(Exit::Done),
            }
        }
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

fn stopped(stopping: Option<Stopping>) -> Exit {
    match stopping {
        Some(Stopping::Timeout) => Exit::Timeout,
        Some(Stopping::Asked) => Exit::Interrupted,
        None => Exit::Cancelled,
    }
}

// === impl View ===

impl View {
    fn new(terminal: Terminal, form: Form, full: bool, session: &str, until: Until) -> Self {
        let columns = terminal.columns().filter(|_| form == Form::Text);
        let look = Look {
            style: terminal.style(),
            columns,
            full,
        };
        Self {
            form,
            terminal,
            session: session.to_owned(),
            screen: Screen::new(terminal),
            transcript: Transcript::new(look),
            progress: Progress::default(),
            began: Instant::now(),
            live: terminal.output
                && matches!(form, Form::Text | Form::Answer)
                && !matches!(until, Until::Number(_)),
            asking: false,
        }
    }

    /// Whether Ctrl-C is a question.
    const fn asks(&self, owns_turn: bool) -> bool {
        owns_turn && self.live && self.terminal.is_interactive()
    }

    fn interrupted(&mut self, owns_turn: bool) -> Said {
        if !owns_turn {
            return Said::Leave;
        }
        if !self.asks(owns_turn) || std::mem::replace(&mut self.asking, true) {
            return Said::Stop(Stopping::Asked);
        }
        Said::Nothing
    }

    fn typed(&mut self, typed: &[u8]) -> Said {
        if !std::mem::take(&mut self.asking) {
            return Said::Nothing;
        }
        match typed.first() {
            Some(b's' | b'S') => Said::Stop(Stopping::Asked),
            Some(b'd' | b'D') => Said::Detach,
            // ESC and c, and whatever else was typed without thinking of this.
            _ => Said::Nothing,
        }
    }

    fn event(&mut self, event: &Event) -> Result<(), Problem> {
        match self.form {
            Form::Json | Form::Raw if event.kind == "heartbeat" => return Ok(()),
            Form::Json => return Ok(self.screen.lines(&[event.json_line()])?),
            Form::Raw => return Ok(self.screen.lines(&[event.frame()])?),
            Form::Text | Form::Answer => {}
        }
        self.progress.push(event, self.began.elapsed());
        self.transcript.push(event);
        self.draw()
    }

    /// Writes what is whole, and the changing rows below it.
    fn draw(&mut self) -> Result<(), Problem> {
        if !matches!(self.form, Form::Text | Form::Answer) {
            return Ok(());
        }
        self.transcript.resize(self.terminal.columns());
        let lines = self.transcript.take();
        let lines = if self.form == Form::Answer {
            Vec::new()
        } else {
            lines
        };
        let mut rows = Vec::new();
        if self.live {
            rows.extend(
                self.transcript
                    .unfinished()
                    .filter(|_| self.form == Form::Text),
            );
            rows.push(String::new());
            rows.push(self.last_row());
        }
        Ok(self.screen.show(&lines, rows)?)
    }

    fn last_row(&mut self) -> String {
        let (style, columns) = (self.terminal.style(), self.terminal.columns().unwrap_or(80));
        if self.asking {
            let question = style.warning("The turn is running.");
            return format!(
                "{question}  {} stop it   {} detach, it goes on   {} continue",
                style.bold("s"),
                style.bold("d"),
                style.bold("c")
            );
        }
        self.progress.row(style, self.began.elapsed(), columns)
    }

    fn ended(mut self, event: &Event, stopping: Option<Stopping>) -> Outcome {
        let exit = match (event.kind.as_str(), event.text("code")) {
            ("complete", _) => Exit::Done,
            ("error", "timeout") => Exit::Timeout,
            ("error", _) => Exit::Failed,
            _ => stopped(stopping),
        };
        if self.form != Form::Answer {
            return self.finish(exit);
        }
        self.screen.lines(&[])?;
        let mut answer = String::new();
        super::plain_text::Cleaner::new().push(
            self.transcript.final_message().unwrap_or_default(),
            &mut answer,
        );
        match exit {
            Exit::Done => {
                self.screen.lines(&[answer.replace('\r', "\n")])?;
                Ok(exit)
            }
            Exit::Failed => Err(Problem::new(
                exit,
                super::plain_text::one_line(event.text("error")),
            )),
            exit => Ok(exit),
        }
    }

    fn finish(mut self, exit: Exit) -> Outcome {
        self.transcript.finish();
        let lines = self.transcript.take();
        let lines = if self.form == Form::Text {
            lines
        } else {
            Vec::new()
        };
        self.screen.lines(&lines)?;
        Ok(exit)
    }

    fn detach(mut self) -> Outcome {
        self.transcript.finish();
        let mut lines = self.transcript.take();
        let hint = format!(
            "Detached; the turn goes on. `opencode-sidecar logs -f {}` follows it.",
            self.session
        );
        lines.push(String::new());
        lines.push(self.terminal.style().dim(&hint));
        self.screen.lines(&lines)?;
        Ok(Exit::Done)
    }
}
