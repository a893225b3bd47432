//! `version`: of this program, and of the OpenCode that it was made for.

use serde_json::json;

use crate::cli::context::FormArgs;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::output::write;
use crate::opencode;

const EXAMPLES: &str = "Examples:
  opencode-sidecar version
  opencode-sidecar version --json | jq -r .opencode";

/// Print the version
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct VersionArgs {
    #[command(flatten)]
    form: FormArgs,
}

pub(in crate::cli) fn run(args: &VersionArgs) -> Outcome {
    let (version, opencode) = (env!("CARGO_PKG_VERSION"), opencode::VERSION);
    let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    if args.form.is_json() {
        let version = json!({ "version": version, "opencode": opencode, "platform": platform });
        write(&format!("{version}\n"))?;
    } else {
        write(&format!(
            "opencode-sidecar {version} (made for OpenCode {opencode}, {platform})\n"
        ))?;
    }
    Ok(Exit::Done)
}
