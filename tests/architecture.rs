//! Imports run one way. The table is the design; docs/ARCHITECTURE.md explains it.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Room -> rooms it may enter. A room that is not listed may not exist.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("backoff", &[]),
    ("clock", &[]),
    ("id", &[]),
    ("journal", &["clock", "id", "setting"]),
    ("process", &[]),
    ("secret", &[]),
    ("shutdown", &[]),
    ("socket_owner", &[]),
    ("text", &[]),
    ("trust", &[]),
    ("workspace", &[]),
    ("telemetry", &["config", "setting"]),
    ("setting", &[]),
    ("provider", &[]),
    ("sandbox", &["setting"]),
    ("tool", &[]),
    ("event", &["clock"]),
    ("opencode", &["secret", "text"]),
    ("outgoing", &["socket_owner"]),
    (
        "gateway",
        &[
            "outgoing",
            "provider",
            "secret",
            "setting",
            "socket_owner",
            "trust",
        ],
    ),
    (
        "session",
        &[
            "clock", "event", "journal", "provider", "secret", "setting", "tool",
        ],
    ),
    (
        "driver",
        &[
            "clock",
            "engine",
            "event",
            "gateway",
            "id",
            "opencode",
            "secret",
            "session",
            "setting",
            "shutdown",
            "tool",
            "workspace",
        ],
    ),
    (
        "backend",
        &[
            "backoff",
            "clock",
            "id",
            "outgoing",
            "secret",
            "session",
            "shutdown",
            "socket_owner",
            "trust",
        ],
    ),
    (
        "engine",
        &[
            "backoff",
            "id",
            "opencode",
            "sandbox",
            "secret",
            "setting",
            "shutdown",
            "text",
            "workspace",
        ],
    ),
    (
        "api",
        &[
            "clock",
            "config",
            "engine",
            "event",
            "id",
            "process",
            "provider",
            "sandbox",
            "secret",
            "session",
            "shutdown",
            "socket_owner",
            "text",
            "tool",
            "workspace",
        ],
    ),
    (
        "config",
        &[
            "backend",
            "driver",
            "engine",
            "gateway",
            "journal",
            "sandbox",
            "secret",
            "session",
            "setting",
            "telemetry",
            "text",
        ],
    ),
    ("drain", &["config", "loopback", "secret"]),
    ("healthcheck", &["config", "loopback"]),
    ("loopback", &["text"]),
    (
        "app",
        &[
            "api",
            "backend",
            "config",
            "driver",
            "engine",
            "gateway",
            "journal",
            "opencode",
            "session",
            "shutdown",
            "socket_owner",
            "workspace",
        ],
    ),
];

/// What lies at the top of the repository. A shell's slip (`>oom`) leaves files there, and `git add` takes them.
const ROOT: &[&str] = &[
    ".cargo",
    ".ci",
    ".config",
    ".dockerignore",
    ".git",
    ".gitattributes",
    ".github",
    ".gitignore",
    "API_CONTRACT.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "benches",
    "clippy.toml",
    "deny.toml",
    "deploy",
    "docs",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "src",
    "tests",
    "tools",
    // What the Makefile makes, and git ignores.
    "bill",
    "data",
    "target",
    "workspace",
];

#[test]
fn nothing_lies_about_at_the_top() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unknown: Vec<String> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !ROOT.contains(&name.as_str()))
        .collect();
    assert!(
        unknown.is_empty(),
        "at the top of the repository: {unknown:?}"
    );
}

/// A file past this is asked to explain itself; tests beside the code do not count.
const MAX_LINES: usize = 400;

fn sources() -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    found
}

/// The part of a file that ships: without the tests at its foot and without comments.
fn shipped(path: &Path) -> String {
    if path
        .components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
    {
        return String::new();
    }
    let text = fs::read_to_string(path).unwrap();
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// `src/engine/child.rs` -> `engine`.
fn room(path: &Path) -> String {
    let relative = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap();
    let first = relative
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Every room named after `crate::`, alone or in a list.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list[..list.find('}').unwrap()].to_owned(),
            None => rest[..rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len())]
                .to_owned(),
        };
        let rooms = names
            .split(',')
            .map(|name| name.trim().split("::").next().unwrap().to_owned());
        found.extend(rooms.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())));
        // `crate::Config` and the like are re-exports of a room.
        if names.starts_with("Config") {
            found.insert("config".to_owned());
        }
    }
    found
}

#[test]
fn imports_run_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut faults = Vec::new();
    for path in sources() {
        let room = room(&path);
        // `bench` and `live` are doors for measuring and testing.
        if matches!(room.as_str(), "main" | "lib" | "bench" | "live") {
            continue;
        }
        let Some(allowed) = allowed.get(room.as_str()) else {
            faults.push(format!(
                "{}: the room `{room}` is not in the table",
                path.display()
            ));
            continue;
        };
        for import in imports(&shipped(&path)) {
            if import != room && !allowed.contains(&import.as_str()) {
                faults.push(format!(
                    "{}: `{room}` may not import `{import}`",
                    path.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_table_names_only_rooms_that_exist_and_no_import_that_is_gone() {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources() {
        used.entry(room(&path))
            .or_default()
            .extend(imports(&shipped(&path)));
    }
    for (room, allowed) in MAY_IMPORT {
        let used = used
            .get(*room)
            .unwrap_or_else(|| panic!("the room `{room}` does not exist"));
        for import in *allowed {
            assert!(
                used.contains(*import),
                "`{room}` does not import `{import}` any more: take it out of the table"
            );
        }
    }
}

#[test]
fn no_file_is_too_long_and_no_module_is_called_mod() {
    for path in sources() {
        assert!(
            !path.ends_with("mod.rs"),
            "{}: `x.rs` beside `x/`",
            path.display()
        );
        let lines = shipped(&path).lines().count();
        assert!(
            lines <= MAX_LINES,
            "{}: {lines} lines; split it by idea",
            path.display()
        );
    }
}

/// The environment is read in `config`, and status codes are chosen in `api`.
#[test]
fn what_belongs_to_one_room_is_not_done_in_another() {
    let one_room: [(&str, &[&str]); 3] = [
        ("std::env::var", &["config"]),
        // The gateway speaks HTTP of its own.
        ("StatusCode", &["api", "bench", "gateway"]),
        (
            "/proc/",
            &[
                "engine",
                "journal",
                "live",
                "process",
                "sandbox",
                "socket_owner",
            ],
        ),
    ];
    for path in sources() {
        let (room, text) = (room(&path), shipped(&path));
        for (words, owners) in one_room {
            let theirs = owners.contains(&room.as_str()) || !text.contains(words);
            assert!(theirs, "{}: {words} belongs to {owners:?}", path.display());
        }
    }
}
