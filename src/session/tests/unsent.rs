//! Going on with a turn whose prompt the agent may never have had.

use super::journal::{Life, complete};
use super::prompts::{begin, send};
use super::*;
use crate::clock::Timestamp;
use crate::event::{Body, Event, Failure, FailureCode, State};
use crate::session::{Acceptance, Reverted, Unsent};

fn resume() -> Request {
    Request {
        prompt: Prompt::default(),
        ..request("a")
    }
}

/// What the agent may not have of the last turn of session `a`, as its next turn begins. That is refused then.
async fn unsent(life: &mut Life, request: Request) -> Option<Unsent> {
    let session = life.find("a").await;
    let resuming = begin(life, &session, request);
    let mut turn_handle = life.take().await.turn_handle;
    let unsent = turn_handle.beginning().unsent().cloned();
    turn_handle.refuse(CreateError::EngineUnavailable("engine starting".into()));
    assert!(resuming.await.unwrap().is_err());
    unsent
}

/// The end that a driver gives to a turn which was interrupted.
async fn interrupt(turn_handle: TurnHandle) {
    let session = turn_handle.session.clone();
    let before = session.log.last_appended();
    let failure = Failure::fatal(FailureCode::Interrupted, "interrupted", true);
    turn_handle.publish(
        &Event::new(Timestamp::now(), Body::Error(failure)),
        |status| {
            status.state = State::Failed;
            status.completed_at = Some(Timestamp::now());
            status.ended = Some(std::time::Instant::now());
        },
    );
    session.log.shown_past(before).await;
}

#[tokio::test]
async fn the_words_of_a_turn_that_was_interrupted_are_kept_until_it_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, first) = life.create(request("a")).await;
    complete(first).await;
    let running = begin(&life, &session, with_key("a", "k", 1));
    let mut second = life.take().await.turn_handle;
    let words = Prompt::text("second words");
    let asked = (&words, Some("system words"));
    second.beginning().record(Some("msg_9"), asked).await;
    life.end().await;
    drop((session, second, running));

    let mut life = Life::begin(&dir).await;
    interrupt(life.take().await.turn_handle).await;
    let again = send(&life, with_key("a", "k", 1)).await.unwrap();
    assert_eq!(again.turn, 2, "its key is known");
    for _ in 0..2 {
        let found = unsent(&mut life, resume()).await.unwrap();
        assert_eq!(found.prompt, words);
        assert_eq!(found.system_prompt.as_deref(), Some("system words"));
        let before = found.handed_over.unwrap().before;
        assert_eq!(before.as_deref(), Some("msg_9"));
    }
    assert!(unsent(&mut life, request("a")).await.is_none());
    life.end().await;

    // Another restart changes nothing, and an end that is no interruption is the end of the words.
    let mut life = Life::begin(&dir).await;
    assert!(unsent(&mut life, resume()).await.is_some());
    let session = life.find("a").await;
    let resuming = begin(&life, &session, resume());
    let mut third = life.take().await.turn_handle;
    third
        .beginning()
        .record(Some("msg_9"), (&words, None))
        .await;
    third.accept("ses_1", Some("msg_9".into()));
    resuming.await.unwrap().unwrap();
    complete(third).await;
    assert!(unsent(&mut life, resume()).await.is_none());
    life.end().await;
    drop(session);
    let mut life = Life::begin(&dir).await;
    assert!(unsent(&mut life, resume()).await.is_none());
    life.end().await;
}

#[tokio::test]
async fn a_prompt_that_waited_and_could_not_begin_was_certainly_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, first) = life.create(request("a")).await;
    send(&life, request("a")).await.unwrap();
    complete(first).await;
    let second = life.take().await.turn_handle;
    second.refuse(CreateError::EngineUnavailable("engine starting".into()));
    assert_eq!((session.status().turn, session.is_final()), (2, true));
    session.log.written().await;
    let found = unsent(&mut life, resume()).await.unwrap();
    assert!(found.handed_over.is_none());
    assert_eq!(found.prompt, request("a").prompt);
    life.end().await;
}

#[tokio::test]
async fn the_words_of_a_first_turn_are_those_that_the_session_was_created_with() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, first) = life.create(request("a")).await;
    life.end().await;
    drop((session, first));
    let mut life = Life::begin(&dir).await;
    interrupt(life.take().await.turn_handle).await;
    let found = unsent(&mut life, resume()).await.unwrap();
    assert_eq!(found.prompt, request("a").prompt);
    assert_eq!(found.handed_over.unwrap().before, None);
    life.end().await;
}

