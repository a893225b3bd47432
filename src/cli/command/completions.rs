//! `completions`: what a shell needs to complete this command line.

use clap_complete::Shell;

use crate::cli::exit::{Exit, Outcome};
use crate::cli::output::write;

const EXAMPLES: &str = "Examples:
  opencode-sidecar completions bash > /etc/bash_completion.d/opencode-sidecar
  opencode-sidecar completions zsh > \"${fpath[1]}/_opencode-sidecar\"
  opencode-sidecar completions fish > ~/.config/fish/completions/opencode-sidecar.fish";

/// Print the completions of a shell
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = clap::builder::PossibleValuesParser::new(["bash", "zsh", "fish"]))]
    shell: String,
}

pub(in crate::cli) fn run(args: &CompletionsArgs, mut tree: clap::Command) -> Outcome {
    let shell = match args.shell.as_str() {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::Bash,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree, "opencode-sidecar", &mut script);
    write(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
