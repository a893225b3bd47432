//! The rules of deny.toml that need no tool: `make deny` has the rest.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Licences we may ship under. An expression is fine when one side of each OR is.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "CDLA-Permissive-2.0",
    "MPL-2.0",
    "0BSD",
    "Unlicense",
    "CC0-1.0",
];

/// One TLS library, one crypto provider, neither of them in C that we do not know.
const BANNED: &[&str] = &["openssl-sys", "native-tls", "aws-lc-sys", "aws-lc-rs"];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn acceptable(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    expression.split(" AND ").all(|part| {
        part.split(" OR ")
            .any(|licence| LICENCES.contains(&licence.trim()))
    })
}

#[test]
fn every_dependency_has_a_licence_we_may_ship_and_none_is_banned() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "the whole graph was read");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        assert!(!BANNED.contains(&name), "{name} is banned");
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(acceptable(licence), "{name}: licence {licence}");
        let source = package["source"].as_str();
        let from_registry = source.is_none_or(|source| source.contains("crates.io-index"));
        assert!(from_registry, "{name} comes from {source:?}");
    }
}

/// The two lists of one rule: what `make deny` allows and bans, and what this file does.
#[test]
fn deny_toml_says_the_same() {
    let deny = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).unwrap();
    let between = |start: &str, end: &str| {
        let (_, rest) = deny.split_once(start).unwrap();
        rest.split_once(end).unwrap().0.to_owned()
    };
    let quoted = |text: &str| -> BTreeSet<String> {
        text.split('"')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let set = |list: &[&str]| -> BTreeSet<String> {
        list.iter().map(|&entry| entry.to_owned()).collect()
    };
    assert_eq!(quoted(&between("\nallow = [", "]")), set(LICENCES));
    let bans = between("\ndeny = [", "\n]");
    let banned = bans
        .lines()
        .filter_map(|line| line.split_once("crate = \"")?.1.split('"').next())
        .map(str::to_owned);
    assert_eq!(banned.collect::<BTreeSet<_>>(), set(BANNED));
}

#[test]
fn the_lock_file_is_committed_and_no_version_is_a_wildcard() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(root.join("Cargo.lock").exists());
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("= \"*\""), "a wildcard is no version");
}
