//! The start: from whatever lies in the directory to a database that can be trusted.
//!
//! Here it is decided which sessions keep their epoch; docs/decisions/0007-journal.md has the reasons.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use rusqlite::Connection;

use super::check;
use super::marker::Marker;
use super::memory::Memory;
use super::quarantine;
use super::queries;
use super::statements::{about, set_about};
use super::store::Store;
use super::store_error::StoreError;
use super::{Config, Opened, Removed};

/// What the start found.
pub(super) struct Found {
    pub(super) store: Store,
    pub(super) opened: Opened,
}

/// The boot id of this machine; empty if it does not tell. An empty one is never the same as another.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    // One that was there may belong to somebody else, who then chose its mode.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).ok();
    Ok(())
}

/// Opens the database; one that cannot be used is put aside, and a new one begins.
pub(super) fn open(
    config: &Config,
    checkpoint_pages: u32,
    boot: &str,
    marker: &Marker,
) -> Result<Found, StoreError> {
    let dir = &config.dir;
    match try_open(dir, checkpoint_pages, boot, marker) {
        Err(store_error @ (StoreError::Damaged(_) | StoreError::Newer(_))) => {
            quarantine::put(dir, &store_error, config.max_bytes)?;
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
    check::weed(&tx)?;
    if marker.is_set() {
        // What was shown and never written may even be the beginning of a turn.
        new_epochs(&tx, "true")?;
    } else if !same_boot(&tx, boot)? && !is_closed(&tx)? {
        // The machine took with it what was not synced: the ends of turns that were running.
        new_epochs(&tx, "ended IS NULL")?;
    }
    set_about(&tx, "boot", boot)?;
    set_about(&tx, "closed", "no")?;
    tx.commit()?;
    let opened = opened(&store.conn)?;
    let unfinished = opened.unfinished.iter().map(|(stored, _)| stored);
    store.memory = Memory::new(unfinished, opened.last_number);
    // Only now: until the new epochs are on disk, the marker is what keeps the old ones from being used.
    marker.set(false)?;
    Ok(Found { store, opened })
}

fn opened(conn: &Connection) -> rusqlite::Result<Opened> {
    let unfinished = queries::unfinished(conn)?
        .into_iter()
        .map(|stored| {
            let notes = queries::notes(conn, stored.row.number)?;
            Ok((stored, notes))
        })
        .collect::<rusqlite::Result<_>>()?;
    Ok(Opened {
        unfinished,
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

/// Ten characters `[0-9a-z]`, made by SQLite for each row: the generator behind `random()` is seeded
/// by the kernel.
fn new_epochs(conn: &Connection, which: &str) -> rusqlite::Result<()> {
    const ONE: &str =
        "substr('0123456789abcdefghijklmnopqrstuvwxyz', 1 + (random() & 0x7fffffff) % 36, 1)";
    let epoch = [ONE; 10].join(" || ");
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

/// Removed sessions whose rows were not all gone when we ended: whoever cleans up may not know.
pub(super) fn untold(conn: &Connection) -> rusqlite::Result<Vec<Removed>> {
    conn.prepare("SELECT session, id, remote_id FROM doomed WHERE id IS NOT NULL")?
        .query_map([], |row| {
            Ok(Removed {
                number: row.get(0)?,
                id: row.get(1)?,
                remote_id: row.get(2)?,
            })
        })?
        .filter(|found| found.as_ref().map_or(true, check::removed))
        .collect()
}
