//! What a session changed in files, from what OpenCode has stored. Pure.
//!
//! In a git work tree OpenCode compares snapshots from before and after each prompt. Elsewhere, and where a turn was
//! stopped before it could, the file tools say what they did.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::limits::{MAX_PAGE, MAX_TEXT};
use super::message::Turns;
use crate::clock::Timestamp;
use crate::conversation::{ChangedFile, FileStatus, Source, TurnChanges};
use crate::opencode::types::{PartKind, StoredDiff, StoredMessage, StoredPart, ToolStatus};

/// A prompt, and what its turn changed according to the snapshots.
#[derive(Debug)]
pub(super) struct Prompt {
    id: String,
    created: u64,
    diffs: Vec<StoredDiff>,
}

/// What the tools of one answer changed.
#[derive(Debug)]
pub(super) struct Answer {
    /// Nothing for a subagent's: it belongs to the prompt before it.
    prompt: Option<String>,
    created: u64,
    edits: Vec<Edit>,
}

/// One change of a file by a tool, or nothing but that it was changed.
#[derive(Debug)]
struct Edit {
    path: String,
    status: FileStatus,
    /// Hunks without a head.
    hunks: Option<String>,
    additions: u64,
    deletions: u64,
}

/// The input of `write`.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "filePath")]
    path: String,
    #[serde(default)]
    content: String,
}

// === impl Prompt ===

