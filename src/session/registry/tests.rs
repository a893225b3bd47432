use super::*;
use crate::event;
use crate::session::session_map::{GONE_FOR, MAX_GONE};
use crate::session::{CreateError, ForkedFrom, Found, Idempotency, Labels, Request, TurnHandle};

const RETENTION: Duration = Duration::from_mins(1);

fn registry(most: usize) -> (Registry, Receivers) {
    let config = Config {
        most,
        retention: RETENTION,
        keep_prompts: true,
        credential_retention: Duration::from_hours(1),
        tells_ends: true,
    };
    Registry::new(config, None, CancellationToken::new())
}

fn find(registry: &Registry, id: &str) -> Found {
    registry.shared.sessions.find(id).unwrap_or(Found::Unknown)
}

fn expire(registry: &Registry, now: Instant) {
    registry.shared.sessions.expire(RETENTION, now);
}

fn request(id: &str, key: Option<&str>) -> Request {
    Request {
        idempotency: key.map(|key| Idempotency {
            key: key.into(),
            digest: [0; 32],
        }),
        ..crate::session::tests::request(id)
    }
}

/// Ends the session of `turn_handle` at `now`.
fn end(turn_handle: &TurnHandle, now: Instant) {
    turn_handle.update(|status| {
        status.state = event::State::Completed;
        status.ended = Some(now);
    });
}

#[tokio::test]
async fn of_two_copies_that_one_key_asked_for_the_first_is_the_fork() {
    let (registry, mut receivers) = registry(1);
    let (source, _) = registry.admit(request("one", None)).unwrap();
    let turn_handle = receivers.turns_rx.try_recv().unwrap().turn_handle;
    turn_handle.accept("ses_1", None);
    let copy = |id: &str, key: &str| NewFork {
        id: id.into(),
        remote_id: format!("ses_{id}"),
        labels: Labels::default(),
        forked_from: ForkedFrom {
            session_id: "one".into(),
            turn: None,
            message_id: None,
        },
        idempotency: request(id, Some(key)).idempotency,
    };
    let added = registry.add_fork(&source, copy("two", "key")).await;
    assert!(matches!(added, Ok(AddedFork::New(fork)) if fork.id == "two"));
    let added = registry.add_fork(&source, copy("three", "key")).await;
    assert!(matches!(added, Ok(AddedFork::Repeated(fork)) if fork.id == "two"));
    assert!(matches!(find(&registry, "three"), Found::Unknown));
    let added = registry.add_fork(&source, copy("two", "other")).await;
    assert!(matches!(added, Err(CreateError::Duplicate)));
}

#[test]
fn a_finished_session_is_here_then_gone_then_unknown() {
    let (registry, mut receivers) = registry(1);
    registry.admit(request("one", Some("key"))).unwrap();
    let turn_handle = receivers.turns_rx.try_recv().unwrap().turn_handle;
    turn_handle.accept("ses_1", None);
    let start = Instant::now();
    expire(&registry, start + RETENTION * 100);
    assert!(matches!(find(&registry, "one"), Found::Here(_)), "it runs");

    end(&turn_handle, start);
    let just_before = start + RETENTION.checked_sub(Duration::from_millis(1)).unwrap();
    expire(&registry, just_before);
    assert!(matches!(find(&registry, "one"), Found::Here(_)));
    assert!(receivers.removals_rx.try_recv().is_err());

    let gone = start + RETENTION;
    expire(&registry, gone);
    assert!(matches!(find(&registry, "one"), Found::Gone));
    assert_eq!(receivers.removals_rx.try_recv().unwrap(), "ses_1");
    expire(
        &registry,
        gone + GONE_FOR.checked_sub(Duration::from_millis(1)).unwrap(),
    );
    assert!(matches!(find(&registry, "one"), Found::Gone));
    expire(&registry, gone + GONE_FOR);
    assert!(matches!(find(&registry, "one"), Found::Unknown));
    // Its key went with it: the same request is a new session.
    registry.admit(request("one", Some("key"))).unwrap();
    assert!(receivers.turns_rx.try_recv().is_ok());
}

#[test]
fn only_so_many_gone_ids_are_remembered_and_the_oldest_goes_first() {
    let (registry, _outlets) = registry(1);
    let start = Instant::now();
    let mut state = registry.shared.sessions.lock();
    for n in 0..=MAX_GONE {
        let at = start + Duration::from_millis(u64::try_from(n).unwrap());
        state.remember_gone(n.to_string(), at);
    }
    assert_eq!(state.gone.len(), MAX_GONE);
    assert!(!state.gone.contains_key("0") && state.gone.contains_key("1"));
}

#[test]
fn what_is_refused_or_dropped_leaves_its_place_and_its_id() {
    let (registry, mut receivers) = registry(1);
    registry.admit(request("one", None)).unwrap();
    let twice = registry.admit(request("one", None)).err();
    assert_eq!(twice, Some(CreateError::Duplicate));
    let full = registry.admit(request("two", None)).err();
    assert_eq!(full, Some(CreateError::Full(1)));

    let turn_handle = receivers.turns_rx.try_recv().unwrap().turn_handle;
    turn_handle.refuse(CreateError::EngineUnavailable("engine starting".into()));
    assert!(matches!(find(&registry, "one"), Found::Unknown));
    registry.admit(request("two", None)).unwrap();
    // A driver that panics drops its turn handle.
    drop(receivers.turns_rx.try_recv().unwrap().turn_handle);
    assert!(matches!(find(&registry, "two"), Found::Unknown));
    registry.admit(request("three", None)).unwrap();
}

#[test]
fn a_turn_whose_driver_panics_has_an_end_all_the_same() {
    let (registry, mut receivers) = registry(1);
    let (session, _) = registry.admit(request("one", None)).unwrap();
    let turn_handle = receivers.turns_rx.try_recv().unwrap().turn_handle;
    turn_handle.accept("ses_1", None);
    drop(turn_handle);
    let status = session.status();
    assert_eq!(status.state, event::State::Failed);
    assert_eq!(status.problem.as_ref().unwrap().code, "internal");
    assert_eq!(session.log.last_event_id().seq, 1, "one terminal event");
    // It is kept as any other, and its place is free.
    assert!(matches!(find(&registry, "one"), Found::Here(_)));
    registry.admit(request("two", None)).unwrap();
    expire(&registry, Instant::now() + RETENTION);
    assert!(matches!(find(&registry, "one"), Found::Gone));
}

#[test]
fn a_turn_that_has_ended_is_not_ended_again() {
    let (registry, mut receivers) = registry(1);
    let (session, _) = registry.admit(request("one", None)).unwrap();
    let turn_handle = receivers.turns_rx.try_recv().unwrap().turn_handle;
    turn_handle.accept("ses_1", None);
    end(&turn_handle, Instant::now());
    drop(turn_handle);
    assert_eq!(session.status().state, event::State::Completed);
    assert_eq!(session.log.last_event_id().seq, 0);
}

#[test]
fn a_turn_that_nobody_takes_is_refused_and_not_left_behind() {
    let (registry, receivers) = registry(usize::MAX);
    for n in 0..MAX_TURNS {
        registry.admit(request(&n.to_string(), None)).unwrap();
    }
    let refused = registry.admit(request("too-many", None)).err();
    assert!(
        matches!(refused, Some(CreateError::Failed(_))),
        "{refused:?}"
    );
    assert!(matches!(find(&registry, "too-many"), Found::Unknown));
    drop(receivers);
    assert!(registry.shared.sessions.lock().sessions.is_empty());
}
