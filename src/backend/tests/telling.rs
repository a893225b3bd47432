//! How ends are told.

use serde_json::json;

use super::*;

#[tokio::test]
async fn an_end_is_told_once_with_the_secret_and_all_there_is_to_say() {
    let fake = Fake::start().await;
    let mut rig = Rig::new(&fake.url());
    rig.complete("good").await;
    let (session, turn_handle) = rig.begin("bad").await;
    assert!(fake.told("bad").is_empty(), "it runs");
    // A driver that fails.
    drop(turn_handle);
    rig.until_all_told().await;
    let (good, bad) = (fake.told("good"), fake.told("bad"));
    assert_eq!((good.len(), bad.len()), (1, 1), "{:?}", fake.calls());
    assert_eq!(good[0].method, "PATCH");
    assert_eq!(good[0].bearer.as_deref(), Some("Bearer first-secret"));
    let last_event_id = good[0].body["last_event_id"].as_str().unwrap();
    assert!(last_event_id.ends_with("-1"), "{last_event_id}");
    assert_eq!(
        good[0].body,
        json!({ "status": "completed", "error": null, "code": null,
            "last_event_id": last_event_id, "turn": 1 })
    );
    assert_eq!(
        bad[0].body,
        json!({ "status": "failed", "error": "something failed in the sidecar; its log says what",
            "code": "internal", "last_event_id": session.log.last_event_id().to_string(), "turn": 1 })
    );
}

#[tokio::test]
async fn whatever_goes_wrong_it_is_told_in_the_end() {
    let fake = Fake::start().await;
    let mut rig = Rig::new(&fake.url());
    let troubles = [
        Reply::Status(500),
        Reply::Status(429),
        Reply::Hang,
        Reply::Status(503),
        Reply::Status(401),
        Reply::Status(408),
        Reply::Text(502, "<html>".into()),
        Reply::Redirect("/elsewhere".into()),
    ];
    let times = troubles.len() + 1;
    fake.script.on_report("a", troubles);
    rig.complete("a").await;
    fake.until_told("a", times).await;
    rig.until_all_told().await;
    assert_eq!(fake.told("a").len(), times);
}

#[tokio::test]
async fn a_backend_that_comes_up_late_hears_it_too() {
    let first = Fake::start().await;
    let (address, url) = (first.address, first.url());
    drop(first);
    let mut rig = Rig::new(&url);
    rig.complete("a").await;
    rig.complete("b").await;
    assert_eq!(rig.registry.unreported(10).await.unwrap().len(), 2);
    let fake = Fake::at(address, Script::default()).await;
    rig.until_all_told().await;
    assert_eq!((fake.told("a").len(), fake.told("b").len()), (1, 1));
}

#[tokio::test]
async fn an_answer_that_is_final_is_not_asked_for_again() {
    let fake = Fake::start().await;
    let mut rig = Rig::new(&fake.url());
    let answers = [400, 404, 405, 409, 410, 422];
    for status in answers {
        let id = status.to_string();
        fake.script.on_report(&id, [Reply::Status(status)]);
        rig.complete(&id).await;
    }
    rig.until_all_told().await;
    for status in answers {
        assert_eq!(fake.told(&status.to_string()).len(), 1, "{status}");
    }
}

#[tokio::test]
async fn what_the_backend_will_not_take_is_given_up_one_day() {
    let fake = Fake::start().await;
    let timing = Timing {
        give_up: Duration::ZERO,
        ..TEST_TIMING
    };
    let mut rig = Rig::with(&fake.url(), 64, timing);
    fake.script.on_report("a", [Reply::Status(500)]);
    rig.complete("a").await;
    rig.until_all_told().await;
    assert_eq!(fake.told("a").len(), 1);
}

