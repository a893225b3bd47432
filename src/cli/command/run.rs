//! `run`: a prompt for a new session, and what the agent does, to the end.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::signal::unix::SignalKind;

use crate::cli::attachments::parts;
use crate::cli::client::{Client, Created, Source, StreamRequest, parsed};
use crate::cli::context::{Context, FormArgs};
use crate::cli::exit::{Exit, Outcome, Problem};
use crate::cli::follow::{Follow, Form, Owner, Until, listen};
use crate::cli::local_server::LocalServer;
use crate::cli::model_args::ModelArgs;
use crate::cli::output::{say, write};
use crate::cli::plain_text::one_line;
use crate::config::{ConnectionArgs, Target};
use crate::setting;

/// A prompt is far shorter; the sidecar says how long it may be.
const MAX_PROMPT_BYTES: u64 = 16 << 20;

/// How much later than the sidecar this command ends a turn whose time is over: in case the sidecar does not.
const GRACE: Duration = Duration::from_secs(15);

const EXAMPLES: &str = "Examples:
  opencode-sidecar run -p demo \"Show me what you can do\"
  opencode-sidecar run -p openai -m gpt-4o-mini --key-file key \"Write a README for this folder\"
  opencode-sidecar run -p openai -m gpt-4o --key-file key --file mock.png \"Build this page\"
  git diff | opencode-sidecar run --quiet \"Review this\" -
  opencode-sidecar run -p openai -m gpt-4o --key-file key --permission-mode ask \"Tidy up the branches\"
  opencode-sidecar run --local -p anthropic -m claude-sonnet-4 \"Fix the failing test\"

What the agent asks is answered with a key (y once, a always, n no) or a line. Ctrl-C asks what to do with the
turn; a second one stops it. Exit codes: 0 completed, 1 failed, 2 cancelled, 124 out of time, 130 stopped by Ctrl-C,
64 usage, 69 no sidecar, 75 not now, 77 no access.";

/// Give the agent a prompt, and follow it to the end
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct RunArgs {
    /// What to do; `-` adds stdin, which is also read where there is none
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
    /// File with a system prompt, added to the agent's own
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    system_file: Option<PathBuf>,
    /// File to go along with the prompt: text, an image or a PDF; may be given again
    #[arg(long = "file", short = 'f', value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// Id of the new session; default: one is made
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Start a sidecar for this prompt, in this folder, and end it afterwards
    #[arg(long, conflicts_with_all = ["url", "context", "token_file", "detach"])]
    local: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    following: FollowingArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// How a turn that was begun is followed.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Following")]
#[group(skip)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(in crate::cli) struct FollowingArgs {
    #[command(flatten)]
    form: FormArgs,
    /// Print nothing but the agent's last message
    #[arg(long, short = 'q', conflicts_with_all = ["output", "json", "detach"])]
    quiet: bool,
    /// Show the model's thoughts too
    #[arg(long)]
    reasoning: bool,
    /// Show all output of tools; on a terminal it is cut
    #[arg(long)]
    full: bool,
    /// Print the session's id and leave, as soon as the agent has the prompt
    #[arg(long, short = 'd')]
    detach: bool,
    /// Stop the turn after so long, such as 90s or 10m
    #[arg(long, value_name = "DURATION", value_parser = setting::duration)]
    timeout: Option<Duration>,
}

// === impl FollowingArgs ===

impl FollowingArgs {
    /// What the sidecar is told, so that the turn ends in time also when nobody follows it.
    pub(in crate::cli) fn timeout_secs(&self) -> Option<u64> {
        let timeout = self.timeout?;
        let more = u64::from(timeout.subsec_nanos() > 0);
        Some(timeout.as_secs() + more)
    }
}

pub(in crate::cli) async fn run(args: RunArgs, context: &Context) -> Outcome {
    let prompt = prompt(&args.prompt, context.terminal.input)?;
    let Some(prompt) = prompt else {
        return Err(Problem::usage(
            "there is no prompt; give one, or `-` to read it from stdin",
        ));
    };
    if args.local {
        return run_local(&args, &prompt, context).await;
    }
    let (client, target) = context.connect(&args.connection)?;
    let body = body(&args, &prompt, &target, context)?;
    begin(&args, body, client, Owner::This, context).await
}

async fn run_local(args: &RunArgs, prompt: &str, context: &Context) -> Outcome {
    // What can be wrong with the command line is found before a server starts.
    let anywhere = context.environment.target(&args.connection)?;
    let body = body(args, prompt, &anywhere, context)?;
    let mut server = LocalServer::spawn(&context.environment)?;
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    let ready = tokio::select! {
        ready = server.ready(context.terminal) => ready,
        _ = interrupt.recv() => Err(Problem::new(Exit::Interrupted, "")),
        _ = terminate.recv() => Err(Problem::new(Exit::Interrupted, "")),
    };
    let outcome = match ready.and_then(|()| Client::new(&server.target())) {
        Ok(client) => begin(args, body, client, Owner::ThisWithItsServer, context).await,
        Err(problem) => Err(problem),
    };
    // A signal of before was for the turn.
    while interrupt.recv().now_or_never().is_some() {}
    tokio::select! {
        () = server.stop() => {}
        // What does not end by itself is killed as it is dropped.
        _ = interrupt.recv() => {}
    }
    outcome
}

