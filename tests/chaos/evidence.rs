//! What is kept: a replay over HTTP, the rows of the database, and what lies on the disk.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::llm::{Kind, Recorded};
use crate::model::Call;
use crate::support::sse;
use crate::trace::{Frame, blocks};

/// The low bits of a run's place are the number of its first event, the others its session's.
const EVENT_BITS: u32 = 34;

fn copied(file: &Path, to: &Path) -> PathBuf {
    let names = [file.to_owned(), file.with_extension("db-wal")];
    let state = || {
        names.each_ref().map(|name| {
            fs::metadata(name)
                .and_then(|meta| Ok((meta.len(), meta.modified()?)))
                .ok()
        })
    };
    for _ in 0..1000 {
        let before = state();
        for name in &names {
            let copy = to.join(name.file_name().unwrap());
            if fs::copy(name, &copy).is_err() {
                fs::remove_file(copy).ok();
            }
        }
        if state() == before {
            return to.join(names[0].file_name().unwrap());
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the database is never left alone");
}

/// The events of a session as they lie in the database. Nothing if it has no such session.
pub(crate) fn journal(file: &Path, id: &str) -> rusqlite::Result<Option<Vec<Frame>>> {
    // The sidecar has the database to itself, so a copy is read: one between whose two files nothing was written.
    let copy = tempfile::tempdir().unwrap();
    let file = copied(file, copy.path());
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(file, flags)?;
    database.busy_timeout(std::time::Duration::from_secs(5))?;
    let session = database
        .query_row(
            "SELECT number, epoch FROM sessions WHERE id = ?1 ORDER BY number DESC",
            [id],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
        )
        .optional()?;
    let Some((number, epoch)) = session else {
        return Ok(None);
    };
    let mut runs = database
        .prepare("SELECT frames FROM runs WHERE place >= ?1 AND place < ?2 ORDER BY place")?;
    let from = number << EVENT_BITS;
    let rows = runs.query_map([from, from + (1 << EVENT_BITS)], |row| row.get(0))?;
    let mut frames = Vec::new();
    for row in rows {
        let mut bytes: Vec<u8> = row?;
        for block in blocks(&mut bytes) {
            let block = in_epoch(&block, &epoch);
            frames.extend(Frame::parse(&block).unwrap());
        }
        assert!(bytes.is_empty(), "a run ends in the middle of a frame");
    }
    Ok(Some(frames))
}

/// The calls of the agent with this key, as the model numbered its answers.
pub(crate) fn calls(requests: &[Recorded], key: &str) -> Vec<Call> {
    let own = |call: &&Recorded| call.key == key && call.kind == Kind::Ordinary;
    let own = requests.iter().filter(own).zip(1..);
    own.map(|(call, number)| Call::of(number, call)).collect()
}

/// So many events of a session, as the stream of all has them, and the gaps there. Fewer if there are no more.
pub(crate) fn ordered(address: SocketAddr, id: &str, events: usize) -> Vec<Frame> {
    let path = format!("/events?session_id={id}&include=reasoning&last_event_id=earliest");
    let mut stream = sse::Stream::open(address, "GET", &path, &[], "");
    assert_eq!(stream.status, 200, "{}", stream.head);
    let (mut frames, mut count) = (Vec::new(), 0);
    while count < events {
        // A heartbeat comes when there is nothing more.
        let block = stream.block().unwrap();
        match Frame::parse(&block).unwrap() {
            Some(frame) if frame.kind == "heartbeat" => break,
            Some(frame) if !frame.kind.is_empty() => {
                count += usize::from(frame.kind != "gap");
                frames.push(frame);
            }
            _ => {}
        }
    }
    frames
}

/// A log that got another epoch keeps its frames as they are; its readers are given the new one.
fn in_epoch(block: &[u8], epoch: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(block);
    let at = text.find("\nid: ").unwrap() + "\nid: ".len();
    let mut block = block.to_owned();
    block[at..at + epoch.len()].copy_from_slice(epoch.as_bytes());
    block
}

/// Files under `dir` that hold `needle`. What goes away meanwhile is passed over.
pub(crate) fn holding(dir: &Path, needle: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(kind) = fs::symlink_metadata(&path).map(|metadata| metadata.file_type()) else {
            continue;
        };
        if kind.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
        } else if kind.is_file() {
            let text = fs::read(&path).unwrap_or_default();
            if memchr::memmem::find(&text, needle.as_bytes()).is_some() {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_key_on_disk_is_found_and_a_frame_gets_the_epoch_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("deep")).unwrap();
    fs::write(dir.path().join("deep/file"), b"\0\0 a secret \0").unwrap();
    fs::write(dir.path().join("other"), b"nothing").unwrap();
    assert_eq!(
        holding(dir.path(), "secret"),
        [dir.path().join("deep/file")]
    );
    let patched = in_epoch(b"event: x\nid: aaaaaaaaaa-12\ndata: {}\n\n", "bbbbbbbbbb");
    assert_eq!(patched, b"event: x\nid: bbbbbbbbbb-12\ndata: {}\n\n");
}