#[tokio::test]
async fn sessions_that_hang_hold_no_other() {
    let fake = Fake::start().await;
    let timing = Timing {
        call: TEST_TIMEOUT * 10,
        ..TEST_TIMING
    };
    let mut rig = Rig::with(&fake.url(), 64, timing);
    for id in ["slow-1", "slow-2", "slow-3"] {
        fake.script.on_report(id, [Reply::Hang]);
        rig.complete(id).await;
        fake.until_told(id, 1).await;
    }
    for n in 0..50 {
        rig.complete(&n.to_string()).await;
    }
    for n in 0..50 {
        fake.until_told(&n.to_string(), 1).await;
    }
}

#[tokio::test]
async fn one_that_always_fails_holds_no_other() {
    let fake = Fake::start().await;
    let mut rig = Rig::new(&fake.url());
    fake.script
        .on_report("bad", vec![Reply::Status(500); 10_000]);
    rig.complete("bad").await;
    fake.until_told("bad", 3).await;
    for n in 0..20 {
        rig.complete(&n.to_string()).await;
    }
    for n in 0..20 {
        fake.until_told(&n.to_string(), 1).await;
    }
    let before = fake.told("bad").len();
    fake.until_told("bad", before + 2).await;
}

#[tokio::test]
async fn a_renewed_secret_is_used_from_the_next_call_on() {
    let fake = Fake::start().await;
    let mut rig = Rig::new(&fake.url());
    fake.script.on_report("a", [Reply::Status(401)]);
    *rig.secret.lock() = "second-secret".into();
    rig.complete("a").await;
    fake.until_told("a", 1).await;
    *rig.secret.lock() = "third-secret".into();
    rig.complete("b").await;
    rig.until_all_told().await;
    let shown = |call: &Call| call.bearer.clone().unwrap();
    assert_eq!(shown(&fake.told("a")[0]), "Bearer second-secret");
    assert_eq!(shown(&fake.told("b")[0]), "Bearer third-secret");
}

#[tokio::test]
async fn a_redirect_does_not_get_the_secret() {
    let (fake, thief) = (Fake::start().await, Fake::start().await);
    let elsewhere = || Reply::Redirect(format!("{}elsewhere", thief.url()));
    fake.script.on_list([elsewhere()]);
    fake.script.on_report("a", [elsewhere()]);
    let mut rig = Rig::new(&fake.url());
    rig.complete("a").await;
    rig.until_all_told().await;
    let listed = |calls: &Vec<Call>| calls.iter().filter(|call| call.path == LIST).count() == 2;
    fake.until("asked again", listed).await;
    assert_eq!(fake.told("a").len(), 2);
    assert!(thief.calls().is_empty(), "{:?}", thief.calls());
}

#[tokio::test]
async fn a_session_that_goes_on_is_not_told_of_as_ended() {
    let fake = Fake::start().await;
    let mut rig = Rig::with(&fake.url(), 64, patient());
    fake.script.on_report("a", [Reply::Status(500)]);
    let (session, turn_handle) = rig.begin("a").await;
    complete(&rig.registry, &turn_handle);
    fake.until_told("a", 1).await;
    // Another turn begins before the next attempt.
    session.update(|status| {
        status.state = event::State::Running;
        status.turn = 2;
    });
    rig.handle.report_the_rest(Duration::MAX).await;
    assert!(rig.handle.done.is_cancelled());
    assert_eq!(fake.told("a").len(), 1);
}

#[tokio::test]
async fn the_end_of_each_turn_is_told_in_order_also_when_the_next_one_began_at_once() {
    let fake = Fake::start().await;
    let mut rig = Rig::new(&fake.url());
    fake.script.on_report("a", [Reply::Status(500)]);
    let (session, first) = rig.begin("a").await;
    for _ in 0..2 {
        let sent = rig.registry.prompt(&session, request("a"), OnBusy::Queue);
        sent.await.unwrap();
    }
    complete(&rig.registry, &first);
    for _ in 2..=3 {
        let turn_handle = rig.turn().await.turn_handle;
        turn_handle.accept("ses_1", None);
        complete(&rig.registry, &turn_handle);
    }
    rig.until_all_told().await;
    let told = fake.told("a");
    let turns: Vec<u64> = told
        .iter()
        .map(|call| call.body["turn"].as_u64().unwrap())
        .collect();
    assert_eq!(turns, [1, 1, 2, 3]);
    assert!(told.iter().all(|call| call.body["status"] == "completed"));
    let ids: Vec<&Value> = told
        .iter()
        .map(|call| &call.body["last_event_id"])
        .collect();
    assert!(ids[0] == ids[1] && ids[1] != ids[2] && ids[2] != ids[3]);
}

