//! A thread that lets readers go on when the writer does not come back from the disk.
//!
//! It asks nothing of the disk but to set the marker, and does not wait long for that.

use std::time::Duration;

use super::shared::Shared;
use super::writer_state::Activity;

/// A disk that hangs may not take the marker either; readers do not wait for it.
const MARKER_WAIT: Duration = Duration::from_millis(500);

pub(super) fn watch(shared: &Shared, limit: Duration) {
    let mut seen = None;
    loop {
        let activity = shared.writer_state.unresponsive(limit, seen);
        let reason = match activity {
            Activity::Ended => return,
            Activity::Panicked => "its writer ended by a bug; restart the sidecar".to_owned(),
            _ => format!("the disk has not answered for {} s", limit.as_secs_f32()),
        };
        if let Some(marker) = shared.marker.get() {
            marker.set_within(MARKER_WAIT);
        }
        let holds = || shared.writer_state.is(activity);
        shared.queue.degrade_if(&shared.stats, &reason, holds);
        if activity == Activity::Panicked {
            return;
        }
        seen = Some(activity);
    }
}
