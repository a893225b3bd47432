//! The calls about a conversation that is stored: reading it, undoing a part of it, copying it.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::client::Client;
use super::error::CallError;
use super::types::{self, StoredMessage, StoredSession, Todo};

/// Undoing looks at every file of the work tree, and a copy writes every message anew.
const CHANGE_DEADLINE: Duration = Duration::from_secs(20);

/// Messages in the order they were made, and where the older ones begin.
#[derive(Debug)]
pub(crate) struct MessagePage {
    pub(crate) messages: Vec<StoredMessage>,
    pub(crate) older: Option<String>,
}

/// A prompt that OpenCode has a name for.
#[derive(Debug, Deserialize)]
pub(crate) struct Command {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) template: String,
}

/// Body of `PATCH /session/{id}`. OpenCode puts the rules after those the session has.
#[derive(Debug, Serialize)]
pub(crate) struct SessionPatch<'a> {
    pub(crate) title: &'a str,
    #[serde(rename = "permission", skip_serializing_if = "Option::is_none")]
    pub(crate) rules: Option<&'a RawValue>,
}

// === impl Client ===

impl Client {
    pub(crate) async fn stored_session(&self, session: &str) -> Result<StoredSession, CallError> {
        let call = self.get("look up a session", &format!("/session/{session}"));
        call.large().read_json().await
    }

    /// The subagents that a session started itself.
    pub(crate) async fn stored_children(
        &self,
        session: &str,
    ) -> Result<Vec<StoredSession>, CallError> {
        let path = format!("/session/{session}/children");
        let call = self.get("read the subagents of a session", &path);
        call.large().read_json().await
    }

    /// The newest `limit` messages, or those before the cursor `before` of an earlier page. Its characters must be those
    /// of a cursor.
    pub(crate) async fn message_page(
        &self,
        session: &str,
        limit: usize,
        before: Option<&str>,
    ) -> Result<MessagePage, CallError> {
        let before = before.map_or_else(String::new, |cursor| format!("&before={cursor}"));
        let path = format!("/session/{session}/message?limit={limit}{before}");
        let call = self.get("read messages of a session", &path);
        let (messages, older) = call.large().read_page(types::stored_messages).await?;
        Ok(MessagePage { messages, older })
    }

    /// `message` must be an id that OpenCode gave.
    pub(crate) async fn stored_message(
        &self,
        session: &str,
        message: &str,
    ) -> Result<StoredMessage, CallError> {
        let path = format!("/session/{session}/message/{message}");
        let call = self.get("read a message", &path);
        call.large().read(types::stored_message).await
    }

    pub(crate) async fn todos(&self, session: &str) -> Result<Vec<Todo>, CallError> {
        let path = format!("/session/{session}/todo");
        let call = self.get("read the plan of a session", &path);
        call.large().read_json().await
    }

    /// Copies the messages of `session` that come before `message`, or all of them, to a new session without rules.
    pub(crate) async fn fork(
        &self,
        session: &str,
        message: Option<&str>,
        directory: &Path,
    ) -> Result<StoredSession, CallError> {
        let body = message.map_or_else(|| json!({}), |message| json!({ "messageID": message }));
        let call = self.post("copy a session", &format!("/session/{session}/fork"), &body);
        let call = call.in_directory(directory).within(CHANGE_DEADLINE);
        call.large().read_json().await
    }

    pub(crate) async fn patch_session(
        &self,
        session: &str,
        change: &SessionPatch<'_>,
    ) -> Result<(), CallError> {
        let path = format!("/session/{session}");
        let call = self.call("change a session", Method::PATCH, &path);
        call.json(change).large().done().await
    }

    /// Undoes prompt `message` and all that came after it. One that the session does not have is no error.
    pub(crate) async fn revert(
        &self,
        session: &str,
        message: &str,
    ) -> Result<StoredSession, CallError> {
        let body = json!({ "messageID": message });
        let call = self.post(
            "undo a prompt",
            &format!("/session/{session}/revert"),
            &body,
        );
        call.within(CHANGE_DEADLINE).large().read_json().await
    }

    /// Takes back what [`revert`](Self::revert) did, if no prompt came since.
    pub(crate) async fn unrevert(&self, session: &str) -> Result<StoredSession, CallError> {
        let path = format!("/session/{session}/unrevert");
        let call = self.call("take back what was undone", Method::POST, &path);
        call.within(CHANGE_DEADLINE).large().read_json().await
    }

    /// Has the conversation summarised by `model`. Answered when that is done.
    pub(crate) async fn summarize(
        &self,
        session: &str,
        (provider, model): (&'static str, &'static str),
        within: Duration,
    ) -> Result<(), CallError> {
        let body = json!({ "providerID": provider, "modelID": model });
        let path = format!("/session/{session}/summarize");
        let call = self.post("summarise a conversation", &path, &body);
        call.within(within).large().done().await
    }

    /// Runs a command as the agent's are run, but for its permissions. Answered when it has ended.
    pub(crate) async fn shell(
        &self,
        session: &str,
        command: &str,
        within: Duration,
    ) -> Result<(), CallError> {
        let body = json!({ "agent": "build", "command": command });
        let call = self.post("run a command", &format!("/session/{session}/shell"), &body);
        call.within(within).large().done().await
    }

    /// The commands that OpenCode has.
    pub(crate) async fn commands(&self, directory: &Path) -> Result<Vec<Command>, CallError> {
        let call = self.get("list the commands", "/command");
        call.in_directory(directory).large().read_json().await
    }
}
