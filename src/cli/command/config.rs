//! `config`: the settings as `serve` would have them, and whether it would start with them.

use serde_json::{Map, Value, json};

use crate::cli::context::FormArgs;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::layout::cut;
use crate::cli::output::write;
use crate::cli::style::Style;
use crate::cli::table::{Cell, lines};
use crate::cli::terminal::Terminal;
use crate::config::{self, EffectiveSetting, Origin};

const EXAMPLES: &str = "Examples:
  opencode-sidecar config check
  PORT=4000 opencode-sidecar config print
  opencode-sidecar config print --json | jq .PORT";

/// Look at the settings that `serve` would have here
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(in crate::cli) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// Say whether `serve` would start with them
    #[command(after_help = "Examples:\n  opencode-sidecar config check")]
    Check,
    /// Print them; secrets are not shown
    #[command(
        after_help = "Examples:\n  opencode-sidecar config print\n  opencode-sidecar config print --all"
    )]
    Print {
        /// Those that have their default too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        form: FormArgs,
    },
}

pub(in crate::cli) fn run(args: &ConfigArgs, terminal: Terminal) -> Outcome {
    match &args.what {
        What::Check => {
            let hints = config::check(config::variables())?;
            for hint in &hints {
                write(&format!("{} {hint}\n", terminal.style().warning("!")))?;
            }
            let words = if hints.is_empty() {
                "the settings are good"
            } else {
                "serve would start with them"
            };
            write(&format!("{} {words}\n", terminal.style().good("✓")))?;
            Ok(Exit::Done)
        }
        What::Print { all, form } => {
            let json = form.is_json();
            let settings = config::effective(config::variables());
            let settings: Vec<_> = settings
                .into_iter()
                .filter(|setting| *all || json || setting.origin != Origin::Default)
                .collect();
            if json {
                write(&format!("{}\n", as_json(settings)))?;
            } else if settings.is_empty() {
                let hint = "every setting has its default; --all shows them";
                terminal.hint(hint)?;
            } else {
                for line in as_table(settings, terminal.style(), terminal.columns()) {
                    write(&(line + "\n"))?;
                }
            }
            Ok(Exit::Done)
        }
    }
}

fn as_json(settings: Vec<EffectiveSetting>) -> Value {
    let entries = settings.into_iter().map(|setting| {
        let EffectiveSetting {
            name,
            value,
            origin,
        } = setting;
        (name, json!({ "value": value, "from": origin.as_str() }))
    });
    Value::Object(entries.collect::<Map<_, _>>())
}

fn as_table(settings: Vec<EffectiveSetting>, style: Style, columns: Option<usize>) -> Vec<String> {
    let rows = settings.into_iter().map(|setting| {
        let EffectiveSetting {
            name,
            value,
            origin,
        } = setting;
        let value = value.unwrap_or_else(|| "-".into());
        let value = if columns.is_some() {
            cut(&value, 60)
        } else {
            value
        };
        let from = Cell::painted(origin.as_str(), move |text| style.dim(text));
        [name.into(), value.into(), from]
    });
    lines(["SETTING", "VALUE", "FROM"], rows.collect(), columns)
}
