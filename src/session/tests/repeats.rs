//! Prompts that a client sends again under the same key, and what becomes of those that are held.

use super::journal::{Life, complete};
use super::prompts::{begin, holding, send};
use super::*;
use crate::session::Acceptance;

fn keyless() -> Request {
    Request {
        model: ModelChange::Nothing,
        ..request("a")
    }
}

/// A prompt of session `a` under this key, with a model of its own.
fn keyed(key: &str) -> Request {
    with_key("a", key, 1)
}

#[tokio::test]
async fn a_held_prompt_that_comes_again_with_its_key_and_a_model_begins_and_its_stream_is_that_of_its_turn()
 {
    let dir = tempfile::tempdir().unwrap();
    let (mut life, session) = holding(&dir).await;
    // As the first time, but with the key of a provider.
    let again = send(&life, keyed("k")).await.unwrap();
    assert_eq!((again.turn, again.acceptance), (2, Acceptance::Queued));
    let second = life.take().await.turn_handle;
    second.accept("ses_1", None);
    assert_eq!(session.status().turn, 2);
    assert_eq!(again.span.last(), None);
    complete(second).await;
    assert!(again.span.last().is_some(), "its stream ends with its turn");
    assert!(session.queued().is_empty());
    life.end().await;
}

#[tokio::test]
async fn a_prompt_whose_turn_did_not_begin_is_not_taken_for_accepted_when_it_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, first) = life.create(request("a")).await;
    complete(first).await;
    for _ in 0..5 {
        let refused = begin(&life, &session, keyed("again"));
        let mut turn = life.take().await.turn_handle;
        let prompt = Prompt::text("hello");
        turn.beginning()
            .record(Some("msg_1"), (&prompt, None))
            .await;
        turn.refuse(CreateError::EngineUnavailable("engine starting".into()));
        assert!(refused.await.unwrap().is_err());
    }
    life.end().await;
}

#[tokio::test]
async fn a_prompt_that_was_withdrawn_says_so_when_it_comes_again_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, first) = life.create(request("a")).await;
    send(&life, keyed("gone")).await.unwrap();
    assert!(life.registry.withdraw(&session, 2).await);
    let again = send(&life, keyed("gone")).await.unwrap_err();
    assert_eq!(again, CreateError::Withdrawn);
    complete(first).await;
    life.end().await;
    drop(session);
    let life = Life::begin(&dir).await;
    let again = send(&life, keyed("gone")).await.unwrap_err();
    assert_eq!(again, CreateError::Withdrawn);
    life.end().await;
}

#[tokio::test]
async fn eight_that_are_held_begin_with_the_prompt_that_brings_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, first) = life.create(request("a")).await;
    for _ in 0..8 {
        send(&life, keyless()).await.unwrap();
    }
    life.end().await;
    drop((session, first));
    let mut life = Life::begin(&dir).await;
    complete(life.take().await.turn_handle).await;
    let last = send(&life, request("a")).await.unwrap();
    assert_eq!((last.turn, last.acceptance), (10, Acceptance::Queued));
    let second = life.take().await.turn_handle;
    second.accept("ses_1", None);
    let session = life.find("a").await;
    assert_eq!((session.status().turn, session.queued().len()), (2, 8));
    let full = send(&life, keyless()).await.unwrap_err();
    assert_eq!(full, CreateError::QueueFull(8));
    drop(second);
    life.end().await;
}

#[tokio::test]
async fn a_prompt_that_comes_to_be_held_is_told_of_and_the_end_before_it_keeps_its_event() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, first) = life.create(request("a")).await;
    complete(first).await;
    let end = session.log.last_event_id().to_string();
    life.registry.stop(&session).await;
    let refused = begin(&life, &session, request("a"));
    let turn = life.take().await.turn_handle;
    send(&life, keyless()).await.unwrap();
    let before = session.log.last_appended();
    turn.refuse(CreateError::EngineUnavailable("engine starting".into()));
    assert!(refused.await.unwrap().is_err());
    assert!(session.queued()[0].held);
    assert_eq!(session.log.last_appended(), before + 1, "it is told of");

    send(&life, request("a")).await.unwrap();
    let held = life.take().await.turn_handle;
    held.accept("ses_1", None);
    let reports = life.registry.unreported(9).await.unwrap();
    assert_eq!((reports[0].turn, &reports[0].last_event_id), (1, &end));
    drop(held);
    life.end().await;
}
