//! `logs`: what happened in a session, and what happens.

use crate::cli::client::{Source, StreamRequest, number};
use crate::cli::context::{CommonArgs, Context};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::follow::{Follow, Form, Owner, Until, up_to};

const EXAMPLES: &str = "Examples:
  opencode-sidecar logs 0190a5d2-…
  opencode-sidecar logs -f 0190a5d2-… --reasoning
  opencode-sidecar logs 0190a5d2-… --since k3v9x0a1bz-41 -o json | jq .event";

/// Show what happened in a session
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(in crate::cli) struct LogsArgs {
    /// Id of the session
    #[arg(value_name = "SESSION")]
    session: String,
    /// Go on until the session is idle
    #[arg(long, short = 'f')]
    follow: bool,
    /// Begin after this event; `latest` is what comes now
    #[arg(long, value_name = "EVENT ID")]
    since: Option<String>,
    /// Show the model's thoughts too
    #[arg(long)]
    reasoning: bool,
    /// Show all output of tools; on a terminal it is cut
    #[arg(long)]
    full: bool,
    /// The events as the stream has them
    #[arg(long, conflicts_with_all = ["output", "json"])]
    raw: bool,
    #[command(flatten)]
    common: CommonArgs,
}

pub(in crate::cli) async fn run(args: LogsArgs, context: &Context) -> Outcome {
    let (client, _) = context.connect(&args.common.connection)?;
    let form = match (args.raw, args.common.form.is_json()) {
        (true, _) => Form::Raw,
        (false, true) => Form::Json,
        (false, false) => Form::Text,
    };
    // Also says whether there is such a session at all.
    let status = client.session(&args.session).await?;
    let session = args.session;
    let until = match (args.follow, up_to(&status)) {
        (true, _) => Until::Idle,
        (false, Some(last)) if wants(args.since.as_deref(), last) => Until::Number(last),
        (false, _) => return Ok(Exit::Done),
    };
    let request = StreamRequest {
        source: Source::Session(session.clone()),
        from: args.since,
        follow: false,
        // The last event may be a thought, so they are asked for where it is waited for.
        reasoning: args.reasoning || !args.follow,
        known: true,
    };
    Follow {
        client,
        session,
        terminal: context.terminal,
        request,
        form,
        reasoning: args.reasoning,
        full: args.full,
        until,
        owner: Owner::Others,
        timeout: None,
    }
    .run()
    .await
}

/// Whether there is anything after `since`, up to the event with the number `last`.
fn wants(since: Option<&str>, last: u64) -> bool {
    match since {
        Some("latest") => false,
        Some(id) => number(id).is_none_or(|since| since != last),
        None => true,
    }
}
