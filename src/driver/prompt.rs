//! The prompt of a turn: the user's, or one that says why the agent goes on without; and the system prompt.
//!
//! The workspace's AGENTS.md is read here: OpenCode itself does not read the workspace's files of instructions,
//! because the same switch would let it run JavaScript from there.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

use crate::clock::Timestamp;
use crate::opencode::types::PromptLabel;
use crate::opencode::{Prompt, PromptPart};
use crate::session::{self, Part};
use crate::workspace::file::{self as workspace_file, Content};

const FILE: &str = "AGENTS.md";

/// More than any person writes; the rest is cut.
const MAX_BYTES: u64 = 64 * 1024;

const TEXT: &str = "text/plain";

/// As much of a text as OpenCode's own tool reads at once; the agent reads on where it wants to.
const MAX_TEXT: u64 = 50 * 1024;

/// All files of the workspace that go along with one prompt.
const MAX_FILES: u64 = 16 << 20;

/// When its process died in the middle of a turn, and the turn goes on in the next one.
const CONTINUE: &str = "\
The process you run in died in the middle of this task and was started again. This message is not from the user.

- Your last step was cut off. What you were writing may not have arrived.
- A command that was running was killed, with everything it had started; it may have done a part of its work. \
Servers and other programs you left running in the background are gone, and so are subagents.
- The conversation so far and the files of the workspace are as they were at that moment. A file that was being \
written may be incomplete.

Look at the state of the workspace first, as far as your last step may have changed it. Then go on with the task \
from where it stands: do not begin anew, and do not repeat what is done.";

/// When a client resumes a turn that had ended before it was done, and says nothing itself.
const RESUME: &str = "\
Your last turn ended before this task was done, and is resumed now. This message is not from the user.

- Its last step may have been cut off. What you were writing may not have arrived.
- Commands that were running were killed, with everything they had started; they may have done a part of their work. \
Servers and other programs you left running in the background are gone, and so are subagents.
- The conversation so far is as it was at that moment. The files of the workspace may have been changed since.

Look at the state of the workspace first. Then go on with the task from where it stands: do not begin anew, and do \
not repeat what is done. If all of it is done, say so.";

/// A prompt as the agent gets it.
#[derive(Clone, Debug)]
pub(super) struct PromptText {
    /// OpenCode's id of the message. It is chosen here, so that a prompt that is handed over again is not run twice.
    pub(super) message_id: String,
    parts: Vec<PromptPart>,
    /// With OpenCode it holds for one prompt only.
    system: Option<String>,
    /// By which the messages of a conversation are known to belong to a turn.
    label: PromptLabel,
}

// === impl PromptText ===

impl PromptText {
    /// A prompt that begins a turn, with the instructions of `workspace` if they are to be added. One that is empty is to go
    /// on with the turn before.
    pub(super) async fn new(
        (prompt, system_prompt): (&session::Prompt, Option<&str>),
        label: PromptLabel,
        workspace: Option<&Path>,
    ) -> Self {
        let system = self::system_prompt(system_prompt, workspace).await;
        if prompt.is_empty() {
            return Self::of(&session::Prompt::text(RESUME), system, label);
        }
        Self::of(prompt, system, label)
    }

    fn of(prompt: &session::Prompt, system: Option<String>, label: PromptLabel) -> Self {
        Self {
            message_id: new_id("msg"),
            parts: prompt.parts.iter().map(part).collect(),
            system,
            label,
        }
    }

    /// A prompt for the turn that this one began: the rest stays.
    pub(super) fn steer(&self, prompt: &session::Prompt) -> Self {
        Self::of(prompt, self.system.clone(), self.label.clone())
    }

    /// The words that say why the agent goes on, in place of these.
    pub(super) fn go_on(&self) -> Self {
        Self::of(
            &session::Prompt::text(CONTINUE),
            self.system.clone(),
            self.label.clone(),
        )
    }

    /// This prompt with the files of the workspace that go along, as they are now. OpenCode would read them itself, and
    /// follow a link that has been put in the place of one since the prompt came. Only for the call that hands it over: a
    /// turn that runs does not keep their content.
    pub(super) async fn with_files(&self, workspace: &Path) -> Self {
        let mut prompt = self.clone();
        let (mut room, deadline) = (MAX_FILES, workspace_file::deadline());
        for part in &mut prompt.parts {
            let PromptPart::File {
                id,
                url,
                mime,
                filename,
            } = part
            else {
                continue;
            };
            let Some(path) = path_of(url) else {
                continue;
            };
            let name = name_of(workspace, &path);
            let reading = workspace_file::read(workspace, &path, most(mime, room), deadline);
            match reading
                .await
                .and_then(|content| bytes(content, mime, &mut room))
            {
                Ok(bytes) => {
                    *url = format!("data:{mime};base64,{}", STANDARD.encode(bytes));
                    *filename = Some(name);
                }
                Err(reason) => {
                    tracing::warn!(%reason, "a file that goes along with a prompt is not sent");
                    *part = PromptPart::Text {
                        id: id.take(),
                        text: format!(
                            "The user attached {name:?}, but it could not be read: {reason}. \
                             This message is not from the user."
                        ),
                    };
                }
            }
        }
        prompt
    }

