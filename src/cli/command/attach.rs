//! `attach`: a session as a conversation. Its events are followed over all turns, what is typed becomes the next
//! prompt, and what the agent asks is answered.

mod view;
mod words;

use std::pin::pin;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::SignalKind;
use tokio::time::MissedTickBehavior;

use self::view::{Asked, View};
use self::words::{OnBusy, Words};
use crate::cli::client::{Client, Source, Stream, StreamRequest, StreamStep, number};
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Outcome, Problem};
use crate::cli::follow::{Follow, Form, Owner, Until, listen, typed_in};
use crate::cli::model_args::ModelArgs;
use crate::cli::terminal::{KeyMode, typed};
use crate::config::ConnectionArgs;

/// Between two pictures of the row that moves.
const FRAME: Duration = Duration::from_millis(100);

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

// === impl Conversation ===

impl Conversation {
    async fn run(&self, request: StreamRequest, mut view: View) -> Outcome {
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let _key_mode = KeyMode::enter();
        let mut keys = Some(typed());
        let mut ticks = tokio::time::interval(FRAME);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stream = Stream::new(self.client.clone(), request);
        loop {
            let mut next = pin!(stream.next());
            let step = loop {
                let asked = tokio::select! {
                    step = &mut next => break step?,
                    typed = typed_in(&mut keys) => view.typed(&typed),
                    _ = interrupt.recv() => view.interrupted(),
                    _ = terminate.recv() => vec![Asked::Leave],
                    _ = ticks.tick() => Vec::new(),
                };
                for asked in asked {
                    if let Some(exit) = self.answer(asked, &mut view).await? {
                        return view.leave(exit);
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

    /// Does what a person asked for. What is refused is said, and the conversation goes on.
    async fn answer(&self, asked: Asked, view: &mut View) -> Result<Option<Exit>, Problem> {
        let id = self.session.as_str();
        let done = match asked {
            Asked::Leave => return Ok(Some(Exit::Done)),
            Asked::Stop => self.client.stop(id).await.map(drop),
            Asked::Answer(answer) => answer.send(&self.client, id).await,
            Asked::Line(line) => return self.line(&line, view).await,
        };
        if let Err(problem) = done {
            view.refused(&problem.sentence);
        }
        Ok(None)
    }

    async fn line(&self, line: &str, view: &mut View) -> Result<Option<Exit>, Problem> {
        let id = self.session.as_str();
        let done = match Words::of(line) {
            Words::Nothing => Ok(()),
            Words::Help => {
                view.help();
                Ok(())
            }
            Words::Leave => return Ok(Some(Exit::Done)),
            Words::Stop => self.client.stop(id).await.map(drop),
            Words::Queue => self.queue(view).await,
            Words::Drop(turn) => {
                let path = ["sessions", id, "queue", &turn];
                self.client.delete(&path).await.map(drop)
            }
            Words::Prompt(prompt, on_busy) => self.prompt(&prompt, on_busy, view).await,
            Words::Unknown(word) => Err(Problem::usage(format!(
                "there is no /{word}; /help lists what there is"
            ))),
        };
        if let Err(problem) = done {
            view.refused(&problem.sentence);
        }
        Ok(None)
    }

    /// Shows the prompts that wait.
    async fn queue(&self, view: &mut View) -> Result<(), Problem> {
        let path = ["sessions", self.session.as_str(), "queue"];
        let answer = self.client.get(&path, &[]).await?;
        let waiting = answer["queue"].as_array().into_iter().flatten();
        let lines = waiting.map(|prompt| {
            let text = prompt["text"].as_str().unwrap_or_default();
            format!("{}  {text}", prompt["turn"])
        });
        view.queue(&lines.collect::<Vec<_>>());
        Ok(())
    }

    async fn prompt(&self, prompt: &str, on_busy: OnBusy, view: &mut View) -> Result<(), Problem> {
        let mut body = json!({ "prompt": prompt, "on_busy": on_busy.as_str() });
        if let Some(model) = &self.model {
            // The running turn's model cannot change.
            if on_busy != OnBusy::Steer {
                body["model_config"] = model.clone();
            }
        }
        let path = ["sessions", self.session.as_str(), "prompt"];
        let accepted = self.client.post(&path, &body).await?;
        view.sent(prompt, accepted["status"].as_str().unwrap_or_default());
        Ok(())
    }
}
