//! The handle: waits for a child, and has it asked by a bounded number of requests at a time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::error::ConversationError;
use super::read::{self, MessageQuery};
use crate::conversation::{Changes, Page, Subagents};
use crate::driver::child_connection::{self, ChildConnection};
use crate::engine;
use crate::event::TodoItem;
use crate::opencode::Client;
use crate::session::Session;
use crate::shutdown::Shutdown;

/// Requests that read or change conversations at once: what OpenCode answers to one may have 64 MiB, and is held whole
/// for a moment.
const AT_ONCE: usize = 4;

/// The client gives up after 30 s; it gets an answer before that.
const DEADLINE: Duration = Duration::from_secs(25);

/// A cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct Conversations {
    connections: child_connection::Watch,
    engine: engine::Handle,
    engine_wait: Duration,
    workspace: Arc<PathBuf>,
    shutdown: Shutdown,
    slots: Arc<Semaphore>,
}

// === impl Conversations ===

impl Conversations {
    pub(in crate::driver) fn new(
        connections: child_connection::Watch,
        engine: engine::Handle,
        (engine_wait, workspace): (Duration, PathBuf),
        shutdown: Shutdown,
    ) -> Self {
        Self {
            connections,
            engine,
            engine_wait,
            workspace: Arc::new(workspace),
            shutdown,
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// A page of the messages of `session`; none if the agent never got a prompt.
    pub(crate) async fn messages(
        &self,
        session: &Session,
        query: &MessageQuery,
    ) -> Result<Page, ConversationError> {
        let Some(remote_id) = session.status().remote_id.clone() else {
            return Ok(Page::default());
        };
        self.with_child(async |client| {
            read::messages(&client, (&session.id, &remote_id), query).await
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
        self.with_child(async |client| read::subagents(&client, &remote_id, &self.workspace).await)
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
        let Some(remote_id) = session.status().remote_id.clone() else {
            return Ok(Changes::default());
        };
        self.with_child(async |client| {
            read::diff(&client, (&session.id, &remote_id), &self.workspace, turn).await
        })
        .await
    }

    /// What `ask` says with the present child, or the next one if it comes soon.
    async fn with_child<T>(
        &self,
        ask: impl AsyncFnOnce(Client) -> Result<T, ConversationError>,
    ) -> Result<T, ConversationError> {
        let asking = async {
            let connection = self.child().await?;
            // The semaphore is never closed.
            let _slot = self.slots.acquire().await;
            ask(connection.client).await
        };
        let late =
            || ConversationError::EngineUnavailable("the engine did not answer in time".into());
        tokio::time::timeout(DEADLINE, asking)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    async fn child(&self) -> Result<ChildConnection, ConversationError> {
        let mut connections = self.connections.clone();
        tokio::select! {
            // One that is here serves until it is stopped.
            biased;
            connection = child_connection::next(&mut connections) => {
                connection.ok_or(ConversationError::ShuttingDown)
            }
            () = self.shutdown.drain.cancelled() => Err(ConversationError::ShuttingDown),
            () = tokio::time::sleep(self.engine_wait) => {
                let reason = self.engine.not_ready(Instant::now());
                let reason = reason.unwrap_or_else(|| "engine starting".into());
                Err(ConversationError::EngineUnavailable(reason))
            }
        }
    }
}
