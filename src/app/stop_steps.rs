//! The steps in which the program ends, each with its limit. [`super::App::run`] has their order.

use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::journal::Journal;
use crate::shutdown::Shutdown;
use crate::{backend, session};

/// How long connections may take to finish their request once everything else is over.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What turns may take to end that no child's end ends.
const LAST_ENDS: Duration = Duration::from_secs(1);

/// What the journal may take to write the last events. They are few, and written as they come.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// What stopping the child may take, from the end of the last turn to the sweep.
const STOP_SEQUENCE: Duration = Duration::from_secs(8);

/// Waits for the ends of turns that no child's end ends, and tells the backend: while the journal can still
/// keep them, and note what the backend knows.
pub(super) async fn last_ends(
    registry: &session::Registry,
    reports: &backend::Handle,
    shutdown: &Shutdown,
    drain_timeout: Duration,
) {
    drop(tokio::time::timeout(LAST_ENDS, registry.idle()).await);
    let used = shutdown.since().map(|begun| begun.elapsed());
    let left = drain_timeout.saturating_sub(used.unwrap_or_default());
    reports
        .report_the_rest(left.saturating_sub(LAST_WRITE + 2 * LAST_ANSWERS))
        .await;
}

pub(super) async fn finish(journal: &Journal) {
    if tokio::time::timeout(LAST_WRITE, journal.close())
        .await
        .is_err()
    {
        tracing::error!("the journal's disk does not answer: leaving it as it is");
    }
}

pub(super) async fn last_answers(connections: &TaskTracker) {
    connections.close();
    if tokio::time::timeout(LAST_ANSWERS, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "closing connections that are still busy"
        );
    }
}

pub(super) async fn last_tasks(tracker: &TaskTracker) {
    tracker.close();
    if tokio::time::timeout(LAST_ANSWERS, tracker.wait())
        .await
        .is_err()
    {
        tracing::warn!(tasks = tracker.len(), "leaving tasks that did not end");
    }
}

pub(super) async fn overdue(shutdown: &Shutdown, drain_timeout: Duration) {
    shutdown.drain.cancelled().await;
    tokio::time::sleep(drain_timeout).await;
}

/// Waits for the signal, lets running turns finish for a while, and ends the rest.
pub(super) async fn drain(
    shutdown: &Shutdown,
    registry: &session::Registry,
    drain_timeout: Duration,
) {
    shutdown.drain.cancelled().await;
    let wait = drain_timeout
        .checked_sub(STOP_SEQUENCE)
        .unwrap_or(drain_timeout / 4);
    tokio::select! {
        () = registry.idle() => {}
        () = tokio::time::sleep(wait) => tracing::warn!("turns still run; ending them"),
        () = shutdown.hurry.cancelled() => {}
    }
    shutdown.halt.cancel();
}
