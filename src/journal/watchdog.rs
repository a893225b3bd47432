//! A second, tiny thread for when the first one does not come back from the disk.
//!
//! It takes the sources' news in the writer's place and has readers shown events from memory. It asks
//! nothing of the disk but to set the marker, and does not wait long for that.

use std::time::Duration;

use super::Shared;

/// A disk that hangs may take no marker either; readers do not wait for it.
const MARK: Duration = Duration::from_millis(500);

pub(super) fn watch(shared: &Shared, limit: Duration) {
    while let Some(since) = shared.queue.hang(limit) {
        if let Some(marker) = shared.marker.get() {
            marker.set_within(MARK);
        }
        let reason = if shared.queue.is_dead() {
            "its writer ended by a bug; restart the sidecar".to_owned()
        } else {
            format!("the disk has not answered for {} s", limit.as_secs_f32())
        };
        while shared
            .pending
            .stand_in(&shared.queue, since, &shared.stats, &reason)
            && shared.queue.wait_standing_in(since)
        {}
    }
}
