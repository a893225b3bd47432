//! `top`: the sessions and the engine, as they are now.

use std::pin::Pin;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::ps;
use crate::cli::client::{Client, Engine, Page};
use crate::cli::context::{Context, FormArgs};
use crate::cli::exit::{Exit, Outcome, Problem};
use crate::cli::layout::{bytes, duration};
use crate::cli::output::write;
use crate::cli::plain_text::{json as safe, one_line};
use crate::cli::screen::Screen;
use crate::cli::style::Style;
use crate::cli::terminal::{KeyMode, Terminal, suspend, suspended, suspensions, typed};
use crate::config::ConnectionArgs;
use crate::setting;

const EXAMPLES: &str = "Examples:
  opencode-sidecar top
  opencode-sidecar top --interval 5s
  opencode-sidecar top --once
  opencode-sidecar top -o json | jq .engine

Keys: q leaves, a shows all sessions or those that run.";

/// Watch the sessions and the engine
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct TopArgs {
    /// Time between two looks
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = setting::duration)]
    interval: Duration,
    /// Look once and leave, as where the output is no terminal
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// One look.
struct Look {
    page: Page,
    engine: Engine,
}

type Looking<'a> = Pin<Box<dyn Future<Output = Result<Look, Problem>> + 'a>>;

pub(in crate::cli) async fn run(args: TopArgs, context: &Context) -> Outcome {
    let (client, _) = context.connect(&args.connection)?;
    if args.form.is_json() {
        let sessions = client.get(&["sessions"], &[("limit", "200")]).await?;
        let engine = client.get(&["engine", "status"], &[]).await?;
        let look = json!({ "engine": engine, "sessions": sessions["sessions"] });
        write(&format!("{}\n", safe(&look.to_string())))?;
        return Ok(Exit::Done);
    }
    // A sidecar that is not there is said before the screen changes.
    let first = look(&client).await?;
    let terminal = context.terminal;
    if args.once || !terminal.is_interactive() {
        let style = terminal.style();
        for row in picture(&client, &first, style, terminal.columns(), true) {
            write(&(row + "\n"))?;
        }
        return Ok(Exit::Done);
    }
    watch(&client, first, args.interval, terminal).await
}

async fn watch(client: &Client, first: Look, interval: Duration, terminal: Terminal) -> Outcome {
    let mut key_mode = KeyMode::enter();
    let mut suspensions = suspensions(key_mode.as_ref())?;
    let mut screen = Screen::new(terminal);
    let mut keys = typed();
    let failed =
        |error: std::io::Error| Problem::failed(format!("signals cannot be taken: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut resized = signal(SignalKind::window_change()).map_err(failed)?;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let (mut last, mut all, mut trouble) = (first, true, None::<String>);
    // It runs beside the keys: a sidecar that does not answer must not keep `q` from being heard.
    let mut looking: Option<Looking<'_>> = None;
    loop {
        let mut rows = picture(client, &last, terminal.style(), terminal.columns(), all);
        if let Some(trouble) = &trouble {
            rows.insert(0, terminal.style().bad(trouble));
        }
        let height = terminal.rows().unwrap_or(24);
        rows.truncate(height.saturating_sub(2));
        rows.resize(height.saturating_sub(1), String::new());
        rows.push(terminal.style().dim("q leave   a all or active"));
        screen.whole(&rows)?;
        tokio::select! {
            _ = interrupt.recv() => return Ok(Exit::Done),
            _ = terminate.recv() => return Ok(Exit::Done),
            _ = resized.recv() => {}
            () = suspended(&mut suspensions) => {
                screen.leave()?;
                suspend(&mut key_mode);
            }
            key = keys.recv() => match key.as_deref() {
                // Other keys begin with ESC too.
                Some([b'q' | 4, ..] | [0x1b]) | None => return Ok(Exit::Done),
                Some([b'a', ..]) => all = !all,
                Some(_) => {}
            },
            looked = ended(&mut looking) => {
                looking = None;
                match looked {
                    Ok(now) => (last, trouble) = (now, None),
                    Err(problem) => trouble = Some(problem.sentence),
                }
            }
            _ = ticks.tick(), if looking.is_none() => looking = Some(Box::pin(look(client))),
        }
    }
}

/// The end of a look. Waits for ever where there is none.
async fn ended(looking: &mut Option<Looking<'_>>) -> Result<Look, Problem> {
    match looking {
        Some(look) => look.await,
        None => std::future::pending().await,
    }
}

async fn look(client: &Client) -> Result<Look, Problem> {
    Ok(Look {
        page: client.sessions(&[("limit", "200")]).await?,
        engine: client.engine().await?,
    })
}

fn picture(
    client: &Client,
    look: &Look,
    style: Style,
    columns: Option<usize>,
    all: bool,
) -> Vec<String> {
    let mut sessions = look.page.sessions.clone();
    let active = sessions
        .iter()
        .filter(|session| session.is_active())
        .count();
    let mut rows = vec![
        format!(
            "{}  {}",
            style.bold(client.address()),
            style.dim(&format!("{active} active"))
        ),
        engine_row(&look.engine, style),
        String::new(),
    ];
    // Those that run first; else as the sidecar has them, the newest first.
    sessions.sort_by_key(|session| !session.is_active());
    if !all {
        sessions.retain(crate::cli::client::Session::is_active);
    }
    if sessions.is_empty() {
        rows.push(style.dim("no sessions"));
    } else {
        rows.extend(ps::rows(&sessions, style, columns));
    }
    rows
}

fn engine_row(engine: &Engine, style: Style) -> String {
    let state = one_line(&engine.state);
    let memory = engine.memory.as_ref();
    let facts = [
        engine
            .version
            .as_deref()
            .map(|version| format!("OpenCode {}", one_line(version))),
        engine
            .uptime_secs
            .map(|up| format!("up {}", duration(Duration::from_secs(up)))),
        (engine.restarts > 0).then(|| format!("{} restarts", engine.restarts)),
        engine.rss_bytes.map(|rss| format!("rss {}", bytes(rss))),
        memory.map(|memory| {
            format!(
                "memory {} of {}",
                bytes(memory.used_bytes),
                bytes(memory.limit_bytes)
            )
        }),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    let facts = if facts.is_empty() {
        String::new()
    } else {
        format!(" · {}", facts.join(" · "))
    };
    format!(
        "engine {}{}",
        style.state(&state, &state),
        style.dim(&facts)
    )
}
