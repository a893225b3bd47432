//! The journal from outside: what is given to it is read back, whatever happens in between.

mod crash;
mod forged;
mod ordering;
mod pending;
mod reading;
mod retention;
mod support;
mod trouble;
mod writing;

use self::support::{Fake, Setup};
use super::*;

/// `.cargo/config.toml` leaves parts of it out.
#[tokio::test]
async fn sqlite_has_only_what_is_asked_of_it() {
    let (journal, _) = Setup::new().open().await;
    let options = |conn: &Connection| {
        let mut options = conn.prepare("PRAGMA compile_options").unwrap();
        let options = options
            .query_map([], |row| row.get::<_, String>(0))
            .unwrap();
        options.map(Result::unwrap).collect::<Vec<_>>()
    };
    let options = journal.probe(options).await;
    assert!(
        options.contains(&"OMIT_LOAD_EXTENSION".to_owned()),
        "{options:?}"
    );
    for left_out in ["FTS", "RTREE", "STAT4", "MEMORY_MANAGEMENT"] {
        let is_there = options.iter().any(|option| option.contains(left_out));
        assert!(!is_there, "{left_out} in {options:?}");
    }
}

#[tokio::test]
async fn it_starts_as_the_program_starts_it() {
    assert_eq!(boot_id().len(), 36);
    let setup = Setup::new();
    let mut epochs = Vec::new();
    for _ in 0..2 {
        let journal = Journal::start(setup.config.clone(), boot_id()).unwrap();
        journal.opened().await;
        if epochs.is_empty() {
            Fake::begun(&journal, 1).await;
        }
        let stored = journal.session("id-1").await.unwrap().unwrap();
        epochs.push(stored.row.epoch);
    }
    assert_eq!(epochs[0], epochs[1], "one machine has one boot id");
}
