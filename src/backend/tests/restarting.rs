//! Ends that outlive the sidecar that saw them.

use super::*;
use crate::journal;

/// The module in one life of a sidecar on a data directory.
async fn live(dir: &tempfile::TempDir, url: &str) -> (Rig, Journal) {
    let config = journal::Config {
        dir: dir.path().join("journal"),
        max_bytes: 64 << 20,
        retention: Duration::from_hours(1),
    };
    let journal = Journal::start(config, "boot".into()).unwrap();
    let rig = Rig::on(url, 64, TEST_TIMING, Some(journal.clone()));
    rig.registry.load().await;
    (rig, journal)
}

#[tokio::test]
async fn what_could_not_be_told_is_told_in_the_next_life_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::start().await;
    let (address, url) = (fake.address, fake.url());
    drop(fake);
    let (mut first, disk) = live(&dir, &url).await;
    first.complete("a").await;
    let (session, turn_handle) = first.begin("b").await;
    drop(turn_handle);
    session.log.end_shown().await;
    let last = session.log.last_event_id().to_string();
    first.handle.report_the_rest(Duration::MAX).await;
    assert_eq!(first.registry.unreported(10).await.unwrap().len(), 2);
    disk.close().await;
    drop((first, session, disk));

    let fake = Fake::at(address, Script::default()).await;
    let (second, disk) = live(&dir, &url).await;
    second.until_all_told().await;
    assert_eq!((fake.told("a").len(), fake.told("b").len()), (1, 1));
    let told = fake.told("b")[0].body.clone();
    assert_eq!(told["last_event_id"], last);
    assert_eq!(told["code"], "internal");
    second.handle.report_the_rest(Duration::MAX).await;
    disk.close().await;
    drop((second, disk));

    let (mut third, disk) = live(&dir, &url).await;
    third.complete("c").await;
    third.until_all_told().await;
    assert_eq!((fake.told("a").len(), fake.told("b").len()), (1, 1));
    assert_eq!(fake.told("c").len(), 1);
    disk.close().await;
}

#[tokio::test]
async fn an_adopted_session_is_on_disk_and_ends_though_its_adopter_dies() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::start().await;
    let stray = r#"{"sessions":[{"id":"stray","remote_session_id":"ses_9"}]}"#;
    fake.script.on_list([Reply::Text(200, stray.into())]);
    let (mut first, disk) = live(&dir, &fake.url()).await;
    let turn = first.turn().await;
    disk.close().await;
    // As after a SIGKILL: what the turn handle says now is not written any more.
    drop((turn, first, disk));

    let (mut second, disk) = live(&dir, &fake.url()).await;
    let turn = second.turn().await;
    assert_eq!(turn.turn_handle.session.id, "stray");
    assert_eq!(
        turn.turn_handle.session.status().remote_id.as_deref(),
        Some("ses_9")
    );
    complete(&second.registry, &turn.turn_handle);
    second.until_all_told().await;
    assert_eq!(fake.told("stray").len(), 1);
    disk.close().await;
}
