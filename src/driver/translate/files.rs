//! Which files a turn changed.
//!
//! There are two sources. Tools say what they wrote, per session and everywhere. `patch` parts say what differs
//! in the git work tree since the step began: also what a command changed, but equally what another session
//! did there meanwhile. So patches count only for a turn that ran alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::opencode::types as oc;

#[derive(Debug, Default)]
pub(super) struct Files {
    /// What tools changed, and whether the file is gone.
    by_tools: BTreeMap<String, bool>,
    by_patches: BTreeSet<String>,
}

/// The input of `write` and `edit`.
#[derive(Deserialize)]
struct Target {
    #[serde(rename = "filePath")]
    path: String,
}

// === impl Files ===

impl Files {
    /// Remembers what a completed tool wrote.
    pub(super) fn wrote(&mut self, tool: &str, state: &oc::ToolState) {
        match tool {
            "write" | "edit" => {
                let input = state.input.as_deref().and_then(|input| {
                    serde_json::from_str(input.get())
                        .map(|target: Target| target.path)
                        .ok()
                });
                if let Some(path) = state.metadata.file.clone().or(input) {
                    self.by_tools.insert(path, false);
                }
            }
            "apply_patch" => {
                for file in &state.metadata.files {
                    let gone = file.moved_to.is_some() || file.change == "delete";
                    self.by_tools.insert(file.path.clone(), gone);
                    if let Some(new) = &file.moved_to {
                        self.by_tools.insert(new.clone(), false);
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn patched(&mut self, files: Vec<String>) {
        self.by_patches.extend(files);
    }

    /// Absolute paths, sorted: all that changed, and those of them that are gone.
    pub(super) fn list(&self, directory: &str, patches: bool) -> (Vec<String>, Vec<String>) {
        let mut all = BTreeMap::new();
        if patches {
            all.extend(
                self.by_patches
                    .iter()
                    .map(|path| (absolute(directory, path), false)),
            );
        }
        all.extend(
            self.by_tools
                .iter()
                .map(|(path, gone)| (absolute(directory, path), *gone)),
        );
        let gone = all
            .iter()
            .filter(|(_, gone)| **gone)
            .map(|(path, _)| path.clone())
            .collect();
        (all.into_keys().collect(), gone)
    }
}

/// `path` in `directory`, without `.` and `..`; the disk is not asked.
fn absolute(directory: &str, path: &str) -> String {
    let mut clean = PathBuf::new();
    for component in Path::new(directory).join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_sorted_and_without_doubles() {
        let mut files = Files::default();
        files.by_tools.insert("b.txt".into(), false);
        files.by_tools.insert("./sub/../a.txt".into(), true);
        files.patched(vec!["/w/b.txt".into(), "/w/c.txt".into()]);
        let all = |names: &[&str]| names.iter().map(|name| format!("/w/{name}")).collect();
        let (changed, gone): (Vec<String>, Vec<String>) =
            (all(&["a.txt", "b.txt"]), all(&["a.txt"]));
        assert_eq!(files.list("/w", false), (changed, gone.clone()));
        assert_eq!(
            files.list("/w", true),
            (all(&["a.txt", "b.txt", "c.txt"]), gone)
        );
    }
}
