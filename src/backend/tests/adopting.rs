//! What is done about sessions that the backend has as active.

use serde_json::json;

use super::*;
use crate::session::{Found, TurnKind};

fn list(sessions: &Value) -> Reply {
    Reply::Text(200, json!({ "sessions": sessions }).to_string())
}

async fn here(registry: &Registry, id: &str) -> Option<Arc<Session>> {
    match registry.find(id).await.unwrap() {
        Found::Here(session) => Some(session),
        Found::Gone | Found::Unknown => None,
    }
}

#[tokio::test]
async fn a_session_that_the_agent_may_have_goes_to_the_driver() {
    let fake = Fake::start().await;
    fake.script.on_list([list(&json!([{
        "id": "stray", "task_id": "t", "status": "running", "prompt": "p", "remote_session_id": "ses_9",
        "last_event_id": "abcdefghij-7", "created_at": "2026-01-02T03:04:05.678901+02:00" }]))]);
    let mut rig = Rig::new(&fake.url());
    let turn = rig.turn().await;
    let TurnKind::Recover(interrupted) = turn.kind else {
        panic!("{:?}", turn.kind);
    };
    assert_eq!(interrupted.remote_id, "ses_9");
    assert!(interrupted.notes.is_empty() && interrupted.before.is_none());
    let session = here(&rig.registry, "stray").await.unwrap();
    assert_eq!(session.created_at.to_string(), "2026-01-02T01:04:05.678Z");
    let status = session.status();
    assert_eq!(status.state, event::State::Running);
    assert_eq!(status.remote_id.as_deref(), Some("ses_9"));
    assert_eq!(session.log.last_event_id().seq, 0);
    complete(&rig.registry, &turn.turn_handle);
    fake.until_told("stray", 1).await;
    assert_eq!(fake.told("stray")[0].body["status"], "completed");
}

/// The list has the sessions of every pod.
#[tokio::test]
async fn what_neither_the_journal_nor_the_agent_knows_is_left_alone() {
    let fake = Fake::start().await;
    let mut rig = Rig::with("http://127.0.0.1:1/", 64, TEST_TIMING);
    // The agent has this conversation, but made it for another session.
    rig.agent.has("ses_1", "one");
    fake.script.on_list([list(&json!([
        { "id": "elsewhere", "remote_session_id": "ses_8" },
        { "id": "on-its-way" },
        { "id": "also-on-its-way", "remote_session_id": null },
        { "id": "twin", "remote_session_id": "ses_1" },
        { "id": "stray", "remote_session_id": "ses_9" },
    ]))]);
    rig.handle = spawn_room(&rig, &fake);
    // The last of the list: the others have been looked at.
    let turn = rig.turn().await;
    assert_eq!(turn.turn_handle.session.id, "stray");
    complete(&rig.registry, &turn.turn_handle);
    fake.until_told("stray", 1).await;
    for id in ["elsewhere", "on-its-way", "also-on-its-way", "twin"] {
        assert!(here(&rig.registry, id).await.is_none(), "{id}");
        assert!(fake.told(id).is_empty(), "{id}");
    }
    assert!(rig.receivers.turns_rx.try_recv().is_err());
    // Nothing is left over, so the list is not asked for again.
    let calls = fake.calls();
    assert_eq!(calls.iter().filter(|call| call.path == LIST).count(), 1);
}

#[tokio::test]
async fn an_agent_that_cannot_be_asked_is_asked_again() {
    let fake = Fake::start().await;
    let mut rig = Rig::with("http://127.0.0.1:1/", 64, TEST_TIMING);
    rig.agent.cannot_be_asked_about("ses_7");
    let entry = json!([{ "id": "later", "remote_session_id": "ses_7" }]);
    fake.script.on_list(vec![list(&entry); 10_000]);
    rig.handle = spawn_room(&rig, &fake);
    let listed = |calls: &Vec<Call>| calls.iter().filter(|call| call.path == LIST).count() > 2;
    fake.until("asked again", listed).await;
    assert!(here(&rig.registry, "later").await.is_none());
    rig.agent.has("ses_7", "later");
    assert_eq!(rig.turn().await.turn_handle.session.id, "later");
}

