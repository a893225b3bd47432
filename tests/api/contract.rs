//! `API_CONTRACT.md` is true: its examples are run, its tables are compared with what is built.

use std::process::Command;

use crate::support::Options;

const CONTRACT: &str = include_str!("../../API_CONTRACT.md");

/// `(command, expected output)` of every `console` block, in order.
fn examples() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in CONTRACT.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => found.push((command.to_owned(), String::new())),
                (None, Some((_, output))) => {
                    output.push_str(line);
                    output.push('\n');
                }
                (None, None) => panic!("output before any command: {line}"),
            },
        }
    }
    found
}

/// `…` stands for anything that differs from time to time.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.trim_end().split('…');
    let Some(mut rest) = text.trim_end().strip_prefix(parts.next().unwrap()) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    for (n, part) in parts.iter().enumerate() {
        let at = if n + 1 == parts.len() && !part.is_empty() {
            rest.rfind(part)
        } else {
            rest.find(part)
        };
        let Some(at) = at else { return false };
        rest = rest.get(at + part.len()..).unwrap();
    }
    rest.is_empty() || parts.last().is_some_and(|part| part.is_empty())
}

#[test]
fn every_example_of_the_contract_is_true() {
    let sidecar = Options::stub().start().ready();
    let examples = examples();
    assert!(examples.len() >= 7, "the examples were found");
    for (command, expected) in examples {
        assert!(command.starts_with("curl "), "{command}");
        let here = command.replace("localhost:3003", &sidecar.address.to_string());
        let output = Command::new("sh").args(["-c", &here]).output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        assert!(
            matches(&expected, &output),
            "$ {command}\nexpected {expected}\ngot      {output}"
        );
    }
}

#[test]
fn a_pattern_matches_what_it_should_and_nothing_else() {
    assert!(matches("a…c", "abbc") && matches("abc\n", "abc") && matches("a…", "abc"));
    assert!(!matches("a…c", "abcd") && !matches("abc", "abcd") && !matches("x…", "abc"));
}
