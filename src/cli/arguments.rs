//! The commands, as one tree: for parsing, help, completions and manual pages.

use std::fmt::Write as _;

use clap::Subcommand as _;

use super::command::{
    attach, completions, config as config_command, context, diagnose, diff, doctor, events, logs,
    man, openapi, ps, resume, run, stop, top, version,
};
use super::style::Style;
use crate::config;

/// The commands of this module. The others are of `config`.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum Command {
    Run(run::RunArgs),
    Attach(attach::AttachArgs),
    Resume(resume::ResumeArgs),
    Stop(stop::StopArgs),
    Ps(ps::PsArgs),
    Logs(logs::LogsArgs),
    Top(top::TopArgs),
    Diagnose(diagnose::DiagnoseArgs),
    Diff(diff::DiffArgs),
    Events(events::EventsArgs),
    Doctor(doctor::DoctorArgs),
    Config(config_command::ConfigArgs),
    Context(context::ContextArgs),
    Openapi(openapi::OpenapiArgs),
    Version(version::VersionArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// How help lists the commands.
const GROUPS: &[(&str, &[&str])] = &[
    ("Sessions", &["run", "attach", "resume", "stop"]),
    (
        "Watching",
        &["ps", "logs", "diff", "diagnose", "top", "events"],
    ),
    (
        "Server",
        &["serve", "doctor", "config", "healthcheck", "drain"],
    ),
    (
        "Other",
        &[
            "context",
            "openapi",
            "version",
            "completions",
            "man",
            "help",
        ],
    ),
];

const ABOUT: &str = "Turns OpenCode, the AI coding agent, into a dependable service";

/// The whole command line.
pub(super) fn tree() -> clap::Command {
    let root = clap::Command::new("opencode-sidecar")
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .subcommands(config::commands());
    let mut tree = Command::augment_subcommands(root);
    let names: Vec<String> = tree
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    for name in names {
        tree = tree.mut_subcommand(name, |command| command.mut_args(with_plain_variables));
    }
    tree
}

/// Variables in brackets are written as those of the settings.
fn with_plain_variables(arg: clap::Arg) -> clap::Arg {
    match arg.get_help().map(ToString::to_string) {
        Some(help) if help.contains("[`") => arg.help(help.replace("[`", "[").replace("`]", "]")),
        _ => arg,
    }
}

/// The commands with a line for each, by what they are for.
pub(super) fn overview(style: Style) -> String {
    let mut tree = tree();
    tree.build();
    let mut text = format!(
        "{ABOUT}\n\n{} opencode-sidecar [COMMAND]\n",
        style.bold("Usage:")
    );
    for (group, names) in GROUPS {
        writeln!(text, "\n{}", style.bold(&format!("{group}:"))).ok();
        for name in *names {
            let about = tree
                .find_subcommand(name)
                .and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            writeln!(text, "  {}  {about}", style.active(&format!("{name:<12}"))).ok();
        }
    }
    text.push_str(
        "\nWithout a command it serves; its options may be given as they are.\n\
         `opencode-sidecar <command> --help` has the options and an example.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn every_command_is_in_the_overview_and_has_an_example() {
        let mut tree = tree();
        tree.build();
        let listed: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        for command in tree.get_subcommands() {
            let name = command.get_name();
            assert!(listed.contains(&name), "{name} is in no group");
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let example = format!("\n  opencode-sidecar {name}");
            let has_one = help.contains("Examples:") && help.contains(&example);
            assert!(name == "help" || has_one, "{name}: {help}");
        }
        for name in listed {
            assert!(tree.find_subcommand(name).is_some(), "{name} is no command");
        }
    }
}
