//! What a stop takes with it: what is on its way, and the key.

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::Timestamp;
use crate::event::{self, Body, Event};
use crate::session::{Accepted, Command, TurnHandle};

/// A prompt without a key of its own.
fn keyless() -> Request {
    Request {
        model: ModelChange::Nothing,
        ..request("a")
    }
}

fn send(
    registry: &Registry,
    session: &Arc<Session>,
    on_busy: OnBusy,
) -> JoinHandle<Result<Accepted, CreateError>> {
    let (registry, session) = (registry.clone(), Arc::clone(session));
    TaskTracker::new().spawn(async move { registry.prompt(&session, keyless(), on_busy).await })
}

fn cancelled(turn_handle: &TurnHandle) {
    let status = event::Status {
        state: event::State::Cancelled,
        progress: 0,
        phase: None,
        current_tool: None,
        reason: None,
    };
    let end = Event::new(Timestamp::now(), Body::Status(status));
    turn_handle.publish(&end, |status| status.state = event::State::Cancelled);
}

/// A prompt that is on its way to the turn.
async fn steered(turn_handle: &mut TurnHandle) -> Command {
    let command = turn_handle.command().await.unwrap();
    assert!(matches!(command, Command::Steer(_)), "{command:?}");
    command
}

#[tokio::test]
async fn a_prompt_that_was_on_its_way_to_a_turn_is_the_next_turn_unless_the_session_was_stopped() {
    let (registry, mut turns_rx) = small();
    let (session, mut first) = create(&registry, &mut turns_rx, "a").await;
    let sent = send(&registry, &session, OnBusy::Steer);
    let steer = steered(&mut first).await;
    cancelled(&first);
    drop((steer, first));
    let mut second = turns_rx.recv().await.unwrap().turn_handle;
    second.accept("ses_1", None);
    assert_eq!(sent.await.unwrap().unwrap().turn, 2);

    let sent = send(&registry, &session, OnBusy::Steer);
    let steer = steered(&mut second).await;
    let stopping = registry.stop(&session);
    let ending = async {
        let command = second.command().await;
        cancelled(&second);
        drop((command, steer, second));
    };
    let ((_, withdrawn), ()) = tokio::join!(stopping, ending);
    assert!(withdrawn.is_empty(), "it did not wait");
    assert_eq!(sent.await.unwrap().unwrap_err(), CreateError::Stopped);
    assert!(turns_rx.try_recv().is_err(), "nothing begins after a stop");
    assert!(session.is_final());
}

#[tokio::test]
async fn the_key_goes_with_a_stop_that_nobody_waits_for() {
    let (registry, mut turns_rx) = small();
    let (session, first) = create(&registry, &mut turns_rx, "a").await;
    // As the deadline of the caller does it.
    assert!(registry.stop(&session).now_or_never().is_none());
    cancelled(&first);
    drop(first);
    let refused = registry.prompt(&session, keyless(), OnBusy::Queue).await;
    assert_eq!(refused.unwrap_err(), CreateError::CredentialsRequired);
}

#[tokio::test]
async fn the_key_goes_with_a_stop_while_a_turn_begins_that_does_not_come_about() {
    let (registry, mut turns_rx) = small();
    let (session, first) = create(&registry, &mut turns_rx, "a").await;
    cancelled(&first);
    drop(first);
    let sent = send(&registry, &session, OnBusy::Queue);
    let second = turns_rx.recv().await.unwrap().turn_handle;
    assert!(registry.stop(&session).now_or_never().is_none());
    second.refuse(CreateError::Cancelled);
    assert_eq!(sent.await.unwrap().unwrap_err(), CreateError::Cancelled);
    let refused = registry.prompt(&session, keyless(), OnBusy::Queue).await;
    assert_eq!(refused.unwrap_err(), CreateError::CredentialsRequired);
}
