//! What goes out: events, gaps, signs of life, answers.

use super::client::{Got, PONG};
use super::*;

#[tokio::test(start_paused = true)]
async fn events_are_replayed_and_go_on_across_turns() {
    let world = World::new();
    world.log.append("output", r#"{"text":"🌍"}"#);
    let mut client = world.client();
    let expected = json!({"id": "abcdefghij-1", "event": "output", "data": {"text": "🌍"}});
    assert_eq!(client.next().await, Got::Text(expected));
    world.log.append("output", "{}");
    assert_eq!(client.seq().await, 2);
    world.log.end_turn("complete", "{}");
    assert_eq!(client.seq().await, 3);
    world.log.begin_turn();
    world.log.append("output", "{}");
    assert_eq!(client.seq().await, 4);
    let mut late = world.attach("abcdefghij-2", FOLLOW, 1 << 20);
    assert_eq!((late.seq().await, late.seq().await), (3, 4));
    drop((client, late));
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_a_message_without_an_id_and_comes_first() {
    let world = World::new();
    world.log.append("output", "{}");
    let mut client = world.attach("zzzzzzzzzz-1", FOLLOW, 1 << 20);
    let data = json!({"reason": "epoch_changed", "requested": "zzzzzzzzzz-1", "resume_after": "abcdefghij-0", "missed": null});
    let expected = json!({"id": null, "event": "gap", "data": data});
    assert_eq!(client.next().await, Got::Text(expected));
    assert_eq!(client.seq().await, 1);
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_pings_and_the_place_of_a_reader_that_was_passed_by() {
    let world = World::new();
    let mut client = world.client();
    let start = Instant::now();
    for nth in 1..=4 {
        assert_eq!(client.next().await, Got::Ping);
        assert_eq!(start.elapsed(), nth * Duration::from_secs(15));
        client.send(PONG, b"").await;
    }
    world.log.append_reasoning("output", "{}");
    let place = json!({"id": "abcdefghij-1", "event": "heartbeat", "data": {}});
    assert_eq!(client.next().await, Got::Text(place));
    assert_eq!(client.next().await, Got::Ping);
}

#[tokio::test(start_paused = true)]
async fn a_command_holds_up_neither_events_nor_others() {
    let world = World::new();
    let mut client = world.client();
    client.say(&json!({"type": "cancel", "ref": "a"})).await;
    client.say(&json!({"type": "cancel", "ref": 2})).await;
    client.say(&json!({"type": "ping", "ref": "c"})).await;
    let ack = json!({"type": "ack", "ref": "c"});
    assert_eq!(client.answer().await, ack);
    let start = Instant::now();
    world.log.append("output", "{}");
    assert_eq!(client.seq().await, 1);
    assert_eq!(start.elapsed(), Duration::ZERO);
    let first = json!({"type": "ack", "ref": "a", "result": {"nth": 1}});
    assert_eq!(client.answer().await, first);
    let mut second = client.answer().await;
    assert!(second["timestamp"].is_string());
    second["timestamp"] = Value::Null;
    let expected = json!({
        "type": "error", "ref": 2, "status": 409, "code": "conflict", "error": "it is the second", "timestamp": null, "request_id": "r-1",
    });
    assert_eq!(second, expected);
}

#[tokio::test(start_paused = true)]
async fn every_reader_gets_every_event_in_order_however_slowly_it_reads() {
    const EVENTS: u64 = 3000;
    let world = World::new();
    let clients: Vec<_> = [200, 1000, 10_000, 1 << 20, 1 << 20]
        .map(|room| world.attach("earliest", FOLLOW, room))
        .into();
    let readers = clients.into_iter().map(|mut client| {
        TaskTracker::new().spawn(async move {
            for seq in 1..=EVENTS {
                assert_eq!(client.seq().await, seq);
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for nth in 1..=EVENTS {
        world.log.append("output", r#"{"text":"some words"}"#);
        if nth % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
    world.nothing_is_left().await;
}