    #[cfg(test)]
    pub(super) fn for_tests(text: &str) -> Self {
        let label = PromptLabel {
            session: "s".into(),
            turn: 1,
            traceparent: None,
        };
        Self::of(&session::Prompt::text(text), None, label)
    }

    /// The same words under new ids.
    pub(super) fn renew_ids(&mut self) {
        self.message_id = new_id("msg");
        for part in &mut self.parts {
            let (PromptPart::Text { id, .. } | PromptPart::File { id, .. }) = part;
            *id = Some(new_id("prt"));
        }
    }

    pub(super) fn prompt(&self, model: (&'static str, &'static str)) -> Prompt<'_> {
        Prompt {
            model,
            message_id: Some(&self.message_id),
            parts: &self.parts,
            system: self.system.as_deref(),
            label: Some(&self.label),
        }
    }
}

fn part(part: &Part) -> PromptPart {
    let id = Some(new_id("prt"));
    match part {
        Part::Text { text } => PromptPart::Text {
            id,
            text: text.clone(),
        },
        Part::WorkspaceFile { path, mime } => PromptPart::File {
            id,
            // A path that is absolute always has an address.
            url: Url::from_file_path(path).map_or_else(|()| String::new(), String::from),
            mime: mime.clone(),
            filename: path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        },
        Part::InlineFile {
            url,
            mime,
            filename,
        } => PromptPart::File {
            id,
            url: url.clone(),
            mime: mime.clone(),
            filename: filename.clone(),
        },
    }
}

/// The file that OpenCode would read for this address.
fn path_of(url: &str) -> Option<PathBuf> {
    let url = Url::parse(url).ok().filter(|url| url.scheme() == "file")?;
    url.to_file_path().ok()
}

/// How the agent knows a file.
fn name_of(workspace: &Path, path: &Path) -> String {
    let root = workspace.canonicalize().unwrap_or_default();
    let name = path.strip_prefix(&root).unwrap_or(path);
    name.to_string_lossy().into_owned()
}

/// So much of a file is read, where there is `room` for the files of the prompt.
fn most(mime: &str, room: u64) -> u64 {
    if mime == TEXT { MAX_TEXT } else { room }
}

/// What is sent of a file, which takes its part of `room`. A text may be cut; what is none goes whole or not at all.
fn bytes(content: Content, mime: &str, room: &mut u64) -> io::Result<Vec<u8>> {
    if mime != TEXT && content.size > *room {
        return Err(io::Error::other("it is too large"));
    }
    *room = room.saturating_sub(content.size.min(most(mime, *room)));
    Ok(if mime == TEXT {
        whole_lines(content)
    } else {
        content.bytes
    })
}

/// A text that is cut ends with a whole line, and says so.
fn whole_lines(content: Content) -> Vec<u8> {
    let Content { mut bytes, size } = content;
    if size > bytes.len() as u64 {
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        bytes.truncate(end.map_or(bytes.len(), |end| end + 1));
        let note = format!("(The file has {size} bytes; this is its beginning.)");
        bytes.extend_from_slice(note.as_bytes());
    }
    bytes
}

/// An id as OpenCode makes them: they sort by the time at which they were made, and 48 bits of that are in them.
fn new_id(kind: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let time = (Timestamp::now().as_millis() << 12) & 0xffff_ffff_ffff;
    let mut random = [0_u8; 14];
    // Without random bytes two ids of one millisecond would be the same; a Linux that has none cannot run us.
    getrandom::fill(&mut random).ok();
    let random = random.map(|byte| char::from(DIGITS[usize::from(byte) % DIGITS.len()]));
    format!("{kind}_{time:012x}{}", String::from_iter(random))
}

