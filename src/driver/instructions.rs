//! The system prompt of a session: what its client says, and the workspace's AGENTS.md.
//!
//! OpenCode itself does not read the workspace's files of instructions here, because the same switch
//! would let it run JavaScript from there.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

const FILE: &str = "AGENTS.md";

/// More than any person writes; the rest is cut.
const MOST: u64 = 64 * 1024;

/// A disk that hangs must not hold up a session.
const DEADLINE: Duration = Duration::from_secs(2);

/// What is added to OpenCode's own system prompt; `None`: nothing.
pub(super) async fn system_prompt(
    client: Option<&str>,
    workspace: Option<&Path>,
) -> Option<String> {
    let file = match workspace {
        Some(workspace) => tokio::time::timeout(DEADLINE, read(workspace))
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
        open(&workspace)?.take(MOST).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    });
    let bytes = reading.await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The file, which must be one and must lie in the workspace: a link in a cloned repository may point
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
