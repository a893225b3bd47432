//! The system prompt of a session: what its client says, and the workspace's AGENTS.md.
//!
//! OpenCode itself does not read the workspace's files of instructions here, because the same switch
//! would let it run JavaScript from there.

use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

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
    let path = workspace.join(FILE);
    // A pipe or a device would never end.
    if !tokio::fs::metadata(&path).await.ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    tokio::fs::File::open(path)
        .await
        .ok()?
        .take(MOST)
        .read_to_end(&mut bytes)
        .await
        .ok()?;
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
}
