//! The listener.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection;
use super::shared::Shared;
use crate::unauthenticated::Unauthenticated;

/// After an error of `accept`, as when file descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until `cancelled`, then cuts what is open.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    tracker: TaskTracker,
    cancelled: CancellationToken,
) {
    let unauthenticated = Unauthenticated::default();
    loop {
        // Both futures may be dropped at any time without loss.
        let accepted = tokio::select! {
            () = cancelled.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let newcomer = unauthenticated.add();
                let evicted = newcomer.evicted();
                let (shared, cancelled) = (Arc::clone(&shared), cancelled.clone());
                tracker.spawn(async move {
                    tokio::select! {
                        () = cancelled.cancelled() => {}
                        () = evicted.cancelled() => {}
                        () = connection::serve(stream, &shared, newcomer) => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the egress proxy cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
