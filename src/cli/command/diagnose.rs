//! `diagnose`: how a session is, why, and what to do, in a few lines.

mod findings;

use self::findings::{Finding, Level, Seen};
use crate::cli::client::{Diagnosis, parsed};
use crate::cli::context::{CommonArgs, Context};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::output::write;
use crate::cli::plain_text::{json as safe, one_line};
use crate::clock::Timestamp;

const EXAMPLES: &str = "Examples:
  opencode-sidecar diagnose 0190a5d2-…
  opencode-sidecar diagnose 0190a5d2-… -o json";

/// Say how a session is, and why it does not get on
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct DiagnoseArgs {
    /// Id of the session
    #[arg(value_name = "SESSION")]
    session: String,
    #[command(flatten)]
    common: CommonArgs,
}

pub(in crate::cli) async fn run(args: DiagnoseArgs, context: &Context) -> Outcome {
    let (client, _) = context.connect(&args.common.connection)?;
    let answer = client.diagnosis(&args.session).await?;
    if args.common.form.is_json() {
        write(&format!("{}\n", safe(&answer.to_string())))?;
        return Ok(Exit::Done);
    }
    let diagnosis: Diagnosis = parsed(answer)?;
    let session = client.session(&args.session).await?;
    let engine = client.engine().await?;
    let not_ready = client.not_ready().await?;
    let found = Seen {
        session: &session,
        diagnosis: &diagnosis,
        engine: &engine,
        not_ready: not_ready.as_deref(),
        now: Timestamp::now(),
    }
    .findings();
    let style = context.terminal.style();
    let wide = found
        .iter()
        .map(|finding| finding.about.len())
        .max()
        .unwrap_or(0);
    for Finding { level, about, text } in found {
        let (mark, text) = match level {
            Level::Good => (style.good("✓"), one_line(&text)),
            Level::Fact => (style.dim("·"), one_line(&text)),
            Level::Warning => (style.warning("!"), style.warning(&one_line(&text))),
            Level::Bad => (style.bad("✗"), style.bad(&one_line(&text))),
        };
        let about = style.dim(&format!("{about:wide$}"));
        write(&format!("{mark} {about}   {text}\n"))?;
    }
    Ok(Exit::Done)
}
