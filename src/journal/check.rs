//! What is read from the database is checked like what comes from the network, because somebody else may have written
//! it. Ids become parts of paths, epochs become parts of frames, and numbers are added to.
//!
//! A session whose row cannot be one of ours is not used, and that is said in the log once.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use super::row::{Removed, Row};
use super::schema::is_in_range;
use crate::id;

/// Why a row is not used.
pub(super) type Reason = &'static str;

/// Milliseconds to the end of the year 9999, the last one a timestamp can be written of.
const MAX_TIME: u64 = 253_402_300_799_999;

/// More turns than a session can have had.
const MAX_TURN: u32 = 1 << 24;

/// The longest idempotency key.
const MAX_KEY: usize = 1024;

const EPOCH_LENGTH: usize = 10;

/// Numbers of rejected rows that were logged. When there are too many, some are logged again.
static LOGGED: Mutex<BTreeSet<i64>> = Mutex::new(BTreeSet::new());
const MAX_LOGGED: usize = 1024;

/// Whether a row and the span of its events can be of a session of ours.
pub(super) fn row(row: &Row, (oldest, last): (u64, u64)) -> Result<(), Reason> {
    let is_id = |id: &Option<String>| id.as_deref().is_none_or(id::is_id);
    let rules = [
        (is_in_range(row.number, last), "a number is too large"),
        (
            oldest <= last.saturating_add(1),
            "its events end before they begin",
        ),
        (id::is_id(&row.id), "its id is invalid"),
        (is_epoch(&row.epoch), "its epoch is invalid"),
        (is_id(&row.remote_id), "OpenCode's id is invalid"),
        (
            row.key.as_ref().is_none_or(|key| key.len() <= MAX_KEY),
            "its key is too long",
        ),
        (
            row.ended.is_none_or(|ended| ended <= MAX_TIME),
            "it ended too late",
        ),
        (
            row.turn <= MAX_TURN && row.reported <= row.turn,
            "its turns do not add up",
        ),
    ];
    match rules.into_iter().find(|(holds, _)| !holds) {
        Some((_, reason)) => Err(reason),
        None => Ok(()),
    }
}

pub(super) fn is_epoch(epoch: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    epoch.len() == EPOCH_LENGTH && epoch.bytes().all(is_part)
}

/// Whether a removed session can be one of ours.
pub(super) fn is_removed(removed: &Removed) -> bool {
    let remote_id = removed.remote_id.as_deref();
    is_in_range(removed.number, 0) && id::is_id(&removed.id) && remote_id.is_none_or(id::is_id)
}

/// Logs that a row is not used, once.
pub(super) fn log_rejected(number: i64, reason: Reason) {
    let mut logged = LOGGED.lock();
    if !logged.insert(number) {
        return;
    }
    if logged.len() > MAX_LOGGED {
        logged.pop_first();
    }
    drop(logged);
    tracing::error!(
        number,
        reason,
        "a session in the journal is not ours and is left out"
    );
}
