//! Which files a tool was called with.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::secret::redact;

/// More of one call are not told.
const MOST: usize = 32;

/// The arguments of OpenCode's tools that name a file or a directory.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    file_path: Option<String>,
    path: Option<String>,
    workdir: Option<String>,
    patch_text: Option<String>,
}

/// How a patch names a file.
const PATCHED: [&str; 4] = [
    "*** Add File:",
    "*** Update File:",
    "*** Delete File:",
    "*** Move to:",
];

/// The paths among the arguments of a call, without what looks like a key.
pub(crate) fn paths(arguments: &RawValue) -> Vec<String> {
    let Ok(arguments) = serde_json::from_str::<Arguments>(arguments.get()) else {
        return Vec::new();
    };
    let patch = arguments.patch_text.unwrap_or_default();
    let patched = patch.lines().filter_map(|line| {
        let line = line.trim_start();
        let name = PATCHED.iter().find_map(|words| line.strip_prefix(words))?;
        Some(name.trim().to_owned())
    });
    [arguments.file_path, arguments.path, arguments.workdir]
        .into_iter()
        .flatten()
        .chain(patched)
        .take(MOST)
        .map(|path| redact(&path, &[]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &serde_json::Value) -> Vec<String> {
        paths(&serde_json::value::to_raw_value(arguments).unwrap())
    }

    #[test]
    fn the_arguments_that_name_files_are_told_and_no_others() {
        let json = serde_json::json!({
            "filePath": "/w/a.rs", "content": "of the test", "path": "src", "command": "cat b",
        });
        assert_eq!(of(&json), ["/w/a.rs", "src"]);
        let patch = "*** Begin Patch\n*** Update File: a.txt\n@@\n-x\n*** Move to: b.txt\n *** Add File: c\n+y\n*** End Patch";
        assert_eq!(
            of(&serde_json::json!({ "patchText": patch })),
            ["a.txt", "b.txt", "c"]
        );
        let key = serde_json::json!({ "filePath": "/w/sk-abcdefghijklmnop" });
        assert_eq!(of(&key), ["/w/[redacted]"]);
        assert!(of(&serde_json::json!(["no", "object"])).is_empty());
    }
}
