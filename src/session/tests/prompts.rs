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
    let second = life.take().await.turn_handle;
    second.beginning().record(None).await;
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
