//! The environment of the process: values of settings, what the child may have of it, and names that look
//! like misspelt settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Variables that the child may have from us as they are. Everything else stays here: the agent's shell
/// inherits whatever the child has.
const PASSED_ON: &[&str] = &["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];

/// Prefixes that are ours (or OpenCode's): a name near one of ours is worth a hint.
const PREFIXES: &[&str] = &["OPENCODE_", "SIDECAR_", "ENGINE_"];

/// A name that the contract has for `OPENCODE_PORT` since its first version.
const OLD_OPENCODE_PORT: &str = "OPENCOD_PORT";

/// The variables that are set. An empty one counts as not set.
#[derive(Debug)]
pub(super) struct Environment(BTreeMap<String, OsString>);

// === impl Environment ===

impl Environment {
    pub(super) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let named = variables
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self(named.collect())
    }

    /// The value of the setting `name`, and under which name it was given.
    pub(super) fn setting(&self, name: &str) -> Option<(String, String)> {
        let other = match name {
            "OPENCODE_PORT" => Some(OLD_OPENCODE_PORT.to_owned()),
            // Proxies are written in lower case as often as not.
            _ if name.ends_with("_PROXY") => Some(name.to_ascii_lowercase()),
            _ => None,
        };
        let found = |name: String| {
            let value = self.0.get(&name)?.to_string_lossy().trim().to_owned();
            Some((name, value))
        };
        found(name.to_owned()).or_else(|| found(other?))
    }

    /// The value of a variable that is not ours, under its own name.
    pub(super) fn standard(&self, name: &str) -> Option<String> {
        let value = self.0.get(name)?;
        Some(value.to_string_lossy().trim().to_owned())
    }

    pub(super) fn passed_on(&self) -> Vec<(String, OsString)> {
        let passed = |name: &&str| Some(((*name).to_owned(), self.0.get(*name)?.clone()));
        PASSED_ON.iter().filter_map(passed).collect()
    }

    pub(super) fn path_dirs(&self) -> Vec<PathBuf> {
        self.0
            .get("PATH")
            .map(|path| std::env::split_paths(path).collect())
            .unwrap_or_default()
    }

    /// A sentence for each variable that looks like one of the settings `known`, misspelt.
    pub(super) fn hints(&self, mut known: Vec<String>) -> Vec<String> {
        known.push(OLD_OPENCODE_PORT.to_owned());
        let hint = |name: &String| {
            let distance = |known: &String| (edits(name, known), known.clone());
            let (distance, nearest) = known.iter().map(distance).min()?;
            (distance <= 3).then(|| {
                format!("the environment variable {name} is not a setting; did you mean {nearest}?")
            })
        };
        self.0
            .keys()
            .filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
            .filter(|name| !known.contains(name))
            .filter_map(hint)
            .collect()
    }
}

/// How many single-character edits lie between two names, to suggest the one that was meant.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row.first().copied().unwrap_or(0);
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, cb) in b.iter().enumerate() {
            let above = row[j + 1];
            let cost = usize::from(ca != *cb);
            row[j + 1] = (diagonal + cost).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(edits("OPENCODE_BIN", "OPENCODE_BIN"), 0);
        assert_eq!(edits("OPENCODE_BNI", "OPENCODE_BIN"), 2);
        assert_eq!(edits("", "abc"), 3);
    }
}
