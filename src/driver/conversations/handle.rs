//! The handle: waits for a child, and has it asked by a bounded number of requests at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::task::TaskTracker;

use super::error::ConversationError;
use super::read::{self, MessageQuery};
use crate::conversation::{Changes, Page, Subagents};
use crate::driver::child_connection::{self, ChildConnection};
use crate::driver::context::Context;
use crate::event::TodoItem;
use crate::opencode::Client;
use crate::session::{Session, Status};

/// Requests that read or change conversations at once: what OpenCode answers to one may have 64 MiB, and is held whole
/// for a moment.
const AT_ONCE: usize = 4;

/// The client gives up after 30 s; it gets an answer before that.
const DEADLINE: Duration = Duration::from_secs(25);

/// A cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct Conversations {
    pub(super) context: Context,
    slots: Arc<Semaphore>,
    tracker: TaskTracker,
}

// === impl Conversations ===

impl Conversations {
    pub(in crate::driver) fn new(context: Context, tracker: TaskTracker) -> Self {
        Self {
            context,
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            tracker,
        }
    }

    /// A page of the messages of `session`; none if the agent never got a prompt.
    pub(crate) async fn messages(
        &self,
        session: &Session,
        query: &MessageQuery,
    ) -> Result<Page, ConversationError> {
        let status = session.status();
        let Some(remote_id) = &status.remote_id else {
            return Ok(Page::default());
        };
        self.with_child(async |client| {
            let ours = (&*session.id, &**remote_id);
            let last = status.before.clone().map(|before| (status.turn, before));
            read::messages(&client, ours, query, (undone(&status), last)).await
        })
        .await
    }

    pub(crate) async fn subagents(
        &self,
        session: &Session,
    ) -> Result<Subagents, ConversationError> {
        let Some(remote_id) = session.status().remote_id.clone() else {
            return Ok(Subagents::default());
        };
        self.with_child(async |client| {
            read::subagents(&client, &remote_id, &self.context.config.workspace).await
        })
        .await
    }

    /// The agent's plan.
    pub(crate) async fn todos(
        &self,
        session: &Session,
    ) -> Result<Vec<TodoItem>, ConversationError> {
        let Some(remote_id) = session.status().remote_id.clone() else {
            return Ok(Vec::new());
        };
        self.with_child(async |client| read::todos(&client, &remote_id).await)
            .await
    }

    /// What `session` changed in files, or what only its turn `turn` did.
    pub(crate) async fn diff(
        &self,
        session: &Session,
        turn: Option<u32>,
    ) -> Result<Changes, ConversationError> {
        let status = session.status();
        let Some(remote_id) = &status.remote_id else {
            return Ok(Changes::default());
        };
        let workspace = &self.context.config.workspace;
        self.with_child(async |client| {
            let ours = (&*session.id, &**remote_id);
            read::diff(&client, ours, workspace, (turn, undone(&status))).await
        })
        .await
    }

    /// Whether `session` may use `tool`. Of one that was adopted only OpenCode knows with which tools it was made.
    pub(crate) async fn may_use(
        &self,
        session: &Session,
        tool: &str,
    ) -> Result<bool, ConversationError> {
        let among = |tools: &[String]| tools.iter().any(|name| name == tool);
        if let Some(tools) = session.tools() {
            return Ok(among(&tools.list()));
        }
        let Some(remote_id) = session.status().remote_id.clone() else {
            return Ok(true);
        };
        self.with_child(async |client| {
            let made_with = client.session(&remote_id).await?.sidecar().tools;
            Ok(made_with.is_none_or(|tools| among(&tools)))
        })
        .await
    }

    /// What `change` says, which is not dropped in the middle if nobody waits for it any more.
    pub(super) async fn changed<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, ConversationError>> + Send + 'static,
    ) -> Result<T, ConversationError> {
        let changing = self.tracker.spawn(change);
        match tokio::time::timeout(DEADLINE, changing).await {
            Ok(Ok(changed)) => changed,
            Ok(Err(error)) => Err(ConversationError::Failed(error.to_string())),
            Err(_) => Err(late()),
        }
    }

    /// What `ask` says with the present child, or the next one if it comes soon.
    async fn with_child<T>(
        &self,
        ask: impl AsyncFnOnce(Client) -> Result<T, ConversationError>,
    ) -> Result<T, ConversationError> {
        let asking = async {
            let connection = self.child().await?;
            let _slot = self.slot().await;
            ask(connection.client).await
        };
        tokio::time::timeout(DEADLINE, asking)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// Held by whoever asks the child.
    pub(super) async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.slots.acquire().await.ok()
    }

    pub(super) async fn child(&self) -> Result<ChildConnection, ConversationError> {
        let mut connections = self.context.connections.clone();
        tokio::select! {
            // One that is here serves until it is stopped.
            biased;
            connection = child_connection::next(&mut connections) => {
                connection.ok_or(ConversationError::ShuttingDown)
            }
            () = self.context.shutdown.drain.cancelled() => Err(ConversationError::ShuttingDown),
            () = tokio::time::sleep(self.context.config.engine_wait) => {
                let reason = self.context.engine.not_ready(Instant::now());
                let reason = reason.unwrap_or_else(|| "engine starting".into());
                Err(ConversationError::EngineUnavailable(reason))
            }
        }
    }
}

/// The first message that is undone.
fn undone(status: &Status) -> Option<&str> {
    let reverted = status.reverted.as_ref();
    reverted.map(|reverted| &*reverted.message_id)
}

fn late() -> ConversationError {
    ConversationError::EngineUnavailable("the engine did not answer in time".into())
}
