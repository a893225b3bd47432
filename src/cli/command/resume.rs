//! `resume`: another turn of a session that has ended.

use serde_json::json;

use super::run::{FollowingArgs, follow, prompt};
use crate::cli::client::{Created, parsed};
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::follow::Owner;
use crate::cli::model_args::ModelArgs;
use crate::config::ConnectionArgs;

const EXAMPLES: &str = "Examples:
  opencode-sidecar resume 0190a5d2-…
  opencode-sidecar resume 0190a5d2-… \"Now add tests\"
  opencode-sidecar resume 0190a5d2-… -p openai -m gpt-4o-mini --key-file key

Model and key are those of the turn before. When the sidecar does not have them any more, because it was restarted
or much time has passed, --provider, --model and --key-file are needed.";

/// Go on with a session that has ended, and follow it to the end
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ResumeArgs {
    /// Id of the session
    #[arg(value_name = "SESSION")]
    session: String,
    /// What to do now; without it the agent goes on where it was
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    following: FollowingArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(in crate::cli) async fn run(args: ResumeArgs, context: &Context) -> Outcome {
    let (client, target) = context.connect(&args.connection)?;
    let mut body = json!({});
    if let Some(config) = args.model.change(&target, &context.environment)? {
        body["model_config"] = config;
    }
    // Stdin is read only if it is asked for: most resumes need no words.
    if let Some(prompt) = prompt(&args.prompt, true)? {
        body["prompt"] = prompt.into();
    }
    if let Some(timeout) = args.following.timeout_secs() {
        body["timeout_secs"] = timeout.into();
    }
    let path = ["sessions", args.session.as_str(), "resume"];
    let created: Created = parsed(client.post(&path, &body).await?)?;
    follow(
        &args.following,
        created,
        client,
        ModelArgs::title(&body["model_config"]),
        Owner::This,
        context,
    )
    .await
}
