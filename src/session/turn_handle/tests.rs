use tokio_util::task::TaskTracker;

use super::super::tests::{request, small};
use super::*;

#[tokio::test]
async fn a_driver_that_fails_ends_its_turn() {
    let (registry, mut turns_rx) = small();
    let creating = TaskTracker::new().spawn({
        let registry = registry.clone();
        async move { registry.create(request("s1")).await }
    });
    let turn_handle = turns_rx.recv().await.unwrap().turn_handle;
    turn_handle.accept("ses_1", None);
    let (session, _) = creating.await.unwrap().unwrap();
    drop(turn_handle);
    let status = session.status();
    assert_eq!(status.state, State::Failed);
    assert_eq!(status.problem.as_ref().unwrap().code, "internal");
    assert_eq!(
        session.log.last_event_id().seq,
        1,
        "and its stream has the end"
    );
    registry.idle().await;
}
