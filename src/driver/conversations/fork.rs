//! A new session with a copy of the conversation of another one.

use std::sync::Arc;

use super::error::ConversationError;
use super::handle::Conversations;
use super::read::{self, Place};
use crate::driver::start::delete_unopened;
use crate::opencode::SessionPatch;
use crate::session::{AddedFork, ForkedFrom, Idempotency, Labels, NewFork, Session};

/// A copy that a client wants.
#[derive(Debug)]
pub(crate) struct ForkRequest {
    pub(crate) id: String,
    pub(crate) labels: Labels,
    /// The message before which it ends, or its last turn. `None`: all is copied.
    pub(crate) until: Option<Place>,
    pub(crate) idempotency: Option<Idempotency>,
}

// === impl Conversations ===

impl Conversations {
    /// Copies the conversation of `source`, also while a turn of it runs. The copy may do what the source may.
    pub(crate) async fn fork(
        &self,
        source: Arc<Session>,
        request: ForkRequest,
    ) -> Result<Arc<Session>, ConversationError> {
        let this = self.clone();
        self.changed(async move { this.copy(&source, request).await })
            .await
    }

    async fn copy(
        &self,
        source: &Session,
        request: ForkRequest,
    ) -> Result<Arc<Session>, ConversationError> {
        let status = source.status();
        let remote_id = status.remote_id.as_ref().ok_or(ConversationError::Empty)?;
        let connection = self.child().await?;
        let _slot = self.slot().await;
        let client = &connection.client;
        let ours = (&*source.id, &**remote_id);
        let mut before = match &request.until {
            None => None,
            Some(Place::Message(id)) => Some(read::prompt(client, ours, id).await?.message_id),
            Some(Place::Turn(turn)) => read::first_after(client, ours, *turn).await?,
        };
        // What is undone is not copied.
        if let Some(undone) = &status.reverted {
            let first = before.unwrap_or_else(|| undone.message_id.clone());
            before = Some(first.min(undone.message_id.clone()));
        }
        let rules = client.stored_session(remote_id).await?.rules;
        let workspace = &self.context.config.workspace;
        let forked = client.fork(remote_id, before.as_deref(), workspace).await?;
        // OpenCode does not copy the rules: without them the copy could do everything.
        let patch = SessionPatch {
            title: &request.id,
            rules: rules.as_deref(),
        };
        if let Err(error) = client.patch_session(&forked.id, &patch).await {
            delete_unopened(&connection, forked.id, &self.context).await;
            return Err(error.into());
        }
        self.context.demux.remember(&forked.id, [forked.id.clone()]);
        let turn = match request.until {
            Some(Place::Turn(turn)) => Some(turn),
            Some(Place::Message(_)) | None => None,
        };
        let fork = NewFork {
            id: request.id,
            remote_id: forked.id.clone(),
            labels: request.labels,
            forked_from: ForkedFrom {
                session_id: source.id.clone(),
                turn,
                message_id: before,
            },
            idempotency: request.idempotency,
        };
        let added = self.context.registry.add_fork(source, fork).await;
        if !matches!(added, Ok(AddedFork::New(_))) {
            self.context.demux.forget(&forked.id);
            delete_unopened(&connection, forked.id, &self.context).await;
        }
        let (AddedFork::New(session) | AddedFork::Repeated(session)) = added?;
        Ok(session)
    }
}
