//! Prompts that wait, over the lives of a sidecar.

use super::journal::{Life, complete};
use super::*;
use crate::session::{Acceptance, Accepted};

/// A prompt of session `a` under key `k`, whose model is that of the turn before.
fn prompt(digest: u8) -> Request {
    Request {
        model: ModelChange::Nothing,
        ..with_key("a", "k", digest)
    }
}

pub(super) async fn send(life: &Life, request: Request) -> Result<Accepted, CreateError> {
    let session = life.find("a").await;
    life.registry.prompt(&session, request, OnBusy::Queue).await
}

async fn assert_known(life: &Life, acceptance: Acceptance) {
    let again = send(life, prompt(1)).await.unwrap();
    assert_eq!((again.turn, again.acceptance), (2, acceptance));
    let another = send(life, prompt(2)).await.unwrap_err();
    assert_eq!(another, CreateError::KeyReused);
}

#[tokio::test]
async fn a_prompt_that_waited_is_held_after_a_restart_and_runs_once_before_the_one_that_brings_a_key()
 {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(&dir).await;
    let (session, first) = life.create(request("a")).await;
    assert_eq!(
        send(&life, prompt(1)).await.unwrap().acceptance,
        Acceptance::Queued
    );
    assert_known(&life, Acceptance::Queued).await;
    assert_eq!(session.queued().len(), 1);
    life.end().await;
    drop((session, first));

    let mut life = Life::begin(&dir).await;
    let recovered = life.take().await;
    assert!(matches!(recovered.kind, TurnKind::Recover(_)));
    let session = life.find("a").await;
    let waiting = session.queued();
    assert_eq!(
        (waiting.len(), waiting[0].turn, waiting[0].held),
        (1, 2, true)
    );
    assert_known(&life, Acceptance::Queued).await;
    complete(recovered.turn_handle).await;
    assert!(session.is_final(), "what is held does not begin");
    let keyless = Request {
        idempotency: None,
        ..prompt(1)
    };
    assert_eq!(
        send(&life, keyless).await.unwrap_err(),
        CreateError::CredentialsRequired
    );

    let third = send(&life, request("a")).await.unwrap();
    assert_eq!((third.turn, third.acceptance), (3, Acceptance::Queued));
    let mut second = life.take().await.turn_handle;
    second
        .beginning()
        .record(None, (&"hello".into(), None))
        .await;
    second.accept("ses_1", None);
    assert_eq!(session.status().turn, 2, "in order");
    assert_known(&life, Acceptance::Running).await;
    life.end().await;
    drop((session, second));

    let mut life = Life::begin(&dir).await;
    let recovered = life.take().await;
    assert!(matches!(recovered.kind, TurnKind::Recover(_)));
    let waiting = life.find("a").await.queued();
    assert_eq!(waiting.len(), 1, "one that has begun waits no more");
    assert_eq!((waiting[0].turn, waiting[0].held), (3, true));
    assert_known(&life, Acceptance::Running).await;
    complete(recovered.turn_handle).await;
    life.end().await;
}

/// A life of the sidecar in which turn 2 of session `a` is held.
pub(super) async fn holding(dir: &tempfile::TempDir) -> (Life, Arc<Session>) {
    let mut life = Life::begin(dir).await;
    let (session, first) = life.create(request("a")).await;
    send(&life, prompt(1)).await.unwrap();
    life.end().await;
    drop((session, first));
    let mut life = Life::begin(dir).await;
    let recovered = life.take().await;
    complete(recovered.turn_handle).await;
    let session = life.find("a").await;
    assert!(session.queued()[0].held);
    (life, session)
}

/// What is asked for, under way.
pub(super) fn begin(
    life: &Life,
    session: &Arc<Session>,
    request: Request,
) -> tokio::task::JoinHandle<Result<Accepted, CreateError>> {
    let (registry, session) = (life.registry.clone(), Arc::clone(session));
    TaskTracker::new().spawn(async move { registry.prompt(&session, request, OnBusy::Queue).await })
}

