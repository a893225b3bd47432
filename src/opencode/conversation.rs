//! The calls about a conversation that is stored: reading it, undoing a part of it, copying it.

use super::client::Client;
use super::error::CallError;
use super::types::{self, StoredMessage, StoredSession, Todo};

/// Messages in the order they were made, and where the older ones begin.
#[derive(Debug)]
pub(crate) struct MessagePage {
    pub(crate) messages: Vec<StoredMessage>,
    pub(crate) older: Option<String>,
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
}
