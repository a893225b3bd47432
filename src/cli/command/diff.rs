//! `diff`: what a session changed in files.

use serde::Deserialize;

use crate::cli::client::parsed;
use crate::cli::context::{CommonArgs, Context};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::layout::plural;
use crate::cli::output::{say, write};
use crate::cli::plain_text::{Cleaner, json, one_line};
use crate::cli::style::Style;

const EXAMPLES: &str = "Examples:
  opencode-sidecar diff 0190a5d2-…
  opencode-sidecar diff 0190a5d2-… --stat
  opencode-sidecar diff 0190a5d2-… --turn 2 | git apply

In a pipe the patches are as the sidecar has them, byte for byte; on a terminal what it would act on is left out.
Exit code 1 if a change has no patch, or not a whole one: stderr says which.";

/// Show what a session changed in files
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct DiffArgs {
    /// Id of the session
    #[arg(value_name = "SESSION")]
    session: String,
    /// Only the changes of this turn
    #[arg(long, value_name = "NUMBER")]
    turn: Option<u32>,
    /// Only which files, and how much
    #[arg(long)]
    stat: bool,
    #[command(flatten)]
    common: CommonArgs,
}

/// `GET /sessions/{id}/diff`.
#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Changes {
    changes: Vec<Change>,
    truncated: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Change {
    turn: Option<u32>,
    files: Vec<File>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    path: String,
    status: String,
    additions: u64,
    deletions: u64,
    patch: Option<String>,
    truncated: bool,
}

pub(in crate::cli) async fn run(args: DiffArgs, context: &Context) -> Outcome {
    let (client, _) = context.connect(&args.common.connection)?;
    let turn = args.turn.map(|turn| turn.to_string());
    let query: Vec<(&str, &str)> = turn
        .as_deref()
        .map(|turn| ("turn", turn))
        .into_iter()
        .collect();
    let answer = client
        .get(&["sessions", &args.session, "diff"], &query)
        .await?;
    if args.common.form.is_json() {
        write(&format!("{}\n", json(&answer.to_string())))?;
        return Ok(Exit::Done);
    }
    let Changes { changes, truncated } = parsed(answer)?;
    let style = context.terminal.style();
    if args.stat {
        write(&stat(&changes, style))?;
    } else {
        for change in &changes {
            // In a pipe there is nothing but the patches.
            if let (true, Some(turn)) = (context.terminal.output && changes.len() > 1, change.turn)
            {
                write(&format!("{}\n", style.dim(&format!("turn {turn}"))))?;
            }
            for patch in change.files.iter().filter_map(|file| file.patch.as_ref()) {
                if context.terminal.output {
                    write(&shown(patch, style))?;
                } else {
                    write(patch)?;
                }
            }
        }
    }
    let files = changes.iter().flat_map(|change| &change.files);
    let mut left_out: Vec<String> = files.filter_map(missing).collect();
    if truncated {
        left_out.push("the oldest turns are left out; --turn shows one".to_owned());
    }
    let warning = context.terminal.error_style();
    for sentence in &left_out {
        say(&warning.warning(sentence));
    }
    // Whoever applies the patches must learn that they are not the whole change.
    Ok(if args.stat || left_out.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Why a file's change cannot be shown, or not all of it.
fn missing(file: &File) -> Option<String> {
    let path = one_line(&file.path);
    match (&file.patch, file.truncated) {
        (Some(_), false) => None,
        (Some(_), true) => Some(format!("{path}: the patch does not have the whole change")),
        (None, _) => Some(format!(
            "{path}: {} without a patch: it is empty, binary or too long, or what was there before is not known",
            one_line(&file.status)
        )),
    }
}

/// A patch for a terminal: without what that would act on, and coloured as git colours it.
fn shown(patch: &str, style: Style) -> String {
    let mut clean = String::with_capacity(patch.len());
    for line in patch.lines() {
        let mut text = String::new();
        Cleaner::new().push(line, &mut text);
        let painted = match text.as_bytes().first() {
            _ if text.starts_with("+++") || text.starts_with("---") => style.bold(&text),
            _ if text.starts_with("diff ") || text.starts_with("index ") => style.bold(&text),
            Some(b'+') => style.good(&text),
            Some(b'-') => style.bad(&text),
            Some(b'@') => style.active(&text),
            _ => text,
        };
        clean.push_str(&painted);
        clean.push('\n');
    }
    clean
}

fn stat(changes: &[Change], style: Style) -> String {
    let files = || changes.iter().flat_map(|change| &change.files);
    let wide = files()
        .map(|file| one_line(&file.path).chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for file in files() {
        let (more, less) = (
            format!("+{}", file.additions),
            format!("-{}", file.deletions),
        );
        let path = one_line(&file.path);
        let line = format!(
            "{path:wide$}   {:8}   {} {}\n",
            one_line(&file.status),
            style.good(&more),
            style.bad(&less)
        );
        text.push_str(&line);
    }
    let (added, deleted) = files().fold((0, 0), |(added, deleted), file| {
        (added + file.additions, deleted + file.deletions)
    });
    let total = format!(
        "{} changed, +{added} -{deleted}\n",
        plural(files().count(), "file")
    );
    text + &style.dim(&total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_shown_the_patch_without_what_it_would_act_on() {
        let text =
            "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\r\n+new\u{1b}[2J\n\\ No newline at end of file\n";
        assert_eq!(
            shown(text, Style::new(false)),
            text.replace("\u{1b}[2J", "").replace('\r', "")
        );
        let coloured = shown(text, Style::new(true));
        assert!(
            coloured.contains("\u{1b}[31m-old\u{1b}[0m\n\u{1b}[32m+new\u{1b}[0m\n"),
            "{coloured:?}"
        );
    }

    #[test]
    fn what_has_no_patch_is_said() {
        let left_out = missing(&File {
            path: "a".into(),
            status: "added".into(),
            ..File::default()
        })
        .unwrap();
        assert!(
            left_out.starts_with("a: added without a patch"),
            "{left_out}"
        );
    }
}
