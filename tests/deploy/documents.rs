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
