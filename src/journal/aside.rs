//! A database that cannot be used is moved out of the way, so that somebody can look at it.

use std::fs;
use std::io;
use std::path::Path;

use super::fault::Fault;
use super::store::{self, with_suffix};
use crate::clock::Timestamp;

/// So many are kept.
const KEPT: usize = 3;

/// The WAL and its index belong to the database and go with it.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

pub(super) fn put(dir: &Path, fault: &Fault) -> io::Result<()> {
    let kind = match fault {
        Fault::Newer(_) => "newer",
        _ => "corrupt",
    };
    let from = dir.join(store::NAME);
    let to = dir.join(format!(
        "{}.{kind}-{}",
        store::NAME,
        Timestamp::now().as_millis()
    ));
    // The database goes first. If we die on the way, the next one begins empty, and SQLite throws away a
    // WAL that it finds beside an empty database; a database without its WAL it would take for whole.
    for suffix in SUFFIXES {
        match fs::rename(with_suffix(&from, suffix), with_suffix(&to, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::File::open(dir)?.sync_all()?;
    tracing::error!(
        reason = %fault,
        moved_to = %to.display(),
        "the journal's database cannot be used and was moved aside; a new one begins without the earlier sessions"
    );
    remove_oldest(dir)
}

fn remove_oldest(dir: &Path) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(dir)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| {
            let (_, kind) = name.strip_prefix(store::NAME)?.split_once('.')?;
            // By time, whatever the kind.
            let time: u64 = kind.split_once('-')?.1.parse().ok()?;
            Some((time, name))
        })
        .collect();
    names.sort_unstable();
    let surplus = names.len().saturating_sub(KEPT);
    for (_, name) in names.into_iter().take(surplus) {
        for suffix in SUFFIXES {
            match fs::remove_file(with_suffix(&dir.join(&name), suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
