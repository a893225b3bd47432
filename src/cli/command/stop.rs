//! `stop`: end what runs in sessions.

use crate::cli::context::{CommonArgs, Context, Output};
use crate::cli::exit::{Exit, Outcome, Problem};
use crate::cli::plain_text::{json, one_line};
use crate::cli::screen::write;

const EXAMPLES: &str = "Examples:
  opencode-sidecar stop 0190a5d2-…
  opencode-sidecar stop $(opencode-sidecar ps --active --quiet)";

/// End what runs in sessions; their events are kept
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct StopArgs {
    /// Ids of the sessions
    #[arg(value_name = "SESSION", required = true)]
    sessions: Vec<String>,
    #[command(flatten)]
    common: CommonArgs,
}

/// Goes on after one that cannot be stopped, and ends with the first reason.
pub(in crate::cli) async fn run(args: StopArgs, context: &Context) -> Outcome {
    let (client, _) = context.connect(&args.common.connection)?;
    let mut first: Option<Problem> = None;
    for id in &args.sessions {
        match client.stop(id).await {
            Ok(answer) if args.common.output == Output::Json => {
                write(&format!("{}\n", json(&answer.to_string())))?;
            }
            Ok(answer) => {
                let state = answer["status"].as_str().unwrap_or("cancelled");
                let words = if answer["cancelled_at"].is_null() {
                    "had ended: "
                } else {
                    ""
                };
                write(&format!("{} {words}{}\n", one_line(id), one_line(state)))?;
            }
            Err(problem) => {
                let sentence = format!("{}: {}", one_line(id), problem.sentence);
                first.get_or_insert(Problem::new(problem.exit, sentence));
            }
        }
    }
    first.map_or(Ok(Exit::Done), Err)
}
