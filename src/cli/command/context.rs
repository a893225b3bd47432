//! `context`: which sidecars the file of contexts names, and which one is the current.

use crate::cli::context::{Context, FormArgs};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::output::write;
use crate::cli::plain_text::{json as safe, one_line};
use crate::cli::table::{Cell, lines};
use crate::config::NamedContext;

const EXAMPLES: &str = "Examples:
  opencode-sidecar context
  opencode-sidecar context use staging
  opencode-sidecar context -o json | jq '.[].url'";

/// Look at the sidecars of the file of contexts, or change which one is the current
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct ContextArgs {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    form: FormArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// Make this one the current context
    #[command(after_help = "Examples:\n  opencode-sidecar context use staging")]
    Use {
        /// Its name in the file
        #[arg(value_name = "NAME")]
        name: String,
    },
}

pub(in crate::cli) fn run(args: &ContextArgs, context: &Context) -> Outcome {
    if let Some(What::Use { name }) = &args.what {
        context.environment.use_context(name)?;
        write(&format!("{} is the current context\n", one_line(name)))?;
        return Ok(Exit::Done);
    }
    let named = context.environment.named_contexts()?;
    if args.form.is_json() {
        let list: serde_json::Value = named.iter().map(as_json).collect();
        write(&format!("{}\n", safe(&list.to_string())))?;
        return Ok(Exit::Done);
    }
    let style = context.terminal.style();
    if named.is_empty() {
        let hint =
            "no contexts; docs/CLI.md says what ~/.config/opencode-sidecar/contexts.toml has";
        context.terminal.hint(hint)?;
        return Ok(Exit::Done);
    }
    let rows = named.iter().map(|one| {
        let mark = if one.is_current { "*" } else { "" };
        let token = if one.has_token { "yes" } else { "-" };
        [
            Cell::painted(mark, move |text| style.good(text)),
            one_line(&one.name).into(),
            one_line(&one.url).into(),
            token.into(),
            one_line(one.model.as_deref().unwrap_or("-")).into(),
        ]
    });
    let header = ["", "NAME", "URL", "TOKEN", "MODEL"];
    for line in lines(header, rows.collect(), context.terminal.columns()) {
        write(&(line + "\n"))?;
    }
    Ok(Exit::Done)
}

fn as_json(one: &NamedContext) -> serde_json::Value {
    serde_json::json!({
        "name": one.name, "url": one.url, "has_token": one.has_token, "model": one.model, "current": one.is_current,
    })
}