/// What is added to OpenCode's own system prompt; `None`: nothing.
async fn system_prompt(client: Option<&str>, workspace: Option<&Path>) -> Option<String> {
    let file = match workspace {
        Some(workspace) => read(workspace).await,
        None => None,
    };
    let file = file.map(|text| format!("Instructions from {FILE} of the workspace:\n{text}"));
    let parts: Vec<String> = client.map(str::to_owned).into_iter().chain(file).collect();
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

async fn read(workspace: &Path) -> Option<String> {
    let deadline = workspace_file::deadline();
    let content = workspace_file::read(workspace, Path::new(FILE), MAX_BYTES, deadline).await;
    let bytes = content.ok()?.bytes;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_clients_words_come_first_and_the_file_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(system_prompt(None, Some(dir.path())).await, None);
        std::fs::write(dir.path().join(FILE), "ü".repeat(40_000)).unwrap();
        let prompt = system_prompt(Some("Be brief."), Some(dir.path()))
            .await
            .unwrap();
        assert!(
            prompt.starts_with("Be brief.\n\nInstructions from AGENTS.md of the workspace:\nüü")
        );
        assert!(prompt.len() < 66_000);
        assert_eq!(system_prompt(Some("x"), None).await.as_deref(), Some("x"));
    }

    #[tokio::test]
    async fn a_directory_of_that_name_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(FILE)).unwrap();
        assert_eq!(system_prompt(None, Some(dir.path())).await, None);
    }

    #[tokio::test]
    async fn a_link_out_of_the_workspace_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
        assert_eq!(system_prompt(None, Some(dir.path())).await, None);
        std::fs::remove_file(&file).unwrap();
        std::fs::write(dir.path().join("real.md"), "Inside.").unwrap();
        std::os::unix::fs::symlink("real.md", &file).unwrap();
        let prompt = system_prompt(None, Some(dir.path())).await.unwrap();
        assert!(prompt.ends_with("Inside."));
    }

    /// A prompt with the files of these names, as it was taken.
    fn taken(workspace: &Path, files: &[(&str, &str)]) -> PromptText {
        let files = files.iter().map(|(name, mime)| Part::WorkspaceFile {
            path: workspace.canonicalize().unwrap().join(name),
            mime: (*mime).to_owned(),
        });
        let prompt = session::Prompt {
            parts: files.collect(),
        };
        let label = PromptLabel {
            session: "s".into(),
            turn: 1,
            traceparent: None,
        };
        PromptText::of(&prompt, None, label)
    }

    #[tokio::test]
    async fn a_file_is_sent_as_it_is_when_the_turn_begins_and_not_what_a_link_in_its_place_leads_to()
     {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("notes")).unwrap();
        std::fs::write(at("notes/a.txt"), "before").unwrap();
        std::fs::write(at("b.txt"), "mine").unwrap();
        let files = [("notes/a.txt", TEXT), ("b.txt", TEXT)];
        let prompt = taken(dir.path(), &files);
        std::fs::write(at("notes/a.txt"), "after").unwrap();
        std::fs::remove_file(at("b.txt")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("b.txt")).unwrap();
        let sent = prompt.with_files(dir.path()).await;
        let is_path = |part: &PromptPart| matches!(part, PromptPart::File { url, .. } if url.starts_with("file:"));
        assert!(prompt.parts.iter().all(is_path), "the content is not kept");
        let [
            PromptPart::File { url, filename, .. },
            PromptPart::Text { text, .. },
        ] = &*sent.parts
        else {
            panic!("{:?}", sent.parts);
        };
        assert_eq!(url, "data:text/plain;base64,YWZ0ZXI=");
        assert_eq!(filename.as_deref(), Some("notes/a.txt"));
        assert!(
            text.contains("\"b.txt\"") && text.contains("it is outside the workspace"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_long_text_is_cut_and_what_is_too_much_is_left_to_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let line = "0123456789abcde\n";
        std::fs::write(dir.path().join("long.txt"), line.repeat(10_000)).unwrap();
        let picture = std::fs::File::create(dir.path().join("p.png")).unwrap();
        picture.set_len(MAX_FILES + 1).unwrap();
        let files = [("long.txt", TEXT), ("p.png", "image/png")];
        let prompt = taken(dir.path(), &files);
        let prompt = prompt.with_files(dir.path()).await;
        let [PromptPart::File { url, .. }, PromptPart::Text { text, .. }] = &*prompt.parts else {
            panic!("{:?}", prompt.parts);
        };
        let data = url.strip_prefix("data:text/plain;base64,").unwrap();
        let sent = String::from_utf8(STANDARD.decode(data).unwrap()).unwrap();
        assert_eq!(
            sent.lines().filter(|sent| line.trim() == *sent).count(),
            3200
        );
        assert!(sent.ends_with("(The file has 160000 bytes; this is its beginning.)"));
        assert!(text.contains("it is too large"), "{text}");
    }
}
