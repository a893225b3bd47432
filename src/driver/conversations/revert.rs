//! Undoing the end of a conversation, and taking that back.

use std::sync::Arc;

use tokio::sync::SemaphorePermit;

use super::error::ConversationError;
use super::handle::Conversations;
use super::limits::cut_text;
use super::read::{self, Place};
use crate::opencode::types::StoredSession;
use crate::session::{Reverted, Session};

/// What came of undoing, or of taking it back.
#[derive(Debug)]
pub(crate) struct Undone {
    /// Nothing is undone any more: `None`.
    pub(crate) reverted: Option<Reverted>,
    /// Whether OpenCode keeps the states of the files: only in a git work tree.
    pub(crate) files_restored: bool,
    /// What is changed in the files by it.
    pub(crate) diff: Option<String>,
    pub(crate) truncated: bool,
}

// === impl Conversations ===

impl Conversations {
    /// Undoes a prompt of `session` and all that came after it. The next prompt makes that final.
    pub(crate) async fn revert(
        &self,
        session: Arc<Session>,
        place: Place,
    ) -> Result<Undone, ConversationError> {
        let this = self.clone();
        self.changed(async move { this.undo(&session, &place).await })
            .await
    }

    /// Takes back what was undone.
    pub(crate) async fn unrevert(
        &self,
        session: Arc<Session>,
    ) -> Result<Undone, ConversationError> {
        let this = self.clone();
        self.changed(async move { this.redo(&session).await }).await
    }

    async fn undo(&self, session: &Session, place: &Place) -> Result<Undone, ConversationError> {
        let remote_id = session.status().remote_id.clone();
        let remote_id = remote_id.ok_or(ConversationError::Empty)?;
        let client = self.child().await?.client;
        let _slot = self.slot().await;
        let ours = (&*session.id, &*remote_id);
        let prompt = match place {
            Place::Message(id) => read::prompt(&client, ours, id).await?,
            Place::Turn(turn) => read::prompt_of_turn(&client, ours, *turn).await?,
        };
        let _conversation = idle(session)?;
        let info = client.revert(&remote_id, &prompt.message_id).await?;
        let first = info.revert.as_ref().map(|revert| revert.message.clone());
        let reverted = Reverted {
            turn: prompt.turn,
            message_id: first.ok_or(ConversationError::NoPrompt)?,
        };
        session.update(|status| status.reverted = Some(reverted.clone()));
        session.note(format!(
            "prompt {} and all that came after it is undone",
            reverted.message_id
        ));
        session.noted().await;
        Ok(undone(Some(reverted), info))
    }

    async fn redo(&self, session: &Session) -> Result<Undone, ConversationError> {
        let client = self.child().await?.client;
        let _slot = self.slot().await;
        let _conversation = idle(session)?;
        let status = session.status();
        let (Some(remote_id), Some(_)) = (&status.remote_id, &status.reverted) else {
            return Err(ConversationError::NothingUndone);
        };
        let info = client.unrevert(remote_id).await?;
        session.update(|status| status.reverted = None);
        session.note("what was undone is there again".to_owned());
        session.noted().await;
        Ok(undone(None, info))
    }
}

fn undone(reverted: Option<Reverted>, info: StoredSession) -> Undone {
    let revert = info.revert;
    let files_restored = revert
        .as_ref()
        .is_some_and(|revert| revert.snapshot.is_some());
    let mut diff = revert
        .and_then(|revert| revert.diff)
        .filter(|diff| !diff.is_empty());
    let truncated = diff.as_mut().is_some_and(cut_text);
    Undone {
        reverted,
        files_restored,
        diff,
        truncated,
    }
}

/// While this is held no turn of `session` begins. Refused if one runs or begins.
fn idle(session: &Session) -> Result<SemaphorePermit<'_>, ConversationError> {
    let conversation = session.conversation.try_acquire();
    let conversation = conversation.map_err(|_| ConversationError::Running)?;
    if session.status().state.is_final() {
        Ok(conversation)
    } else {
        Err(ConversationError::Running)
    }
}
