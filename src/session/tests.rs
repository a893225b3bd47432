use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::model::{Budget, ModelChange, ModelSpec};
use crate::permission::PolicyChange;
use crate::provider::Upstream;

mod all_events;
mod journal;
mod prompts;
mod repeats;
mod stops;
mod unsent;

/// A registry for two sessions, and its driver's end.
pub(super) fn small() -> (Registry, mpsc::Receiver<Turn>) {
    let config = Config {
        most: 2,
        retention: Duration::from_mins(1),
        keep_prompts: true,
        credential_retention: Duration::from_hours(1),
        tells_ends: true,
    };
    let (registry, receivers) = Registry::new(config, None, CancellationToken::new());
    (registry, receivers.turns_rx)
}

pub(crate) fn model() -> ModelSpec {
    ModelSpec {
        upstream: Upstream::resolve("local", None, false, false).unwrap(),
        name: "m".into(),
        version: None,
        key: None,
        temperature: None,
        max_tokens: None,
        context_window: None,
        budget: Budget::default(),
    }
}

pub(crate) fn request(id: &str) -> Request {
    Request {
        id: id.into(),
        task: Task::Prompt,
        prompt: "hello".into(),
        system_prompt: None,
        labels: Labels::default(),
        model: ModelChange::Whole(Box::new(model())),
        tools: None,
        timeout: None,
        policy: PolicyChange::default(),
        idempotency: None,
    }
}

pub(super) fn with_key(id: &str, key: &str, digest: u8) -> Request {
    Request {
        idempotency: Some(Idempotency {
            key: key.into(),
            digest: [digest; 32],
        }),
        ..request(id)
    }
}

/// Creates a session that its driver accepts at once.
pub(crate) async fn create(
    registry: &Registry,
    turns_rx: &mut mpsc::Receiver<Turn>,
    id: &str,
) -> (Arc<Session>, TurnHandle) {
    let creating = TaskTracker::new().spawn({
        let (registry, id) = (registry.clone(), id.to_owned());
        async move { registry.create(request(&id)).await }
    });
    let turn_handle = turns_rx.recv().await.unwrap().turn_handle;
    turn_handle.accept("ses_1", None);
    (creating.await.unwrap().unwrap().0, turn_handle)
}

#[tokio::test]
async fn the_same_id_is_refused_while_the_first_is_still_being_created() {
    let (registry, mut turns_rx) = small();
    let first = TaskTracker::new().spawn({
        let registry = registry.clone();
        async move { registry.create(request("a")).await }
    });
    let turn_handle = turns_rx.recv().await.unwrap().turn_handle;
    assert_eq!(
        registry.create(request("a")).await.unwrap_err(),
        CreateError::Duplicate
    );
    turn_handle.refuse(CreateError::EngineUnavailable("engine starting".into()));
    assert!(matches!(
        first.await.unwrap(),
        Err(CreateError::EngineUnavailable(_))
    ));
    assert!(
        matches!(registry.find("a").await.unwrap(), Found::Unknown),
        "its id is free again"
    );
}

#[tokio::test]
async fn the_limit_counts_what_is_active() {
    let (registry, mut turns_rx) = small();
    let (_, first) = create(&registry, &mut turns_rx, "a").await;
    let (_, _second) = create(&registry, &mut turns_rx, "b").await;
    assert_eq!(
        registry.create(request("c")).await.unwrap_err(),
        CreateError::Full(2)
    );
    first.update(|status| status.state = crate::event::State::Completed);
    let (_, _third) = create(&registry, &mut turns_rx, "c").await;
}

#[tokio::test]
async fn the_same_key_is_the_same_session_and_another_body_is_refused() {
    let (registry, mut turns_rx) = small();
    let spawn = |request: Request| {
        let registry = registry.clone();
        TaskTracker::new().spawn(async move {
            registry
                .create(request)
                .await
                .map(|(session, _)| session.id.clone())
        })
    };
    let (first, twin) = (spawn(with_key("a", "k", 1)), spawn(with_key("a", "k", 1)));
    let turn_handle = turns_rx.recv().await.unwrap().turn_handle;
    turn_handle.accept("ses_1", None);
    assert_eq!(first.await.unwrap().unwrap(), "a");
    assert_eq!(twin.await.unwrap().unwrap(), "a");
    assert_eq!(spawn(with_key("a", "k", 1)).await.unwrap().unwrap(), "a");
    assert_eq!(
        spawn(with_key("b", "k", 2)).await.unwrap(),
        Err(CreateError::KeyReused)
    );
    assert!(turns_rx.try_recv().is_err(), "one session was made");
}

#[tokio::test]
async fn a_registry_that_closes_takes_no_more() {
    let closed = CancellationToken::new();
    let config = Config {
        most: 2,
        retention: Duration::from_mins(1),
        keep_prompts: true,
        credential_retention: Duration::from_hours(1),
        tells_ends: true,
    };
    let (registry, _receivers) = Registry::new(config, None, closed.clone());
    closed.cancel();
    assert_eq!(
        registry.create(request("a")).await.unwrap_err(),
        CreateError::ShuttingDown
    );
}
