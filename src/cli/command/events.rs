//! `events`: what happens in all sessions, one line for each event.

mod line;

use tokio::signal::unix::{SignalKind, signal};

use self::line::line;
use crate::cli::client::{Event, Source, Stream, StreamRequest, StreamStep, number};
use crate::cli::context::{CommonArgs, Context};
use crate::cli::exit::{Exit, Outcome, Problem};
use crate::cli::output::{say, write};
use crate::config::ConnectionArgs;

const EXAMPLES: &str = "Examples:
  opencode-sidecar events -f
  opencode-sidecar events -f --type tool_call,error
  opencode-sidecar events --session 0190a5d2-… -o json | jq .data";

/// Show the events of all sessions
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct EventsArgs {
    /// Follow what happens from now on; with --since first what happened since
    #[arg(long, short = 'f')]
    follow: bool,
    /// Only those of these sessions
    #[arg(long = "session", value_name = "ID", value_delimiter = ',')]
    sessions: Vec<String>,
    /// Only these types, such as output, error or complete
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Begin after this event; `earliest` is all that are kept. Default: that, or `latest` with --follow
    #[arg(long, value_name = "EVENT ID")]
    since: Option<String>,
    /// Show the model's thoughts too
    #[arg(long)]
    reasoning: bool,
    #[command(flatten)]
    common: CommonArgs,
}

pub(in crate::cli) async fn run(args: EventsArgs, context: &Context) -> Outcome {
    let connection: &ConnectionArgs = &args.common.connection;
    let (client, _) = context.connect(connection)?;
    let last = if args.follow {
        None
    } else {
        number(&client.newest_event().await?)
    };
    if last == Some(0) || (!args.follow && is_at(args.since.as_deref(), last)) {
        return Ok(Exit::Done);
    }
    // Up to a certain event everything is asked for: its number may be of one that is not wanted.
    let everything = last.is_some();
    let only = |list: &Vec<String>| if everything { Vec::new() } else { list.clone() };
    let request = StreamRequest {
        source: Source::All {
            sessions: only(&args.sessions),
            types: only(&args.types),
        },
        from: args
            .since
            .clone()
            .or_else(|| args.follow.then(|| "latest".to_owned())),
        follow: true,
        reasoning: args.reasoning || everything,
        known: last.is_some(),
    };
    let failed =
        |error: std::io::Error| Problem::failed(format!("signals cannot be taken: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut stream = Stream::new(client, request);
    loop {
        let step = tokio::select! {
            step = stream.next() => step?,
            _ = interrupt.recv() => return Ok(Exit::Interrupted),
        };
        match step {
            StreamStep::Event(event) => {
                if wants(&args, &event) {
                    show(&args, context, &event)?;
                }
                if let (Some(last), Some(number)) = (last, event.number())
                    && number >= last
                {
                    return Ok(Exit::Done);
                }
            }
            StreamStep::Lost(reason) if context.terminal.output => {
                say(&context
                    .terminal
                    .error_style()
                    .dim(&format!("{reason}; connecting again")));
            }
            StreamStep::Lost(_) => {}
            StreamStep::End => return Ok(Exit::Done),
        }
    }
}

/// Whether nothing is between `since` and the last event.
fn is_at(since: Option<&str>, last: Option<u64>) -> bool {
    since.is_some_and(|since| {
        since == "latest" || number(since).is_some_and(|since| Some(since) == last)
    })
}

fn wants(args: &EventsArgs, event: &Event) -> bool {
    let listed =
        |list: &[String], word: &str| list.is_empty() || list.iter().any(|one| one == word);
    event.kind != "heartbeat"
        && (event.kind == "gap" || listed(&args.types, &event.kind))
        && (event.kind == "gap" || listed(&args.sessions, event.text("session_id")))
        && (args.reasoning || event.text("source") != "reasoning")
}

fn show(args: &EventsArgs, context: &Context, event: &Event) -> Result<(), Problem> {
    let text = if args.common.form.is_json() {
        event.json_line()
    } else {
        line(event, context.terminal.style(), context.terminal.columns())
    };
    Ok(write(&(text + "\n"))?)
}