#[tokio::test]
async fn a_key_that_comes_while_a_turn_begins_is_kept_when_that_turn_does_not_come_about() {
    let shell = Request {
        task: Task::Shell("true".into()),
        prompt: Prompt::default(),
        model: ModelChange::Nothing,
        ..request("a")
    };
    let resume = Request {
        prompt: Prompt::default(),
        ..request("a")
    };
    for first in [shell, resume] {
        let dir = tempfile::tempdir().unwrap();
        let (mut life, session) = holding(&dir).await;
        let refused = begin(&life, &session, first);
        let turn = life.take().await.turn_handle;
        let with_key = send(&life, request("a")).await.unwrap();
        assert_eq!(with_key.acceptance, Acceptance::Queued);
        turn.refuse(CreateError::EngineUnavailable("engine starting".into()));
        assert!(refused.await.unwrap().is_err());
        let held = life.take().await;
        held.turn_handle.accept("ses_1", None);
        assert_eq!(session.status().turn, 2, "what was held runs with that key");
        assert_eq!(session.queued().len(), 1);
        drop(held);
        life.end().await;
    }
}

/// A prompt for the running turn, which waits for what its driver says.
async fn steer(
    registry: &Registry,
    session: &Arc<Session>,
    turn_handle: &mut TurnHandle,
) -> (
    tokio::task::JoinHandle<Result<Accepted, CreateError>>,
    Box<Steer>,
) {
    let (registry, session) = (registry.clone(), Arc::clone(session));
    let steering = TaskTracker::new()
        .spawn(async move { registry.prompt(&session, prompt(1), OnBusy::Steer).await });
    let Some(Command::Steer(steer)) = turn_handle.command().await else {
        panic!("a prompt for the running turn");
    };
    (steering, steer)
}

#[tokio::test(start_paused = true)]
async fn a_prompt_for_the_running_turn_waits_for_as_long_as_its_driver_needs() {
    let (registry, mut turns_rx) = small();
    let (session, mut turn_handle) = create(&registry, &mut turns_rx, "a").await;
    let (steering, steer) = steer(&registry, &session, &mut turn_handle).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(!steering.is_finished() && session.queued().is_empty());
    session.note_steer(steer.record.clone());
    assert_eq!(session.log.last_event_id().seq, 1, "the stream is told");
    steer.outcome_tx.send(SteerOutcome::Taken).unwrap();
    let accepted = steering.await.unwrap().unwrap();
    assert_eq!(
        (accepted.turn, accepted.acceptance),
        (1, Acceptance::Steered)
    );
    let repeated = again(&registry, &session, 1).await.unwrap();
    assert_eq!(
        (repeated.turn, repeated.acceptance),
        (1, Acceptance::Steered)
    );
    let reused = again(&registry, &session, 2).await.unwrap_err();
    assert_eq!(reused, CreateError::KeyReused);
}

/// The prompt of [`steer`] once more, under its key.
async fn again(
    registry: &Registry,
    session: &Arc<Session>,
    digest: u8,
) -> Result<Accepted, CreateError> {
    registry
        .prompt(session, prompt(digest), OnBusy::Queue)
        .await
}

#[tokio::test]
async fn one_that_was_handed_over_when_its_turn_was_cut_off_is_not_run_again_under_its_key() {
    let (registry, mut turns_rx) = small();
    let (session, mut turn_handle) = create(&registry, &mut turns_rx, "a").await;
    let (steering, steer) = steer(&registry, &session, &mut turn_handle).await;
    session.note_steer(steer.record);
    steer.outcome_tx.send(SteerOutcome::Unknown).unwrap();
    let refused = steering.await.unwrap().unwrap_err();
    assert_eq!(refused, CreateError::SteerUnknown);
    let repeated = again(&registry, &session, 1).await.unwrap();
    assert_eq!(
        (repeated.turn, repeated.acceptance),
        (1, Acceptance::Steered)
    );
    assert!(session.queued().is_empty());
}

#[tokio::test]
async fn a_prompt_that_the_running_turn_does_not_take_is_the_next_one_and_an_unsure_one_is_not() {
    let (registry, mut turns_rx) = small();
    let (session, mut turn_handle) = create(&registry, &mut turns_rx, "a").await;
    let (steering, unsure) = steer(&registry, &session, &mut turn_handle).await;
    unsure.outcome_tx.send(SteerOutcome::Unknown).unwrap();
    let refused = steering.await.unwrap().unwrap_err();
    assert_eq!(refused, CreateError::SteerUnknown);
    assert!(session.queued().is_empty(), "it may be part of the turn");
    let (steering, dropped) = steer(&registry, &session, &mut turn_handle).await;
    drop(dropped);
    let accepted = steering.await.unwrap().unwrap();
    assert_eq!(
        (accepted.turn, accepted.acceptance),
        (2, Acceptance::Queued)
    );
}