#[tokio::test]
async fn one_that_ended_here_is_told_of_again_and_one_that_runs_is_left_alone() {
    let fake = Fake::start().await;
    // The list is not given before both are there.
    fake.script.on_list([Reply::Hang]);
    let mut rig = Rig::new(&fake.url());
    fake.until("asked", |calls| !calls.is_empty()).await;
    rig.complete("ended").await;
    let (running, _seat) = rig.begin("running").await;
    rig.until_all_told().await;
    assert_eq!(fake.told("ended").len(), 1);
    fake.script.on_list([list(&json!([
        { "id": "ended", "remote_session_id": "ses_1" },
        { "id": "running", "remote_session_id": "ses_1" },
    ]))]);
    fake.until_told("ended", 2).await;
    rig.until_all_told().await;
    assert_eq!(fake.told("ended").len(), 2);
    assert_eq!(running.status().state, event::State::Running);
    assert!(rig.receivers.turns_rx.try_recv().is_err());
}

#[tokio::test]
async fn a_list_that_is_none_is_asked_for_again() {
    let fake = Fake::start().await;
    fake.script.on_list([
        Reply::Text(200, "<html>".into()),
        Reply::Text(200, r#"{"sessions":"many"}"#.into()),
        Reply::Status(404),
        Reply::Status(500),
        Reply::Drip,
        Reply::Hang,
        Reply::Text(200, " ".repeat(17 << 20)),
        list(&json!([{ "id": "../../etc" }, 7, { "id": "stray", "remote_session_id": "ses_9" }])),
    ]);
    let mut rig = Rig::new(&fake.url());
    // Nothing waits for any of that.
    rig.complete("meanwhile").await;
    let turn = rig.turn().await;
    assert_eq!(turn.turn_handle.session.id, "stray");
    rig.until_all_told().await;
    let asked = fake.calls();
    assert_eq!(asked.iter().filter(|call| call.path == LIST).count(), 8);
    assert!(
        asked
            .iter()
            .all(|call| call.bearer.as_deref() == Some("Bearer first-secret"))
    );
}

#[tokio::test]
async fn an_adoption_takes_no_place_from_a_session_that_runs() {
    let fake = Fake::start().await;
    let stray = list(&json!([{ "id": "stray", "remote_session_id": "ses_9" }]));
    fake.script.on_list(vec![stray; 10_000]);
    let mut rig = Rig::with("http://127.0.0.1:1/", 1, TEST_TIMING);
    let (_, turn_handle) = rig.begin("first").await;
    rig.handle = spawn_room(&rig, &fake);
    let listed = |calls: &Vec<Call>| calls.iter().filter(|call| call.path == LIST).count() > 2;
    fake.until("asked again", listed).await;
    assert!(here(&rig.registry, "stray").await.is_none());
    drop(turn_handle);
    let turn = rig.turn().await;
    assert_eq!(turn.turn_handle.session.id, "stray");
}

fn spawn_room(rig: &Rig, fake: &Fake) -> Handle {
    let config = Config {
        url: Url::parse(&fake.url()).unwrap(),
        extra_ca_file: None,
    };
    let tracker = TaskTracker::new();
    let bearer = Arc::new(|| None);
    let registry = rig.registry.clone();
    let client = Client::new(&config, bearer, Finder::new(), TEST_TIMING).unwrap();
    let conversations = rig.agent.conversations();
    spawn_with(
        TEST_TIMING,
        client,
        &registry,
        conversations,
        &rig.shutdown,
        &tracker,
    )
}

#[tokio::test]
async fn nothing_is_adopted_while_leaving() {
    let fake = Fake::start().await;
    let stray = list(&json!([{ "id": "stray", "remote_session_id": "ses_9" }]));
    fake.script.on_list([Reply::Hang, stray]);
    let rig = Rig::new(&fake.url());
    fake.until("asked", |calls| !calls.is_empty()).await;
    rig.shutdown.drain.cancel();
    rig.handle.report_the_rest(Duration::MAX).await;
    assert!(here(&rig.registry, "stray").await.is_none());
    let adoption = rig.registry.adopt(session::OrphanSession {
        id: "stray".into(),
        created_at: None,
        remote_id: "ses_9".into(),
    });
    assert!(matches!(adoption, session::Adoption::Closed));
}
