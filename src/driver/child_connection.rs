//! The connection to the child that runs now: how to call it, and one task that listens to it.
//!
//! A connection lives as long as one generation of the child. A feed that breaks is opened again within it; when the
//! child goes, `lost` is cancelled for everybody who holds the connection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::demux::{Demux, Item};
use crate::engine::Snapshot;
use crate::id::Generation;
use crate::opencode::{CallError, Client};

/// Between two attempts to open the feed of a child that runs.
const REOPEN: Duration = Duration::from_millis(200);

/// How long the child may take to abort a turn.
const ABORT_TIMEOUT: Duration = Duration::from_millis(2500);

/// A connection that broke because the child died is followed by the cancellation of `lost` within this time.
const DEATH_NOTICE: Duration = Duration::from_secs(1);

/// One child, as long as it lives.
#[derive(Clone, Debug)]
pub(super) struct ChildConnection {
    pub(super) client: Client,
    pub(super) generation: Generation,
    /// Cancelled when this child is gone.
    pub(super) lost: CancellationToken,
}

/// The present connection, if there is one.
pub(super) type Watch = watch::Receiver<Option<ChildConnection>>;

/// Waits for a child whose feed is open. `None`: there will be none any more.
pub(super) async fn next(connections: &mut Watch) -> Option<ChildConnection> {
    connections.wait_for(Option::is_some).await.ok()?.clone()
}

// === impl ChildConnection ===

impl ChildConnection {
    /// Aborts what runs in session `remote_id`.
    pub(super) async fn abort(&self, remote_id: &str) {
        if let Err(error) = self.client.abort(remote_id, ABORT_TIMEOUT).await {
            tracing::warn!(session.remote_id = remote_id, %error, "the engine did not abort a turn");
        }
    }

    /// Whether the child died under a call that failed with `error`.
    pub(super) async fn died_under(&self, error: &CallError) -> bool {
        matches!(error, CallError::Connection { .. })
            && tokio::time::timeout(DEATH_NOTICE, self.lost.cancelled())
                .await
                .is_ok()
    }
}

/// Follows the engine until `stop`.
pub(super) async fn follow(
    mut engine: watch::Receiver<Snapshot>,
    demux: Demux,
    connection_tx: watch::Sender<Option<ChildConnection>>,
    workspace: PathBuf,
    stop: CancellationToken,
) {
    let following = async {
        while let Some(connection) = next_child(&mut engine).await {
            let generation = connection.generation;
            let gone = engine.wait_for(|now| now.generation != generation || now.ready().is_none());
            tokio::select! {
                _ = gone => {}
                () = async {
                    remember_earlier(&connection, &demux, &workspace).await;
                    listen(&connection, &demux, &connection_tx).await;
                } => {}
            }
            connection_tx.send_replace(None);
            connection.lost.cancel();
        }
    };
    stop.run_until_cancelled(following).await;
}

/// Sessions of earlier lives of this sidecar are in the child as well. Those of earlier children are known.
async fn remember_earlier(connection: &ChildConnection, demux: &Demux, workspace: &Path) {
    match connection.client.sessions(workspace).await {
        Ok(sessions) => {
            let known = demux.sessions();
            for session in sessions {
                if !known.contains(&session.id) {
                    demux.remember(&session.id, [session.id.clone()]);
                }
            }
        }
        Err(error) => tracing::debug!(%error, "the engine's earlier sessions are not known"),
    }
}

/// Waits for a child that is ready. `None`: the engine has ended for good.
async fn next_child(engine: &mut watch::Receiver<Snapshot>) -> Option<ChildConnection> {
    let snapshot = engine.wait_for(|now| now.ready().is_some()).await.ok()?;
    Some(ChildConnection {
        client: snapshot.ready()?.client.clone(),
        generation: snapshot.generation,
        lost: CancellationToken::new(),
    })
}

/// Reads the feed, and opens it again when it breaks. Ends only with the child.
async fn listen(
    connection: &ChildConnection,
    demux: &Demux,
    connection_tx: &watch::Sender<Option<ChildConnection>>,
) {
    loop {
        match connection.client.feed().await {
            Err(error) => tracing::debug!(%error, "the engine's event stream is not open yet"),
            Ok(mut feed) => {
                if connection_tx.borrow().is_some() {
                    tracing::info!("the engine's event stream is open again");
                    demux.tell_all(|| Item::Back).await;
                } else {
                    // Only now: what a prompt causes must not be missed.
                    connection_tx.send_replace(Some(connection.clone()));
                }
                let error = loop {
                    match feed.next().await {
                        Ok(event) => demux.route(event).await,
                        Err(error) => break error,
                    }
                };
                tracing::warn!(%error, "lost the engine's event stream; opening it again");
                demux.tell_all(|| Item::Lost).await;
            }
        }
        tokio::time::sleep(REOPEN).await;
    }
}
