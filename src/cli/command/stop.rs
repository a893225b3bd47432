//! `stop`: end what runs in sessions.

use crate::cli::context::{CommonArgs, Context};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::output::{say, write};
use crate::cli::plain_text::{json, one_line};

const EXAMPLES: &str = "Examples:
  opencode-sidecar stop 0190a5d2-…
  opencode-sidecar stop --all";

/// End what runs in sessions; their events are kept
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct StopArgs {
    /// Ids of the sessions
    #[arg(value_name = "SESSION", required_unless_present = "all")]
    sessions: Vec<String>,
    /// All that have not ended
    #[arg(long, conflicts_with = "sessions")]
    all: bool,
    #[command(flatten)]
    common: CommonArgs,
}

/// Goes on after one that cannot be stopped, says why, and ends with the code of the first reason.
pub(in crate::cli) async fn run(args: StopArgs, context: &Context) -> Outcome {
    let (client, _) = context.connect(&args.common.connection)?;
    let mut first: Option<Exit> = None;
    let sessions = if args.all {
        let active = client.active_sessions(usize::MAX).await?;
        let ids = active
            .iter()
            .filter_map(|session| session["session_id"].as_str());
        ids.map(str::to_owned).collect()
    } else {
        args.sessions
    };
    if sessions.is_empty() {
        context.terminal.hint("no session runs")?;
    }
    for id in &sessions {
        match client.stop(id).await {
            Ok(answer) if args.common.form.is_json() => {
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
                let word = context.terminal.error_style().bad("error:");
                say(&format!("{word} {}: {}", one_line(id), problem.sentence));
                first.get_or_insert(problem.exit);
            }
        }
    }
    Ok(first.unwrap_or(Exit::Done))
}
