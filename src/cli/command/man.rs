//! `man`: the manual pages, made of the same source as `--help`.

use std::path::{Path, PathBuf};

use crate::cli::exit::{Exit, Outcome, Problem};
use crate::cli::output::write;

const EXAMPLES: &str = "Examples:
  opencode-sidecar man | man -l -
  opencode-sidecar man run | man -l -
  opencode-sidecar man --dir /usr/local/share/man/man1";

/// Print a manual page, or write all of them
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ManArgs {
    /// The command whose page it is; without it, that of the program
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Option<String>,
    /// Write every page into this folder
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

pub(in crate::cli) fn run(args: &ManArgs, mut tree: clap::Command) -> Outcome {
    tree.build();
    if let Some(dir) = &args.dir {
        save(dir, "opencode-sidecar.1", page(tree.clone())?)?;
        for command in tree.get_subcommands() {
            let name = format!("opencode-sidecar-{}.1", command.get_name());
            save(dir, &name, page(command.clone())?)?;
        }
        return Ok(Exit::Done);
    }
    let command = match &args.command {
        None => tree,
        Some(name) => tree
            .find_subcommand(name)
            .cloned()
            .ok_or_else(|| Problem::usage(format!("there is no command {name}")))?,
    };
    write(&String::from_utf8_lossy(&page(command)?))?;
    Ok(Exit::Done)
}

fn page(command: clap::Command) -> Result<Vec<u8>, Problem> {
    let name = command
        .get_bin_name()
        .unwrap_or("opencode-sidecar")
        .replace(' ', "-");
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .title(name)
        .render(&mut page)?;
    Ok(page)
}

fn save(dir: &Path, name: &str, page: Vec<u8>) -> Result<(), Problem> {
    let path = dir.join(name);
    std::fs::write(&path, page).map_err(|error| {
        let reason = crate::text::plain(&error.to_string());
        Problem::failed(format!("{} cannot be written: {reason}", path.display()))
    })
}