/// A life in which a prompt with key `k` was being given to turn 1 as message `msg_7` when the one before ended, with what is
/// to be looked up.
async fn interrupted_steer(dir: &tempfile::TempDir) -> (Life, Turn) {
    let mut life = Life::begin(dir).await;
    let (session, mut first) = life.create(request("a")).await;
    let steering = {
        let (registry, session) = (life.registry.clone(), session.clone());
        let prompt = with_key("a", "k", 1);
        TaskTracker::new()
            .spawn(async move { registry.prompt(&session, prompt, OnBusy::Steer).await })
    };
    let Some(Command::Steer(steer)) = first.command().await else {
        panic!("a prompt for the running turn");
    };
    session.record_steer(&steer.record, "msg_7").await;
    life.end().await;
    drop((session, first, steer, steering));
    let mut life = Life::begin(dir).await;
    let turn = life.take().await;
    (life, turn)
}

#[tokio::test]
async fn a_prompt_that_the_agent_was_being_given_is_not_run_twice_and_not_forgotten() {
    for has_it in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (mut life, turn) = interrupted_steer(&dir).await;
        let TurnKind::Recover(interrupted) = turn.kind else {
            panic!("{:?}", turn.kind);
        };
        let [steer] = &*interrupted.steers else {
            panic!("{:?}", interrupted.steers);
        };
        assert_eq!(steer.message_id, "msg_7");
        let early = send(&life, with_key("a", "k", 1)).await.unwrap_err();
        assert_eq!(early, CreateError::SteerLookedUp);
        let session = life.find("a").await;
        if has_it {
            session.note_steer(steer.record.clone());
        } else {
            session.forget_steer(&steer.record);
        }
        interrupt(turn.turn_handle).await;
        let again = begin(&life, &session, with_key("a", "k", 1));
        if has_it {
            let again = again.await.unwrap().unwrap();
            assert_eq!((again.turn, again.acceptance), (1, Acceptance::Steered));
            let other = send(&life, with_key("a", "k", 2)).await.unwrap_err();
            assert_eq!(other, CreateError::KeyReused);
        } else {
            let turn_handle = life.take().await.turn_handle;
            turn_handle.accept("ses_1", None);
            assert_eq!(again.await.unwrap().unwrap().turn, 2, "a turn of its own");
        }
        life.end().await;
    }
}

#[tokio::test]
async fn what_is_undone_is_so_until_the_agent_has_the_next_prompt() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, first) = life.create(request("a")).await;
    complete(first).await;
    let undone = Reverted {
        turn: Some(1),
        message_id: "msg_1".into(),
    };
    // Under way when the prompt comes, and done when it is refused.
    let refused = begin(&life, &session, request("a"));
    let turn_handle = life.take().await.turn_handle;
    session.update(|status| status.reverted = Some(undone.clone()));
    turn_handle.refuse(CreateError::EngineUnavailable("engine starting".into()));
    assert!(refused.await.unwrap().is_err());
    assert_eq!(session.status().reverted, Some(undone.clone()));

    let begun = begin(&life, &session, request("a"));
    let mut turn_handle = life.take().await.turn_handle;
    assert_eq!(session.status().reverted, Some(undone));
    let prompt = Prompt::text("more");
    turn_handle
        .beginning()
        .record(Some("msg_1"), (&prompt, None))
        .await;
    let kept = session.row_as_begun().details;
    assert!(kept.contains("\"reverted\":null"), "{kept}");
    turn_handle.accept("ses_1", Some("msg_1".into()));
    begun.await.unwrap().unwrap();
    assert_eq!(session.status().reverted, None, "it is final");
    complete(turn_handle).await;
    life.end().await;
}

#[tokio::test]
async fn a_turn_that_was_not_handed_over_is_known_as_such_though_its_session_was_written() {
    for handed_over in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut life = Life::begin(&dir).await;
        let (session, first) = life.create(request("a")).await;
        complete(first).await;
        let second = begin(&life, &session, request("a"));
        let mut turn_handle = life.take().await.turn_handle;
        if handed_over {
            let prompt = Prompt::text("more");
            let asked = (&prompt, None);
            turn_handle.beginning().record(Some("msg_1"), asked).await;
        }
        // One that waits behind it is noted, and the session with it.
        send(&life, request("a")).await.unwrap();
        life.end().await;
        drop((session, turn_handle, second));
        let mut life = Life::begin(&dir).await;
        let TurnKind::Recover(interrupted) = life.take().await.kind else {
            panic!("the second turn is interrupted");
        };
        assert_eq!(interrupted.begun, handed_over);
        life.end().await;
    }
}
