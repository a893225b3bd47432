//! A database that cannot be used is moved aside, so that somebody can look at it.
//!
//! Of each kind three are kept, which together take no more than one database may. When the disk is full, the damaged
//! ones are removed at once, because what runs now needs the space.

use std::fs;
use std::io;
use std::path::Path;

use super::store::{self, with_suffix};
use super::store_error::StoreError;
use crate::clock::Timestamp;

/// So many of each kind are kept.
const KEPT: usize = 3;

/// Damaged: nobody will use it again.
const CORRUPT: &str = "corrupt";
/// Of a newer version, and whole: after another upgrade somebody may move it back.
const NEWER: &str = "newer";

/// The WAL and its index belong to the database and go with it.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

pub(super) fn move_aside(dir: &Path, store_error: &StoreError, max_bytes: u64) -> io::Result<()> {
    let kind = match store_error {
        StoreError::Newer(_) => NEWER,
        _ => CORRUPT,
    };
    let newest = names(dir, kind)?.first().map_or(0, |(time, _)| *time);
    // The clock may have gone back.
    let time = Timestamp::now().as_millis().max(newest + 1);
    let from = dir.join(store::NAME);
    let to = dir.join(format!("{}.{kind}-{time}", store::NAME));
    // The database goes first. If we die on the way, the next one begins empty, and SQLite discards a WAL that it finds
    // beside an empty database; a database without its WAL it would take for whole.
    for suffix in SUFFIXES {
        match fs::rename(with_suffix(&from, suffix), with_suffix(&to, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::File::open(dir)?.sync_all()?;
    tracing::error!(
        reason = %store_error,
        moved_to = %to.display(),
        "the journal's database cannot be used and was moved aside; a new one begins without the earlier sessions"
    );
    keep_newest(dir, kind, max_bytes)
}

/// Removes the oldest damaged one, for a disk that is full.
pub(super) fn remove_oldest(dir: &Path) -> io::Result<()> {
    let Some((_, name)) = names(dir, CORRUPT)?.pop() else {
        return Ok(());
    };
    remove(dir, &name)?;
    tracing::warn!(
        name,
        "a damaged database that was kept aside was removed: the disk is full"
    );
    Ok(())
}

/// The newest of a kind is kept whatever its size.
fn keep_newest(dir: &Path, kind: &str, max_bytes: u64) -> io::Result<()> {
    let mut bytes = 0;
    for (nth, (_, name)) in names(dir, kind)?.into_iter().enumerate() {
        for suffix in SUFFIXES {
            let file = fs::metadata(with_suffix(&dir.join(&name), suffix));
            bytes += file.map_or(0, |file| file.len());
        }
        if nth >= KEPT || (nth > 0 && bytes > max_bytes) {
            remove(dir, &name)?;
        }
    }
    Ok(())
}

/// Newest first, each with its time.
fn names(dir: &Path, kind: &str) -> io::Result<Vec<(u64, String)>> {
    let mut names: Vec<_> = fs::read_dir(dir)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| {
            let kind_and_time = name.strip_prefix(store::NAME)?.strip_prefix('.')?;
            let time = kind_and_time.strip_prefix(kind)?.strip_prefix('-')?;
            Some((time.parse().ok()?, name))
        })
        .collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

/// The database goes last, because its name is what the rest is found by.
fn remove(dir: &Path, name: &str) -> io::Result<()> {
    for suffix in SUFFIXES.into_iter().rev() {
        match fs::remove_file(with_suffix(&dir.join(name), suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
