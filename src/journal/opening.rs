//! The start: from whatever is in the directory to a database that can be trusted.
//!
//! It is decided here which sessions keep their epoch; docs/decisions/0007-journal.md has the reasons.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use rusqlite::{Connection, Transaction};

use super::check;
use super::config::Config;
use super::marker::Marker;
use super::order::OrderStart;
use super::order_entry::MAX_POSITION;
use super::queries;
use super::row::{Opened, Removed};
use super::schema::is_in_range;
use super::statements::{about, remove_session, set_about};
use super::store::Store;
use super::store_error::StoreError;
use super::writer_cache::WriterCache;
use super::{order_rows, quarantine};

/// What the start found.
pub(super) struct Found {
    pub(super) store: Store,
    pub(super) opened: Opened,
    pub(super) order: OrderStart,
    /// Removed by retention in an earlier process, which perhaps did not announce them.
    pub(super) unannounced: Vec<Removed>,
}

/// The boot id of this machine; empty if the kernel does not provide it. An empty one equals no other.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    // One that was there may belong to another user, and then its mode is theirs to choose.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).ok();
    Ok(())
}

/// Opens the database; one that cannot be used is moved aside, and a new one begins.
pub(super) fn open(
    config: &Config,
    checkpoint_pages: u32,
    boot: &str,
    marker: &Marker,
) -> Result<Found, StoreError> {
    let dir = &config.dir;
    match try_open(dir, checkpoint_pages, boot, marker) {
        Err(store_error @ (StoreError::Damaged(_) | StoreError::Newer(_))) => {
            quarantine::move_aside(dir, &store_error, config.max_bytes)?;
            try_open(dir, checkpoint_pages, boot, marker)
        }
        other => other,
    }
}

fn try_open(
    dir: &Path,
    checkpoint_pages: u32,
    boot: &str,
    marker: &Marker,
) -> Result<Found, StoreError> {
    let mut store = Store::open(dir, checkpoint_pages)?;
    let (tx, _) = store.begin(true)?;
    remove_rejected(&tx)?;
    let is_whole = !marker.is_set() && (same_boot(&tx, boot)? || is_closed(&tx)?);
    if marker.is_set() {
        // Even the beginning of a turn may have been shown and never written.
        new_epochs(&tx, "true")?;
    } else if !is_whole {
        // The machine died, and with it what was not synced: the last events of running turns.
        new_epochs(&tx, "ended IS NULL")?;
    }
    let epoch = about(&tx, "order_epoch")?.filter(|epoch| is_whole && check::is_epoch(epoch));
    if epoch.is_none() {
        let new = tx.query_row(&format!("SELECT {}", random_epoch()), [], |row| {
            row.get::<_, String>(0)
        })?;
        set_about(&tx, "order_epoch", &new)?;
    }
    set_about(&tx, "boot", boot)?;
    set_about(&tx, "closed", "no")?;
    tx.commit()?;
    let opened = opened(&store.conn)?;
    if !is_in_range(opened.last_number + 1, 0) {
        return Err(StoreError::Damaged("its last number is too large".into()));
    }
    let order = order_rows::start(&store.conn)?;
    if order.next > MAX_POSITION {
        return Err(StoreError::Damaged("its last position is too large".into()));
    }
    let unfinished = opened.unfinished.iter().map(|(stored, _)| stored);
    store.memory = WriterCache::new(unfinished, opened.last_number);
    store.memory.order_oldest = order.oldest;
    // Only now: until the new epochs are on disk, the marker is what keeps the old ones from being used.
    if marker.is_set() {
        marker.set(false)?;
    }
    Ok(Found {
        unannounced: removed(&store.conn)?
            .into_iter()
            .filter_map(|(_, removed)| removed)
            .collect(),
        store,
        opened,
        order,
    })
}

fn opened(conn: &Connection) -> rusqlite::Result<Opened> {
    let unfinished = queries::unfinished(conn)?
        .into_iter()
        .map(|stored| {
            let notes = queries::notes(conn, stored.row.number)?;
            Ok((stored, notes))
        })
        .collect::<rusqlite::Result<_>>()?;
    let waiting = queries::with_waiting_prompts(conn)?
        .into_iter()
        .map(|stored| {
            let prompts = queries::waiting_prompts(conn, stored.row.number)?;
            Ok((stored, prompts))
        })
        .collect::<rusqlite::Result<_>>()?;
    Ok(Opened {
        unfinished,
        waiting,
        last_number: queries::last_number(conn)?,
    })
}

fn same_boot(conn: &Connection, boot: &str) -> rusqlite::Result<bool> {
    let before = about(conn, "boot")?;
    Ok(!boot.is_empty() && before.as_deref() == Some(boot))
}

fn is_closed(conn: &Connection) -> rusqlite::Result<bool> {
    Ok(about(conn, "closed")?.as_deref() == Some("yes"))
}

/// An expression of SQL, another value for each row: ten characters `[0-9a-z]`. The generator behind `random()` is
/// seeded by the kernel.
fn random_epoch() -> String {
    const ONE: &str =
        "substr('0123456789abcdefghijklmnopqrstuvwxyz', 1 + (random() & 0x7fffffff) % 36, 1)";
    [ONE; 10].join(" || ")
}

fn new_epochs(conn: &Connection, which: &str) -> rusqlite::Result<()> {
    let epoch = random_epoch();
    let changed = conn.execute(
        &format!("UPDATE sessions SET epoch = {epoch} WHERE {which}"),
        [],
    )?;
    if changed > 0 {
        tracing::warn!(
            sessions = changed,
            "the last events of these sessions may be lost; their event ids begin anew"
        );
    }
    Ok(())
}

/// Removes the rows that cannot be of sessions of ours, so that nothing counts them.
fn remove_rejected(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    for number in queries::rejected(tx)? {
        tx.execute("DELETE FROM sessions WHERE number = ?1", [number])?;
        if let Ok(number) = u64::try_from(number)
            && is_in_range(number, 0)
        {
            // Its events are deleted in steps, as those of any session that is gone.
            remove_session(tx, number, None)?;
        }
    }
    for (number, removed) in removed(tx)? {
        if removed.is_none() {
            check::log_rejected(number, "it was removed, and its ids are invalid");
            tx.execute(
                "UPDATE pending_deletion SET id = NULL, remote_id = NULL WHERE session = ?1",
                [number],
            )?;
        }
    }
    Ok(())
}

/// Removed sessions that still have rows; nothing in place of one whose ids are invalid.
fn removed(conn: &Connection) -> rusqlite::Result<Vec<(i64, Option<Removed>)>> {
    conn.prepare("SELECT session, id, remote_id FROM pending_deletion WHERE id IS NOT NULL")?
        .query_map([], |row| {
            let read = || {
                Ok::<_, rusqlite::Error>(Removed {
                    number: row.get(0)?,
                    id: row.get(1)?,
                    remote_id: row.get(2)?,
                })
            };
            Ok((row.get(0)?, read().ok().filter(check::is_removed)))
        })?
        .collect()
}
