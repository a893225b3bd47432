//! What the documents say of `deploy/` is there, and what is there is told.

use std::fs;
use std::path::Path;

use crate::manifests::{folders, root};

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Every `deploy/…` that is named, up to where the path ends.
fn paths(text: &str) -> Vec<&str> {
    let path = |(at, _): (usize, &str)| {
        let rest = text.get(at..)?;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"/-._".contains(c));
        Some(rest.get(..end?)?.trim_end_matches(['.', '/']))
    };
    text.match_indices("deploy/").filter_map(path).collect()
}

#[test]
fn every_path_that_is_named_exists() {
    for name in ["README.md", "docs/DEPLOY.md", "docs/SCALING.md"] {
        let text = document(name);
        let named = paths(&text);
        assert!(!named.is_empty(), "{name} names no path");
        for path in named {
            let path = path.trim_start_matches("tests/");
            let there = Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists();
            assert!(there, "{name} names {path}, which is not there");
        }
    }
}

/// What people look into when something is wrong.
const OPERATORS: [&str; 4] = [
    "docs/FAQ.md",
    "docs/OPERATIONS.md",
    "docs/TROUBLESHOOTING.md",
    "docs/USER_GUIDE.md",
];

/// Names such as `SESSION_TIMEOUT`.
fn settings(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_word(c))
        .filter(|word| word.contains('_') && *word == word.to_ascii_uppercase())
        .filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase()))
        .collect()
}

#[test]
fn what_operators_read_names_only_settings_and_codes_that_there_are() {
    let (readme, contract) = (document("README.md"), document("API_CONTRACT.md"));
    for name in OPERATORS {
        let text = document(name);
        for setting in settings(&text) {
            let is_there =
                setting == "API_CONTRACT" || readme.contains(&format!("| `{setting}` |"));
            assert!(is_there, "{name} names {setting}, which is no setting");
        }
        // The first cell of a table, where it is nothing but codes.
        for row in text.lines().filter_map(|line| line.strip_prefix("| `")) {
            let (cell, _) = row.split_once(" |").unwrap();
            for code in cell.split(", ").map(|code| code.trim_matches('`')) {
                let is_code =
                    code.contains('_') && code.chars().all(|c| c == '_' || c.is_ascii_lowercase());
                let known = !is_code || contract.contains(&format!("`{code}`"));
                assert!(
                    known,
                    "{name} names {code}, which the contract does not have"
                );
            }
        }
    }
    assert_eq!(settings("`A_B`, C and a_b; D_E=1"), ["A_B", "D_E"]);
}

/// As GitHub makes them of headings.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_of_what_operators_read_leads_somewhere() {
    for name in OPERATORS {
        let text = document(name);
        let links = text.split("](").skip(1);
        for link in links
            .filter_map(|rest| rest.split_once(')'))
            .map(|(link, _)| link)
        {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                text.clone()
            } else {
                let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("docs")
                    .join(file);
                fs::read_to_string(path).unwrap_or_else(|_| panic!("{name} links to {link}"))
            };
            let found = anchor.is_empty() || anchors(&target).iter().any(|one| one == anchor);
            assert!(found, "{name} links to {link}, which has no such section");
        }
    }
}

#[test]
fn every_folder_is_told() {
    let text = document("docs/DEPLOY.md");
    for folder in folders() {
        let row = format!("| `deploy/{folder}` | ");
        assert!(text.contains(&row), "docs/DEPLOY.md does not tell {folder}");
    }
    for entry in fs::read_dir(root().join("components")).unwrap() {
        let name = entry.unwrap().file_name();
        let row = format!("| `deploy/components/{}` | ", name.display());
        assert!(text.contains(&row), "docs/DEPLOY.md does not tell {row}");
    }
}

#[test]
fn the_image_and_the_secret_are_told_as_they_are() {
    let text = document("docs/DEPLOY.md");
    let image = concat!("`opencode-sidecar:", env!("CARGO_PKG_VERSION"), "`");
    assert!(text.contains(image), "docs/DEPLOY.md does not tell {image}");
    let secret = "kubectl create secret generic opencode-sidecar --from-literal=accepted=$token --from-literal=token=$token";
    assert!(
        text.contains(secret),
        "docs/DEPLOY.md does not make the secret"
    );
}

/// What a backend is told to write is what the copy of one does, line by line.
#[test]
fn the_patches_for_a_backend_are_what_its_copy_does() {
    let text = document("docs/DEPLOY.md");
    let copy = document("tools/clients/backend.go");
    let written: Vec<&str> = copy.lines().map(str::trim).collect();
    let mut patches = 0;
    for block in text.split("```go\n").skip(1) {
        patches += 1;
        let (code, _) = block.split_once("```").unwrap();
        for line in code.lines().map(str::trim) {
            assert!(written.contains(&line), "backend.go does not have {line:?}");
        }
    }
    assert_eq!(patches, 2);
}
