//! The journal from outside: what is given to it is read back, whatever happens in between.

mod crash;
mod desk;
mod reading;
mod retention;
mod support;
mod trouble;
mod writing;

use self::support::{Fake, Setup};
use super::*;

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
