//! What the binary says of itself: its settings, commands, routes and what values it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::support::{Options, SIDECAR, Sidecar};

/// One sidecar runs while the rules are checked.
pub(crate) struct Known {
    /// Name and default of every variable.
    settings: BTreeMap<String, Option<String>>,
    commands: BTreeSet<String>,
    routes: BTreeSet<String>,
    sidecar: Sidecar,
}

/// What stands in brackets after a setting's help: `[PORT, default 3003]`, or a secret's two names.
fn variables(help: &str) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    let (_, options) = help.split_once("\nOptions:\n").unwrap();
    for line in options.lines() {
        let Some((_, inner)) = line.split_once(" [") else {
            continue;
        };
        let inner = inner.trim_end_matches(']');
        let (names, default) = match inner.split_once(", default ") {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (inner, None),
        };
        for word in names.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.len() > 1 && !word.contains(|c: char| c.is_ascii_lowercase()) {
                found.insert(word.to_owned(), default.clone());
            }
        }
    }
    found
}

fn help() -> String {
    let output = Command::new(SIDECAR)
        .args(["serve", "--help"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

// === impl Known ===

impl Known {
    pub(crate) fn ask() -> Self {
        let help = help();
        let (_, commands) = help.split_once("\nCommands:\n").unwrap();
        let (commands, _) = commands.split_once("\n\n").unwrap();
        let commands = commands
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect();
        let sidecar = Options::stub().start();
        let description = sidecar.get("/openapi.json").json();
        let routes = description["paths"].as_object().unwrap().keys().cloned();
        Self {
            settings: variables(&help),
            commands,
            routes: routes.collect(),
            sidecar,
        }
    }

    pub(crate) fn setting(&self, name: &str) -> bool {
        self.settings.contains_key(name)
    }

    pub(crate) fn default(&self, name: &str) -> Option<&str> {
        self.settings.get(name)?.as_deref()
    }

    pub(crate) fn command(&self, name: &str) -> bool {
        self.commands.contains(name)
    }

    pub(crate) fn route(&self, path: &str) -> bool {
        self.routes.contains(path)
    }

    /// Whether a probe's path answers without a token, as the kubelet asks.
    pub(crate) fn is_probe(&self, path: &str) -> bool {
        matches!(path, "/healthz" | "/health" | "/ready")
            && matches!(self.sidecar.get(path).status, 200 | 503)
    }

    /// Why the binary would not start with these variables.
    ///
    /// The data directory given to it is in use, by the sidecar that runs already. The binary finds that out
    /// when it has read all settings, so this refusal means that it accepts them.
    pub(crate) fn refusal(&self, variables: &[(&str, &str)]) -> Option<String> {
        let mut options = Options::stub();
        let secret = options.dir.path().join("secret");
        std::fs::write(&secret, "new-secret\nold-secret\n").unwrap();
        for (name, value) in variables {
            let value = match *name {
                "OPENCODE_SHARED_SECRET_FILE" => secret.to_str().unwrap(),
                // What the cluster would put there.
                "OPENCODE_SHARED_SECRET" => "new-secret",
                _ => value,
            };
            options = options.env(name, value);
        }
        let data = self.sidecar.data_dir();
        let options = options.env("DATA_DIR", data.to_str().unwrap());
        let (status, stderr) = options.refused();
        assert_eq!(status, Some(64), "{stderr}");
        let accepted = stderr.contains("is in use by another opencode-sidecar");
        (!accepted).then(|| stderr.trim().to_owned())
    }
}

#[test]
fn the_help_names_every_variable_with_its_default() {
    let found = variables(&help());
    assert!(found.len() > 30, "{found:?}");
    assert_eq!(found["PORT"].as_deref(), Some("3003"));
    assert_eq!(found["DRAIN_TIMEOUT"].as_deref(), Some("25"));
    assert_eq!(found["DATA_DIR"], None);
    assert!(found.contains_key("OPENCODE_SHARED_SECRET_FILE"));
    assert!(found.contains_key("LOG_FORMAT"));
    assert!(!found.contains_key("OPTIONS"), "a word of the usage line");
}

#[test]
fn what_the_binary_accepts_and_refuses_is_told_apart() {
    let known = Known::ask();
    assert_eq!(known.refusal(&[("DRAIN_TIMEOUT", "25")]), None);
    let refusal = known.refusal(&[("DRAIN_TIMEOUT", "soon")]).unwrap();
    assert!(
        refusal.contains("DRAIN_TIMEOUT=\"soon\" is not accepted"),
        "{refusal}"
    );
    assert!(known.is_probe("/ready"));
    assert!(!known.is_probe("/sessions"));
    assert!(known.route("/engine/status"));
    assert!(!known.route("/readyz"));
}
