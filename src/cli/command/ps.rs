//! `ps`: the sessions, the newest first.

use serde_json::json;

use crate::cli::client::{Page, Session, parsed};
use crate::cli::context::{CommonArgs, Context};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::layout::{age, cost, count};
use crate::cli::output::write;
use crate::cli::plain_text::one_line;
use crate::cli::style::Style;
use crate::cli::table::{Cell, lines};
use crate::clock::Timestamp;

const EXAMPLES: &str = "Examples:
  opencode-sidecar ps
  opencode-sidecar ps --active
  opencode-sidecar ps --status failed -o json
  opencode-sidecar ps --active --quiet | xargs -r opencode-sidecar stop";

/// List sessions, the newest first
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct PsArgs {
    /// Only those that have not ended
    #[arg(long, short = 'a', conflicts_with = "status")]
    active: bool,
    /// Only those in this state, such as running, completed or failed
    #[arg(long, value_name = "STATE")]
    status: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', default_value = "50", value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Only their ids
    #[arg(long, short = 'q')]
    quiet: bool,
    #[command(flatten)]
    common: CommonArgs,
}

pub(in crate::cli) async fn run(args: PsArgs, context: &Context) -> Outcome {
    let (client, _) = context.connect(&args.common.connection)?;
    let answer = if args.active {
        let sessions = client.active_sessions(args.limit.into()).await?;
        json!({ "sessions": sessions, "next_cursor": null })
    } else {
        let limit = args.limit.to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(args.status.as_deref().map(|status| ("status", status)));
        client.get(&["sessions"], &query).await?
    };
    if args.common.form.is_json() && !args.quiet {
        write(&format!(
            "{}\n",
            crate::cli::plain_text::json(&answer.to_string())
        ))?;
        return Ok(Exit::Done);
    }
    let page: Page = parsed(answer)?;
    if args.quiet {
        let ids: String = page
            .sessions
            .iter()
            .map(|session| one_line(&session.id) + "\n")
            .collect();
        write(&ids)?;
        return Ok(Exit::Done);
    }
    let style = context.terminal.style();
    if page.sessions.is_empty() {
        let hint = "no sessions; `opencode-sidecar run \"…\"` begins one";
        context.terminal.hint(hint)?;
        return Ok(Exit::Done);
    }
    for line in rows(&page.sessions, style, context.terminal.columns()) {
        write(&(line + "\n"))?;
    }
    if page.next_cursor.is_some() {
        let hint = format!(
            "… there are more than {}; --limit shows up to 500",
            args.limit
        );
        context.terminal.hint(&hint)?;
    }
    Ok(Exit::Done)
}

/// The table, with its header.
pub(in crate::cli) fn rows(
    sessions: &[Session],
    style: Style,
    columns: Option<usize>,
) -> Vec<String> {
    let now = Timestamp::now();
    let rows = sessions
        .iter()
        .map(|session| row(session, style, now))
        .collect();
    lines(
        [
            "SESSION", "STATUS", "TURN", "TOKENS", "COST", "AGE", "DOING",
        ],
        rows,
        columns,
    )
}

fn row(session: &Session, style: Style, now: Timestamp) -> [Cell; 7] {
    let state = one_line(&session.status);
    let painted = state.clone();
    [
        one_line(&session.id).into(),
        Cell::painted(state, move |text| style.state(&painted, text)),
        session.turn.to_string().into(),
        count(session.model_calls.total_tokens).into(),
        cost(session.usage.cost)
            .unwrap_or_else(|| "-".into())
            .into(),
        age(session.age(now)).into(),
        Cell::painted(doing(session), move |text| style.dim(text)),
    ]
}

/// What it does, or why it does nothing.
fn doing(session: &Session) -> String {
    if let Some(error) = &session.error {
        return one_line(&error.error);
    }
    if let Some(ask) = session.asks.first() {
        let what = ask.permission.as_deref().unwrap_or(&ask.kind);
        return one_line(&format!("asks: {what}"));
    }
    let phase = session
        .phase
        .as_deref()
        .map(|phase| phase.replace('_', " "));
    let progress =
        (session.is_active() && session.progress > 0).then(|| format!("{} %", session.progress));
    let parts = [session.current_tool.clone(), phase, progress];
    one_line(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}