#[tokio::test]
async fn ends_of_several_turns_of_a_session_are_told_at_the_exit() {
    let fake = Fake::start().await;
    let mut rig = Rig::with(&fake.url(), 64, patient());
    fake.script.on_report("a", [Reply::Status(500)]);
    let (session, first) = rig.begin("a").await;
    let sent = rig.registry.prompt(&session, request("a"), OnBusy::Queue);
    sent.await.unwrap();
    complete(&rig.registry, &first);
    fake.until_told("a", 1).await;
    let second = rig.turn().await.turn_handle;
    second.accept("ses_1", None);
    complete(&rig.registry, &second);
    // The answer about the first has arrived by then.
    rig.complete("b").await;
    fake.until_told("b", 1).await;
    rig.shutdown.drain.cancel();
    rig.handle.report_the_rest(Duration::MAX).await;
    let told = fake.told("a");
    let last: Vec<&Value> = told.iter().map(|call| &call.body["turn"]).collect();
    assert_eq!(last, [1, 1, 2]);
}

/// The second attempt comes in an hour.
fn patient() -> Timing {
    let hour = Duration::from_hours(1);
    Timing {
        retry: Limits {
            min: hour,
            max: hour,
            ..TEST_TIMING.retry
        },
        ..TEST_TIMING
    }
}

#[tokio::test]
async fn at_the_end_everything_gets_one_more_attempt_at_once() {
    let fake = Fake::start().await;
    let mut rig = Rig::with(&fake.url(), 64, patient());
    fake.script.on_report("a", [Reply::Status(500)]);
    fake.script.on_report("b", [Reply::Status(500)]);
    for id in ["a", "b"] {
        rig.complete(id).await;
        fake.until_told(id, 1).await;
    }
    rig.complete("c").await;
    rig.shutdown.drain.cancel();
    rig.handle.report_the_rest(Duration::MAX).await;
    assert!(rig.handle.done.is_cancelled());
    assert!(rig.registry.unreported(10).await.unwrap().is_empty());
    for (id, times) in [("a", 2), ("b", 2), ("c", 1)] {
        assert_eq!(fake.told(id).len(), times, "{id}");
    }
}

#[tokio::test]
async fn a_backend_that_fails_at_the_end_is_left_alone() {
    let fake = Fake::start().await;
    let mut rig = Rig::new(&fake.url());
    for n in 0..10 {
        let id = n.to_string();
        fake.script.on_report(&id, vec![Reply::Status(500); 10_000]);
        rig.complete(&id).await;
    }
    fake.until("down", |calls| {
        calls.iter().filter(|call| call.method == "PATCH").count() > 4
    })
    .await;
    rig.handle.report_the_rest(Duration::MAX).await;
    assert!(rig.handle.done.is_cancelled(), "it does not wait in vain");
    // All of it is told after the next start.
    assert_eq!(rig.registry.unreported(100).await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_backend_that_hangs_does_not_hold_up_the_end() {
    let fake = Fake::start().await;
    let timing = Timing {
        call: TEST_TIMEOUT * 10,
        ..TEST_TIMING
    };
    let mut rig = Rig::with(&fake.url(), 64, timing);
    fake.script.on_report("a", [Reply::Hang]);
    rig.complete("a").await;
    let leaving = tokio::time::timeout(TEST_TIMEOUT, rig.handle.report_the_rest(Duration::MAX));
    assert!(leaving.await.is_ok());
    assert!(!rig.handle.done.is_cancelled());
}
