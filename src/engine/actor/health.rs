//! Whether a child is ready, and whether it still answers.

use std::time::Instant;

use tokio::sync::watch;

use super::super::child::End;
use super::super::config::Config;
use super::super::state::{Ready, Snapshot};
use crate::id::Generation;
use crate::opencode;

/// Health checks that may fail in a row before the child counts as unresponsive.
const MISSES: u32 = 3;

/// Says in the log that a child is ready, `since` when it was being started.
pub(super) fn log_ready(ready: &Ready, generation: Generation, since: Instant) {
    if ready.version != opencode::VERSION {
        tracing::warn!(
            version = ready.version,
            expected = opencode::VERSION,
            "this OpenCode is not the version this sidecar is tested with"
        );
    }
    tracing::info!(
        child.generation = generation.get(),
        version = ready.version,
        address = %ready.address,
        after_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
        warm_up_ms = u64::try_from(ready.warm_up.took.as_millis()).unwrap_or(u64::MAX),
        "engine ready"
    );
}

/// Watches a child that runs, and shows what it misses; returns when it has stopped answering.
pub(super) async fn until_unresponsive(
    ready: &Ready,
    config: &Config,
    snapshot_tx: &watch::Sender<Snapshot>,
) -> End {
    let mut misses = 0;
    let show = |misses| {
        snapshot_tx.send_if_modified(|snapshot| {
            std::mem::replace(&mut snapshot.missed_checks, misses) != misses
        })
    };
    show(0);
    loop {
        tokio::time::sleep(config.probe_interval).await;
        match ready.client.health(config.probe_timeout).await {
            Ok(_) => {
                misses = 0;
                show(misses);
            }
            Err(error) => {
                misses += 1;
                show(misses);
                tracing::warn!(%error, misses, "the engine missed a health check");
                if misses == MISSES {
                    let how = format!(
                        "stopped answering ({misses} health checks failed: could not {error})"
                    );
                    return End {
                        how,
                        last_words: String::new(),
                        was_killed: false,
                    };
                }
            }
        }
    }
}