impl Prompt {
    pub(super) fn new(message: StoredMessage) -> Self {
        Self {
            id: message.id,
            created: message.created,
            diffs: message.diffs,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.diffs.iter().map(|diff| diff.patch.len()).sum()
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn new(message: StoredMessage) -> Self {
        Self {
            prompt: message.parent,
            created: message.created,
            edits: message.parts.into_iter().flat_map(edits).collect(),
        }
    }

    pub(super) fn of_subagent(message: StoredMessage) -> Self {
        Self {
            prompt: None,
            ..Self::new(message)
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let hunks = self.edits.iter().filter_map(|edit| edit.hunks.as_ref());
        hunks.map(String::len).sum()
    }
}

fn edits(part: StoredPart) -> Vec<Edit> {
    let tool = match part.part.kind {
        PartKind::Patch { files } => return files.into_iter().map(Edit::unknown).collect(),
        PartKind::Tool(tool) if tool.state.status == ToolStatus::Completed => tool,
        _ => return Vec::new(),
    };
    let edit = match (&*tool.tool, part.diff) {
        ("edit", Some(diff)) => Some(Edit {
            path: diff.file,
            status: FileStatus::Modified,
            hunks: hunks(&diff.patch).map(str::to_owned),
            additions: diff.additions,
            deletions: diff.deletions,
        }),
        ("write", _) => {
            let input = tool.state.input.as_deref();
            let written = input.and_then(|input| serde_json::from_str(input.get()).ok());
            written.map(|written| Edit::written(written, part.existed))
        }
        _ => None,
    };
    edit.into_iter().collect()
}

// === impl Edit ===

impl Edit {
    const fn unknown(path: String) -> Self {
        Self {
            path,
            status: FileStatus::Modified,
            hunks: None,
            additions: 0,
            deletions: 0,
        }
    }

    fn is_unknown(&self) -> bool {
        self.hunks.is_none() && self.status == FileStatus::Modified
    }

    /// What a file had before it was overwritten is known to nobody.
    fn written(Written { path, content }: Written, existed: bool) -> Self {
        if existed {
            return Self::unknown(path);
        }
        let lines = content.lines().count();
        let mut hunks = format!("@@ -0,0 +1,{lines} @@\n");
        hunks.reserve(content.len() + lines);
        for line in content.split_inclusive('\n') {
            hunks.push('+');
            hunks.push_str(line);
        }
        if lines > 0 && !content.ends_with('\n') {
            hunks.push_str("\n\\ No newline at end of file\n");
        }
        Self {
            path,
            status: FileStatus::Added,
            hunks: (lines > 0).then_some(hunks),
            additions: lines.try_into().unwrap_or(u64::MAX),
            deletions: 0,
        }
    }
}

/// The changes of each of `prompts`, which are in order.
pub(super) fn changes(
    prompts: Vec<Prompt>,
    answers: Vec<Answer>,
    turns: &Turns,
    workspace: &Path,
) -> Vec<TurnChanges> {
    let mut by_prompt: BTreeMap<usize, Vec<Answer>> = BTreeMap::new();
    for answer in answers {
        let place = match &answer.prompt {
            Some(prompt) => prompts.iter().position(|known| known.id == *prompt),
            None => prompts
                .iter()
                .rposition(|known| known.created <= answer.created),
        };
        if let Some(place) = place {
            by_prompt.entry(place).or_default().push(answer);
        }
    }
    let assigned = turns.assign_prompts(prompts.iter().map(|prompt| &*prompt.id));
    let all = prompts.into_iter().zip(assigned).enumerate();
    let all = all.map(|(place, (prompt, turn))| {
        let (source, files) = if prompt.diffs.is_empty() {
            let mut answers = by_prompt.remove(&place).unwrap_or_default();
            answers.sort_by_key(|answer| answer.created);
            let edits = answers.into_iter().flat_map(|answer| answer.edits);
            (Source::Tools, of_tools(edits, workspace))
        } else {
            let files = prompt.diffs.into_iter().map(of_snapshots);
            (Source::Snapshots, files.collect())
        };
        TurnChanges {
            turn,
            message_id: prompt.id,
            source,
            files,
            created_at: Timestamp::from_millis(prompt.created),
        }
    });
    all.filter(|changes| !changes.files.is_empty()).collect()
}

/// How many bytes the patches have.
pub(super) fn changes_bytes(changes: &TurnChanges) -> usize {
    const OVERHEAD: usize = 256;
    let files = changes.files.iter();
    let bytes = files.map(|file| OVERHEAD + file.patch.as_ref().map_or(0, String::len));
    // One turn always fits.
    bytes.sum::<usize>().min(MAX_PAGE)
}

fn of_snapshots(diff: StoredDiff) -> ChangedFile {
    let status = match &*diff.status {
        "added" => FileStatus::Added,
        "deleted" => FileStatus::Deleted,
        _ => FileStatus::Modified,
    };
    let patch = hunks(&diff.patch).map(|hunks| with_head(&diff.file, status, hunks));
    changed_file(diff.file, status, (diff.additions, diff.deletions), patch)
}

/// Several changes of one file follow each other in its patch.
fn of_tools(edits: impl Iterator<Item = Edit>, workspace: &Path) -> Vec<ChangedFile> {
    let mut files: BTreeMap<String, Vec<Edit>> = BTreeMap::new();
    for edit in edits {
        let path = Path::new(&edit.path);
        let path = path.strip_prefix(workspace).unwrap_or(path);
        let path = path.to_string_lossy().into_owned();
        let known = files.entry(path).or_default();
        // That a file was changed is nothing new where a tool says how.
        if !(edit.is_unknown() && known.iter().any(|known| !known.is_unknown())) {
            known.push(edit);
        }
    }
    let files = files.into_iter().map(|(path, edits)| {
        let added = edits
            .first()
            .is_some_and(|edit| edit.status == FileStatus::Added);
        let status = if added {
            FileStatus::Added
        } else {
            FileStatus::Modified
        };
        let mut patch = String::new();
        for edit in &edits {
            if let Some(hunks) = &edit.hunks {
                patch.push_str(&with_head(&path, edit.status, hunks));
            }
        }
        let is_whole = edits.iter().all(|edit| edit.hunks.is_some());
        let additions = edits.iter().map(|edit| edit.additions).sum();
        let deletions = edits.iter().map(|edit| edit.deletions).sum();
        let patch = (!patch.is_empty()).then_some(patch);
        let mut file = changed_file(path, status, (additions, deletions), patch);
        file.truncated |= !is_whole;
        file
    });
    files.collect()
}

fn changed_file(
    path: String,
    status: FileStatus,
    (additions, deletions): (u64, u64),
    diff: Option<String>,
) -> ChangedFile {
    let too_long = diff.as_ref().is_some_and(|diff| diff.len() > MAX_TEXT);
    ChangedFile {
        path,
        status,
        additions,
        deletions,
        // Half a patch is none.
        patch: diff.filter(|_| !too_long),
        truncated: too_long,
    }
}

/// What follows the head of a patch; nothing of one without hunks.
fn hunks(patch: &str) -> Option<&str> {
    if patch.starts_with("@@") {
        return Some(patch);
    }
    patch.find("\n@@").and_then(|at| patch.get(at + 1..))
}

/// The head that `git apply` and `patch -p1` know.
fn with_head(path: &str, status: FileStatus, hunks: &str) -> String {
    let (old, new) = (format!("a/{path}"), format!("b/{path}"));
    let (old, new) = match status {
        FileStatus::Added => ("/dev/null", &*new),
        FileStatus::Deleted => (&*old, "/dev/null"),
        FileStatus::Modified => (&*old, &*new),
    };
    let end = if hunks.ends_with('\n') { "" } else { "\n" };
    format!("--- {old}\n+++ {new}\n{hunks}{end}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::opencode::types::stored_messages;

    fn prompt(id: &str, created: u64, diffs: &Value) -> Value {
        json!({ "info": { "id": id, "role": "user", "time": { "created": created },
            "summary": { "diffs": diffs } }, "parts": [] })
    }

    fn answer(parent: &str, created: u64, parts: &Value) -> Value {
        json!({ "info": { "id": format!("a-{created}"), "role": "assistant", "parentID": parent,
            "time": { "created": created } }, "parts": parts })
    }

    fn tool(name: &str, input: &Value, metadata: &Value) -> Value {
        json!({ "id": "p", "sessionID": "s", "messageID": "m", "type": "tool", "tool": name, "callID": "c",
            "state": { "status": "completed", "input": input, "output": "", "metadata": metadata } })
    }

    fn all(messages: &Value) -> Vec<TurnChanges> {
        let (mut prompts, mut answers) = (Vec::new(), Vec::new());
        for message in stored_messages(messages.to_string().as_bytes()).unwrap() {
            match message.parent {
                Some(_) => answers.push(Answer::new(message)),
                None => prompts.push(Prompt::new(message)),
            }
        }
        changes(prompts, answers, &Turns::of("s1"), Path::new("/w"))
    }

    #[test]
    fn snapshots_say_what_changed_and_tools_do_where_there_are_none() {
        let patch = "Index: a\n====\n--- a\t\n+++ a\t\n@@ -1,1 +1,1 @@\n-x\n+y\n";
        let snapshot = json!([{ "file": "a", "patch": patch, "additions": 1, "deletions": 1, "status": "modified" },
            { "file": "bin", "patch": "", "additions": 0, "deletions": 0, "status": "added" }]);
        let edit = json!({ "filediff": { "file": "/w/a", "patch": patch, "additions": 1, "deletions": 1 } });
        let write = |path: &str, content: &str| json!({ "filePath": path, "content": content });
        let found = all(&json!([
            prompt("p1", 1, &snapshot),
            answer(
                "p1",
                2,
                &json!([tool("write", &write("/w/gone", "z\n"), &json!({}))])
            ),
            prompt("p2", 3, &json!([])),
            answer(
                "p2",
                4,
                &json!([
                    tool("write", &write("/w/new", "one\ntwo"), &json!({ "exists": false })),
                    tool("edit", &json!({}), &edit),
                    tool("write", &write("/w/over", "all\n"), &json!({ "exists": true })),
                    { "id": "q", "sessionID": "s", "messageID": "m", "type": "patch", "files": ["/w/a", "/w/by-bash"] },
                ])
            ),
            prompt("p3", 5, &json!([])),
        ]));
        let shown: Vec<_> = found
            .iter()
            .map(|turn| (&*turn.message_id, turn.source, turn.files.len()))
            .collect();
        assert_eq!(
            shown,
            [("p1", Source::Snapshots, 2), ("p2", Source::Tools, 4)]
        );
        let head = "--- a/a\n+++ b/a\n@@ -1,1 +1,1 @@\n-x\n+y\n";
        assert_eq!(found[0].files[0].patch.as_deref(), Some(head));
        assert_eq!(found[0].files[1].patch, None);
        let [edited, by_bash, new, over] = &found[1].files[..] else {
            panic!("{found:#?}")
        };
        assert_eq!(edited.patch.as_deref(), Some(head));
        assert!(!edited.truncated && by_bash.patch.is_none() && over.truncated);
        assert_eq!(new.status, FileStatus::Added);
        let whole =
            "--- /dev/null\n+++ b/new\n@@ -0,0 +1,2 @@\n+one\n+two\n\\ No newline at end of file\n";
        assert_eq!(new.patch.as_deref(), Some(whole));
    }

    #[test]
    fn a_patch_that_is_too_long_is_left_out_whole() {
        let content = "line\n".repeat(MAX_TEXT);
        let input = json!({ "filePath": "/w/long", "content": content });
        let found = all(&json!([
            prompt("p1", 1, &json!([])),
            answer(
                "p1",
                2,
                &json!([tool("write", &input, &json!({ "exists": false }))])
            ),
        ]));
        let file = &found[0].files[0];
        assert!(file.truncated && file.patch.is_none());
        assert_eq!(file.additions, MAX_TEXT as u64);
    }
}
