//! The journal from outside: what is given to it is read back, whatever happens in between.

mod support;

use self::support::{Fake, Setup};
use super::*;

#[test]
fn a_machine_has_a_boot_id() {
    assert_eq!(boot_id().len(), 36);
    assert_eq!(boot_id(), boot_id());
}

#[tokio::test]
async fn what_was_written_is_read_back_and_found_after_a_restart() {
    let setup = Setup::new();
    let (journal, opened) = setup.open().await;
    assert_eq!((opened.unfinished.len(), opened.last_number), (0, 0));
    let one = Fake::begun(&journal, 1).await;
    let two = Fake::begun(&journal, 2).await;
    for count in 1..=20 {
        one.say(&journal, count, count % 3 == 0);
        two.say(&journal, 1, false);
        two.note(&journal, "part", count);
    }
    one.end(&journal, 5);
    one.until_written().await;
    two.until_written().await;
    for hidden in [false, true] {
        assert_eq!(
            journal.read(1, 0, 211, hidden).await,
            one.expected(0, 211, hidden)
        );
    }
    let stored = journal.session("id-1").await.unwrap().unwrap();
    assert_eq!((stored.oldest, stored.last), (1, 211));
    assert_eq!(stored.row, one.look(|state| state.row.clone()));
    journal.close().await;
    drop(journal);

    let (journal, opened) = setup.open_on("another").await;
    assert_eq!(opened.last_number, 2);
    let (stored, notes) = &opened.unfinished[0];
    assert_eq!(stored.row, two.look(|state| state.row.clone()));
    assert_eq!((stored.oldest, stored.last), (1, 20));
    assert_eq!(notes, &[("part".to_owned(), 20)]);
    assert_eq!(opened.unfinished.len(), 1);
    assert_eq!(
        journal.read(1, 0, 211, false).await,
        one.expected(0, 211, false)
    );
}
