//! The prompt of a turn: the user's, or one that says why the agent goes on without; and the system prompt.
//!
//! The workspace's AGENTS.md is read here: OpenCode itself does not read the workspace's files of instructions,
//! because the same switch would let it run JavaScript from there.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use reqwest::Url;

use crate::clock::Timestamp;
use crate::opencode::types::PromptLabel;
use crate::opencode::{Prompt, PromptPart};
use crate::session::{self, Part, Request};

const FILE: &str = "AGENTS.md";

/// More than any person writes; the rest is cut.
const MAX_BYTES: u64 = 64 * 1024;

/// A disk that hangs must not hold up a session.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// The prompt of `request`, which begins turn `turn`, with the instructions of `workspace` if they are to be added.
    pub(super) async fn new(request: &Request, turn: u32, workspace: Option<&Path>) -> Self {
        let system = system_prompt(request.system_prompt.as_deref(), workspace).await;
        let label = PromptLabel {
            session: request.id.clone(),
            turn,
        };
        if request.prompt.is_empty() {
            return Self::of(&session::Prompt::text(RESUME), system, label);
        }
        Self::of(&request.prompt, system, label)
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
        Some(workspace) => tokio::time::timeout(READ_TIMEOUT, read(workspace))
            .await
            .ok()
            .flatten(),
        None => None,
    };
    let file = file.map(|text| format!("Instructions from {FILE} of the workspace:\n{text}"));
    let parts: Vec<String> = client.map(str::to_owned).into_iter().chain(file).collect();
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

async fn read(workspace: &Path) -> Option<String> {
    let workspace = workspace.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        open(&workspace)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    });
    let bytes = reading.await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The file, which must be one and must lie in the workspace: a connection in a cloned repository may point
/// at anything this process can read, and what is read goes to the model.
fn open(workspace: &Path) -> std::io::Result<File> {
    let directory = rustix::fs::open(
        workspace,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // Not to wait for the other end of a pipe.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(&directory, FILE, flags, Mode::empty(), inside) {
        // A kernel without the call: then no links at all.
        Err(Errno::NOSYS) => openat(&directory, FILE, flags | OFlags::NOFOLLOW, Mode::empty()),
        opened => opened,
    };
    let file = File::from(file?);
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    Ok(file)
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
    async fn a_link_out_of_the_workspace_is_not_followed_and_a_pipe_does_not_hold_it_up() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
        assert_eq!(system_prompt(None, Some(dir.path())).await, None);
        std::fs::remove_file(&file).unwrap();
        std::fs::write(dir.path().join("real.md"), "Inside.").unwrap();
        std::os::unix::fs::symlink("real.md", &file).unwrap();
        assert!(
            system_prompt(None, Some(dir.path()))
                .await
                .unwrap()
                .ends_with("Inside.")
        );
        std::fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &file,
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        assert_eq!(system_prompt(None, Some(dir.path())).await, None);
    }
}