async fn begin(
    args: &RunArgs,
    body: Value,
    client: Client,
    owner: Owner,
    context: &Context,
) -> Outcome {
    let answer = client.post(&["sessions"], &body).await;
    let answer = answer.map_err(|problem| match owner {
        Owner::This => without_server(problem),
        Owner::ThisWithItsServer | Owner::Others => problem,
    });
    let created: Created = parsed(answer?)?;
    if !created.tools_not_offered.is_empty() {
        let style = context.terminal.error_style();
        let tools = one_line(&created.tools_not_offered.join(", "));
        say(&style.warning(&format!("not offered by this OpenCode: {tools}")));
    }
    let title = ModelArgs::title(&body["model_config"]);
    follow(&args.following, created, client, title, owner, context).await
}

/// Nobody need have a sidecar to try it.
fn without_server(problem: Problem) -> Problem {
    if problem.exit != Exit::Unreachable {
        return problem;
    }
    let sentence = format!("{}; `run --local` needs none", problem.sentence);
    Problem::new(problem.exit, sentence)
}

fn body(
    args: &RunArgs,
    prompt: &str,
    target: &Target,
    context: &Context,
) -> Result<Value, Problem> {
    let mut body = json!({
        "model_config": args.model.config(target, &context.environment)?,
    });
    if args.files.is_empty() {
        body["prompt"] = prompt.into();
    } else {
        body["parts"] = parts(prompt, &args.files)?;
    }
    if let Some(timeout) = args.following.timeout_secs() {
        body["timeout_secs"] = timeout.into();
    }
    if let Some(file) = &args.system_file {
        body["system_prompt"] = read(file)?.into();
    }
    if let Some(session) = &args.session {
        body["session_id"] = session.as_str().into();
    }
    Ok(body)
}

/// Follows a turn that was just begun, or tells its session's id.
pub(in crate::cli) async fn follow(
    args: &FollowingArgs,
    created: Created,
    client: Client,
    title: Option<String>,
    owner: Owner,
    context: &Context,
) -> Outcome {
    let terminal = context.terminal;
    let id = one_line(&created.session_id);
    if args.detach {
        write(&format!("{id}\n"))?;
        return Ok(Exit::Done);
    }
    let form = match (args.form.is_json(), args.quiet) {
        (true, _) => Form::Json,
        (_, true) => Form::Answer,
        _ => Form::Text,
    };
    if form == Form::Text {
        let title = title.map_or(String::new(), |title| format!(" · {}", one_line(&title)));
        let first = terminal.style().dim(&format!("session {id}{title}"));
        write(&format!("{first}\n\n"))?;
    }
    let request = StreamRequest {
        source: Source::Session(created.session_id.clone()),
        from: Some(created.last_event_id),
        follow: false,
        reasoning: args.reasoning,
        known: true,
    };
    Follow {
        client,
        session: created.session_id,
        terminal,
        request,
        form,
        reasoning: args.reasoning,
        full: args.full,
        until: Until::TurnEnds,
        owner,
        timeout: args.timeout.map(|timeout| timeout + GRACE),
    }
    .run()
    .await
}

/// The words of the command line, with stdin in the place of `-`.
pub(in crate::cli) fn prompt(words: &[String], terminal: bool) -> Result<Option<String>, Problem> {
    if words.is_empty() && terminal {
        return Ok(None);
    }
    let mut parts = Vec::new();
    if words.is_empty() {
        parts.push(read(Path::new("-"))?);
    }
    for word in words {
        parts.push(if word == "-" {
            read(Path::new("-"))?
        } else {
            word.clone()
        });
    }
    let prompt = parts.join("\n\n");
    Ok((!prompt.trim().is_empty()).then_some(prompt))
}

/// A file, or stdin.
fn read(path: &Path) -> Result<String, Problem> {
    let shown = if path == Path::new("-") {
        "stdin".to_owned()
    } else {
        path.display().to_string()
    };
    let failed = |error: std::io::Error| {
        let reason = crate::text::plain(&error.to_string());
        Problem::usage(format!("{shown} cannot be read: {reason}"))
    };
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin()
            .take(MAX_PROMPT_BYTES)
            .read_to_string(&mut text)
            .map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_PROMPT_BYTES)
            .read_to_string(&mut text)
            .map_err(failed)?;
    }
    Ok(text)
}
