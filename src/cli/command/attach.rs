//! `attach`: a session as a conversation. Its events are followed over all turns, what is typed becomes the next
//! prompt, and what the agent asks is answered.

mod view;
mod words;

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::SignalKind;
use tokio::time::MissedTickBehavior;

use self::view::{Asked, Done, View};
use self::words::{OnBusy, Words};
use crate::cli::answering::Answer;
use crate::cli::client::{Client, Source, Stream, StreamRequest, StreamStep, number};
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Outcome, Problem};
use crate::cli::follow::{Follow, Form, Owner, Until, listen, typed_in};
use crate::cli::model_args::ModelArgs;
use crate::cli::terminal::{KeyMode, suspend, suspended, suspensions, typed};
use crate::config::ConnectionArgs;

/// Between two pictures of the row that moves.
const FRAME: Duration = Duration::from_millis(100);

/// Calls that may wait for the one before them.
const MAX_CALLS: usize = 16;

const EXAMPLES: &str = "Examples:
  opencode-sidecar attach 0190a5d2-…
  opencode-sidecar attach 0190a5d2-… -p openai -m gpt-4o-mini --key-file key

What is typed becomes the next prompt; while a turn runs it waits. /now interrupts the turn for it, /steer says it
to the running turn, /stop ends the turn, /help lists the rest. What the agent asks is answered with a key (y once,
a always, n no) or a line. Ctrl-D leaves, and the turn goes on.";

/// Take part in a session: follow it, send prompts, answer what the agent asks
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct AttachArgs {
    /// Id of the session
    #[arg(value_name = "SESSION")]
    session: String,
    /// Show all turns from the beginning, not only the last one
    #[arg(long)]
    all: bool,
    /// Show the model's thoughts too
    #[arg(long)]
    reasoning: bool,
    /// Show all output of tools; on a terminal it is cut
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(in crate::cli) async fn run(args: AttachArgs, context: &Context) -> Outcome {
    let (client, target) = context.connect(&args.connection)?;
    let model = args.model.change(&target, &context.environment)?;
    let status = client.session(&args.session).await?;
    let request = StreamRequest {
        source: Source::Session(args.session.clone()),
        from: None,
        follow: true,
        reasoning: args.reasoning,
        known: true,
    };
    let terminal = context.terminal;
    if !terminal.is_interactive() {
        // Nobody can type, so it is followed and nothing else.
        return Follow {
            client,
            session: args.session,
            terminal,
            request,
            form: Form::Text,
            reasoning: args.reasoning,
            full: args.full,
            until: Until::Idle,
            owner: Owner::Others,
            timeout: None,
        }
        .run()
        .await;
    }
    let conversation = Conversation {
        client,
        session: args.session,
        model,
    };
    let last = number(&status.last_event_id).unwrap_or(0);
    let view = View::new(terminal, args.full, args.all, last, status.is_active());
    conversation.run(request, view).await
}

/// A session that is taken part in.
struct Conversation {
    client: Client,
    session: String,
    /// Sent with each prompt, if it was named: else the session's last one goes on.
    model: Option<Value>,
}

/// A call that a person asked for. It begins when those before it have ended, and runs beside everything else.
type Call<'a> = Pin<Box<dyn Future<Output = Result<Done, Problem>> + 'a>>;

// === impl Conversation ===

impl Conversation {
    async fn run(&self, request: StreamRequest, mut view: View) -> Outcome {
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let mut key_mode = KeyMode::enter();
        let mut suspensions = suspensions(key_mode.as_ref())?;
        let mut keys = Some(typed());
        let mut ticks = tokio::time::interval(FRAME);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stream = Stream::new(self.client.clone(), request);
        let mut calls: VecDeque<Call<'_>> = VecDeque::new();
        loop {
            let mut next = pin!(stream.next());
            let step = loop {
                let asked = tokio::select! {
                    step = &mut next => break step?,
                    typed = typed_in(&mut keys) => view.typed(&typed),
                    _ = interrupt.recv() => view.interrupted(),
                    _ = terminate.recv() => vec![Asked::Leave],
                    () = suspended(&mut suspensions) => {
                        view.leave_terminal()?;
                        suspend(&mut key_mode);
                        Vec::new()
                    }
                    done = first(&mut calls) => {
                        calls.pop_front();
                        view.done(done);
                        Vec::new()
                    }
                    _ = ticks.tick() => {
                        view.tick();
                        Vec::new()
                    }
                };
                for asked in asked {
                    let call = match asked {
                        Asked::Leave => return view.leave(Exit::Done),
                        Asked::Stop => Some(self.stop()),
                        Asked::Answer(answer) => Some(self.answer(answer)),
                        Asked::Line(line) => match Words::of(&line) {
                            Words::Leave => return view.leave(Exit::Done),
                            words => self.call(words, &mut view),
                        },
                    };
                    if calls.len() < MAX_CALLS {
                        calls.extend(call);
                    } else {
                        view.refused("not sent: the sidecar has not answered what was sent before");
                    }
                }
                view.draw()?;
            };
            match step {
                StreamStep::Event(event) => view.event(&event)?,
                StreamStep::Lost(reason) => view.lost(reason)?,
                StreamStep::End => return view.leave(Exit::Done),
            }
        }
    }

    /// The call that a line wants, if it wants one.
    fn call(&self, words: Words, view: &mut View) -> Option<Call<'_>> {
        match words {
            Words::Nothing | Words::Leave => None,
            Words::Help => {
                view.help();
                None
            }
            Words::Unknown(word) => {
                view.refused(&format!("there is no /{word}; /help lists what there is"));
                None
            }
            Words::Stop => Some(self.stop()),
            Words::Queue => Some(Box::pin(self.queue())),
            Words::Drop(turn) => Some(Box::pin(async move {
                let path = ["sessions", &*self.session, "queue", &turn];
                self.client.delete(&path).await.map(|_| Done::Nothing)
            })),
            Words::Prompt(prompt, on_busy) => Some(Box::pin(self.prompt(prompt, on_busy))),
        }
    }

    fn stop(&self) -> Call<'_> {
        Box::pin(async { self.client.stop(&self.session).await.map(|_| Done::Nothing) })
    }

    fn answer(&self, answer: Answer) -> Call<'_> {
        Box::pin(async move {
            let sent = answer.send(&self.client, &self.session).await;
            sent.map(|()| Done::Nothing)
        })
    }

    async fn queue(&self) -> Result<Done, Problem> {
        let path = ["sessions", self.session.as_str(), "queue"];
        let answer = self.client.get(&path, &[]).await?;
        let waiting = answer["queue"].as_array().into_iter().flatten();
        let lines = waiting.map(|prompt| {
            let text = prompt["text"].as_str().unwrap_or_default();
            format!("{}  {text}", prompt["turn"])
        });
        Ok(Done::Queue(lines.collect()))
    }

    async fn prompt(&self, prompt: String, on_busy: OnBusy) -> Result<Done, Problem> {
        let mut body = json!({ "prompt": prompt, "on_busy": on_busy.as_str() });
        if let Some(model) = &self.model {
            // The running turn's model cannot change.
            if on_busy != OnBusy::Steer {
                body["model_config"] = model.clone();
            }
        }
        let path = ["sessions", self.session.as_str(), "prompt"];
        let accepted = self.client.post(&path, &body).await?;
        let status = accepted["status"].as_str().unwrap_or_default();
        Ok(Done::Sent(prompt, status.to_owned()))
    }
}

/// The end of the first call. Waits for ever where there is none.
async fn first(calls: &mut VecDeque<Call<'_>>) -> Result<Done, Problem> {
    match calls.front_mut() {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}
