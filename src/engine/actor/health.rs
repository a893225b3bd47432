//! Whether a running child still answers.

use super::super::child::End;
use super::super::config::Config;
use super::super::state::Ready;

/// Health checks that may fail in a row before the child counts as wedged.
const MISSES: u32 = 3;

/// Watches a child that runs; returns when it has stopped answering.
pub(super) async fn until_unresponsive(ready: &Ready, config: &Config) -> End {
    let mut misses = 0;
    loop {
        tokio::time::sleep(config.probe_interval).await;
        match ready.client.health(config.probe_timeout).await {
            Ok(_) => misses = 0,
            Err(error) => {
                misses += 1;
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
