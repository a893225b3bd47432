//! Imports run one way. The table is the design; docs/ARCHITECTURE.md explains it.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A module and the modules it may import. A module that is not listed may not exist.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("audit", &["secret"]),
    ("backoff", &[]),
    ("clock", &[]),
    ("console", &["text"]),
    ("conversation", &["clock", "event"]),
    (
        "egress",
        &[
            "audit",
            "egress_policy",
            "metrics",
            "secret",
            "setting",
            "socket_owner",
            "text",
            "unauthenticated",
        ],
    ),
    ("egress_policy", &[]),
    ("id", &[]),
    ("idumb", &["workspace"]),
    ("journal", &["clock", "id", "locks", "metrics", "setting"]),
    ("metrics", &[]),
    ("locks", &[]),
    ("process", &[]),
    ("secret", &[]),
    ("shutdown", &[]),
    ("socket_owner", &[]),
    (
        "warm_up_turn",
        &[
            "engine", "gateway", "model", "opencode", "provider", "trace",
        ],
    ),
    ("text", &[]),
    (
        "trace",
        &[
            "clock",
            "event",
            "metrics",
            "outgoing",
            "secret",
            "socket_owner",
            "text",
            "trust",
        ],
    ),
    ("trust", &[]),
    ("unauthenticated", &[]),
    ("workspace", &[]),
    ("telemetry", &["audit", "setting"]),
    ("setting", &[]),
    ("model", &["clock", "provider", "secret", "setting"]),
    ("provider", &[]),
    ("sandbox", &["setting"]),
    ("tool", &[]),
    ("permission", &["egress_policy", "tool"]),
    ("event", &["clock"]),
    ("opencode", &["secret", "text"]),
    ("outgoing", &["socket_owner"]),
    (
        "gateway",
        &[
            "clock",
            "metrics",
            "model",
            "outgoing",
            "provider",
            "secret",
            "setting",
            "socket_owner",
            "trace",
            "trust",
            "unauthenticated",
        ],
    ),
    (
        "session",
        &[
            "audit",
            "clock",
            "egress_policy",
            "event",
            "journal",
            "locks",
            "metrics",
            "model",
            "permission",
            "setting",
            "text",
            "tool",
            "trace",
        ],
    ),
    (
        "driver",
        &[
            "clock",
            "conversation",
            "egress",
            "engine",
            "event",
            "gateway",
            "id",
            "model",
            "opencode",
            "permission",
            "secret",
            "session",
            "setting",
            "shutdown",
            "tool",
            "trace",
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
            "clock",
            "id",
            "metrics",
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
            "audit",
            "clock",
            "config",
            "console",
            "conversation",
            "driver",
            "egress",
            "egress_policy",
            "engine",
            "event",
            "id",
            "idumb",
            "metrics",
            "model",
            "permission",
            "process",
            "provider",
            "sandbox",
            "secret",
            "session",
            "shutdown",
            "socket_owner",
            "telemetry",
            "text",
            "tool",
            "trace",
            "workspace",
        ],
    ),
    (
        "cli",
        &[
            "api",
            "clock",
            "config",
            "engine",
            "gateway",
            "loopback",
            "opencode",
            "process",
            "provider",
            "sandbox",
            "secret",
            "setting",
            "text",
            "trust",
            "workspace",
        ],
    ),
    (
        "config",
        &[
            "backend",
            "driver",
            "egress",
            "engine",
            "gateway",
            "journal",
            "sandbox",
            "secret",
            "session",
            "setting",
            "telemetry",
            "text",
            "trace",
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
            "egress",
            "egress_policy",
            "engine",
            "gateway",
            "journal",
            "opencode",
            "session",
            "shutdown",
            "socket_owner",
            "telemetry",
            "trace",
            "warm_up_turn",
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
    "examples",
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

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

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
    walk(&source(), &mut found);
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

/// `engine/child.rs` belongs to the module `engine`.
fn module(relative: &Path) -> String {
    let first = relative.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Which top module uses items of which other.
fn between_modules(
    files: &BTreeMap<PathBuf, BTreeSet<PathBuf>>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut modules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, used) in files {
        let name = module(file);
        let others = used
            .iter()
            .map(|file| module(file))
            .filter(|other| *other != name);
        modules.entry(name.clone()).or_default().extend(others);
    }
    // The crate's root and the program name everything.
    modules.retain(|name, _| name != "main" && name != "lib");
    modules
}

#[test]
fn modules_import_what_the_table_allows_and_nothing_else() {
    let imports = between_modules(&imports::graph(&source()));
    let allowed: BTreeMap<String, BTreeSet<String>> = MAY_IMPORT
        .iter()
        .map(|(name, others)| {
            (
                (*name).to_owned(),
                others.iter().map(|&other| other.to_owned()).collect(),
            )
        })
        .collect();
    let mut faults = Vec::new();
    for name in imports
        .keys()
        .chain(allowed.keys())
        .collect::<BTreeSet<_>>()
    {
        let (Some(imports), Some(allowed)) = (imports.get(name), allowed.get(name)) else {
            faults.push(format!(
                "`{name}` is a module without a line in the table, or a line without a module"
            ));
            continue;
        };
        for other in imports.difference(allowed) {
            faults.push(format!("`{name}` may not import `{other}`"));
        }
        for other in allowed.difference(imports) {
            faults.push(format!(
                "`{name}` does not import `{other}` any more: take it out of the table"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(
        imports::cycles(&allowed),
        Vec::<Vec<String>>::new(),
        "modules that import each other"
    );
}

#[test]
fn files_form_no_cycle() {
    let files = imports::graph(&source());
    let cycles = imports::cycles(&files);
    let mut faults = String::new();
    for cycle in &cycles {
        faults += "\nThese files use items of each other:\n";
        for file in cycle {
            let used: Vec<_> = files[file]
                .iter()
                .filter(|used| cycle.contains(used))
                .collect();
            writeln!(faults, "  {} uses {used:?}", file.display()).unwrap();
        }
    }
    assert!(cycles.is_empty(), "{faults}");
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
fn what_belongs_to_one_module_is_not_done_in_another() {
    let owned: [(&str, &[&str]); 3] = [
        ("std::env::var", &["config"]),
        // The gateway speaks HTTP of its own.
        ("StatusCode", &["api", "bench", "gateway"]),
        (
            "/proc/",
            &["engine", "journal", "process", "sandbox", "socket_owner"],
        ),
    ];
    for path in sources() {
        let name = module(path.strip_prefix(source()).unwrap());
        let text = shipped(&path);
        for (words, owners) in owned {
            let theirs = owners.contains(&name.as_str()) || !text.contains(words);
            assert!(theirs, "{}: {words} belongs to {owners:?}", path.display());
        }
    }
}
