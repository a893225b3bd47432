//! README's first session, as README shows it.

use std::process::Command;

use crate::support::Options;

const README: &str = include_str!("../../README.md");

/// The first fenced block of this kind after the words.
fn block(after: &str, kind: &str) -> &'static str {
    let rest = README.split_once(after).unwrap().1;
    let rest = rest.split_once(&format!("```{kind}\n")).unwrap().1;
    rest.split_once("\n```").unwrap().0
}

/// Whether the parts of `pattern` between its `…` come in this order in `text`.
fn fits(pattern: &str, text: &str) -> bool {
    let mut rest = Some(text);
    let mut parts = pattern.split('…');
    let begins = text.starts_with(parts.next().unwrap());
    for part in parts {
        rest = rest.and_then(|rest| rest.split_once(part).map(|(_, after)| after));
    }
    begins && rest.is_some()
}

#[test]
fn the_first_session_of_the_readme_is_what_it_shows() {
    let sidecar = Options::real().env("DEMO_MODEL", "on").start().ready();
    let command = block("## Use it", "sh").replace("localhost:3003", &sidecar.address.to_string());
    let output = Command::new("sh")
        .args(["-c", &format!("{command} --max-time 30")])
        .output()
        .unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    let mut blocks = seen.split("\n\n");
    for shown in block("## Use it", "text").split("\n\n") {
        // A line of its own stands for blocks left out.
        let shown = shown.strip_prefix("…\n").unwrap_or(shown);
        // Text comes in pieces, and the first of them is the beginning of the text.
        let shown = shown.replace("This is a demo: …", "This is a …");
        assert!(
            blocks.any(|block| fits(&shown, block)),
            "not seen, or not in this order:\n{shown}\n\nseen:\n{seen}"
        );
    }
    let left: Vec<&str> = blocks.filter(|block| !block.trim().is_empty()).collect();
    assert!(
        left.is_empty(),
        "nothing comes after what ends it: {left:?}"
    );
    assert!(sidecar.workspace().join("demo.md").exists());
}
