//! What is said of the commands: docs/CLI.md, completions, manual pages, the description of the API.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::golden::assert_golden;
use crate::program::{command, output};

const MARKER: &str = "<!-- What follows is what --help prints: UPDATE_DOCS=1 cargo nextest run -E 'test(docs_cli_md)' -->\n";

fn print(arguments: &[&str]) -> String {
    let output = output(command(arguments));
    assert_eq!(output.code, 0, "{arguments:?}: {output:?}");
    output.stdout
}

/// The commands in the order of the overview, but for `help`.
fn commands() -> Vec<String> {
    let overview = print(&["--help"]);
    let indented = overview.lines().filter_map(|line| line.strip_prefix("  "));
    let names = indented.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "whoever changes a help text has this test write it down"
)]
fn docs_cli_md_has_what_help_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CLI.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (head, written) = document.split_once(MARKER).unwrap();
    let names = commands();
    assert!(names.len() > 12, "{names:?}");
    let mut made = String::new();
    for name in names.iter().filter(|name| *name != "serve") {
        let help = print(&[name, "--help"]);
        writeln!(made, "\n### `{name}`\n\n```text\n{}\n```", help.trim_end()).unwrap();
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{MARKER}{made}")).unwrap();
    } else {
        assert_eq!(
            written, made,
            "docs/CLI.md is old: the comment in it says how it is made"
        );
    }
}

#[test]
fn every_help_has_an_example() {
    for name in commands() {
        let help = print(&[&name, "--help"]);
        assert!(
            help.contains("Examples:\n") && help.contains(&format!("opencode-sidecar {name}")),
            "{name}: {help}"
        );
        assert!(!help.contains("[`"), "{help}");
    }
    for name in ["check", "print"] {
        let help = print(&["config", name, "--help"]);
        assert!(
            help.contains(&format!("\n  opencode-sidecar config {name}")),
            "{help}"
        );
    }
}

#[test]
fn completions_are_what_the_shells_take() {
    for (shell, arguments) in [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["-n"])] {
        let script = print(&["completions", shell]);
        for word in ["diagnose", "--token-file", "--max-total-tokens"] {
            assert!(
                script.contains(word.trim_start_matches("--")),
                "{shell} lacks {word}"
            );
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), script).unwrap();
        // A shell that is not there cannot be asked; bash always is.
        if let Ok(checked) = Command::new(shell)
            .args(arguments)
            .arg(file.path())
            .output()
        {
            assert!(checked.status.success(), "{shell}: {checked:?}");
        } else {
            assert_ne!(shell, "bash");
        }
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    print(&["man", "--dir", dir.path().to_str().unwrap()]);
    for name in commands() {
        let page =
            std::fs::read_to_string(dir.path().join(format!("opencode-sidecar-{name}.1"))).unwrap();
        assert!(
            page.contains(".TH ") && page.contains("Examples:"),
            "{name}: {page}"
        );
        assert_eq!(print(&["man", &name]), page);
    }
    assert!(print(&["man"]).contains(".SH SUBCOMMANDS"));
}

#[test]
fn the_description_and_the_version_need_no_server() {
    let description: Value = serde_json::from_str(&print(&["openapi"])).unwrap();
    assert!(description["paths"]["/sessions/{id}/stream"].is_object());
    let version: Value = serde_json::from_str(&print(&["version", "--json"])).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(print(&["--version"]).starts_with("opencode-sidecar "));
}

#[test]
fn the_settings_are_printed_without_secrets() {
    let mut print = command(&["config", "print", "--json"]);
    print
        .env("OPENCODE_SHARED_SECRET", "hunter2")
        .env("PORT", "4000");
    let output = output(print);
    assert!(!output.stdout.contains("hunter2"), "{output:?}");
    let settings: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        settings["PORT"],
        serde_json::json!({ "value": "4000", "from": "variable" })
    );
    assert_eq!(
        settings["OPENCODE_SHARED_SECRET"]["value"],
        "(set, not shown)"
    );
    assert!(settings.as_object().unwrap().len() > 40);

    let mut table = command(&["config", "print"]);
    table
        .env("OPENCODE_SHARED_SECRET", "hunter2")
        .env("PORT", "4000");
    assert_golden("config", &crate::program::output(table).stdout);

    let mut check = command(&["config", "check"]);
    check.env("PORT", "http");
    let output = crate::program::output(check);
    assert_eq!(output.code, 64);
    assert!(
        output.stderr.contains("PORT=\"http\" is not accepted"),
        "{output:?}"
    );
}
