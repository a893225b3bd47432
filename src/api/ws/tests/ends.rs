//! How a WebSocket ends, and that nothing of it stays.

use super::client::{CLOSE, Got};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_is_answered_and_its_command_is_carried_out() {
    let world = World::new();
    let mut client = world.client();
    client.say(&json!({"type": "cancel"})).await;
    client.send(CLOSE, &1000_u16.to_be_bytes()).await;
    assert_eq!(client.next().await, Got::Close(1000));
    assert_eq!(client.next().await, Got::End);
    let start = Instant::now();
    world.nothing_is_left().await;
    assert_eq!(
        start.elapsed(),
        Duration::from_secs(1),
        "the command took a second"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_follow_is_closed_when_the_session_is_idle() {
    let world = World::new();
    let mut client = world.attach("earliest", View::default(), 1 << 20);
    world.log.append("output", "{}");
    world.log.end_turn("complete", "{}");
    assert_eq!((client.seq().await, client.seq().await), (1, 2));
    assert_eq!(client.closed().await, 1000);
    let mut late = world.attach("abcdefghij-2", View::default(), 1 << 20);
    assert_eq!(late.closed().await, 1000, "there is nothing to wait for");
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_closed_says_whether_the_session_or_the_process_goes() {
    for (leaves, code) in [(false, 4410), (true, 1001)] {
        let world = World::new();
        let mut client = world.client();
        world.log.append("output", "{}");
        if leaves {
            world.leaving.cancel();
        }
        world.log.close();
        assert_eq!(client.seq().await, 1, "what there is comes first");
        assert_eq!(client.closed().await, code);
        world.nothing_is_left().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_leaves_waits_half_a_second_for_a_client_and_others_three() {
    for (leaves, wait) in [(true, 500), (false, 3000)] {
        let world = World::new();
        let mut client = world.client();
        if leaves {
            world.leaving.cancel();
        }
        world.log.close();
        let start = Instant::now();
        assert!(matches!(client.next().await, Got::Close(_)));
        assert_eq!(client.next().await, Got::End);
        assert_eq!(start.elapsed(), Duration::from_millis(wait));
        world.nothing_is_left().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_is_told_so_if_it_goes_on_in_time_and_dropped_if_not() {
    for goes_on in [true, false] {
        let world = World::new();
        let mut client = world.attach("earliest", FOLLOW, 1000);
        for _ in 0..100 {
            world.log.append("output", r#"{"text":"some words"}"#);
        }
        assert_eq!(client.seq().await, 1);
        let start = Instant::now();
        let wait = if goes_on { 27 } else { 60 };
        tokio::time::sleep(Duration::from_secs(wait)).await;
        if goes_on {
            assert_eq!(client.closed().await, 4408);
        } else {
            assert_eq!(std::sync::Arc::strong_count(&world.readers), 1);
        }
        world.nothing_is_left().await;
        assert!(start.elapsed() <= Duration::from_mins(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_ends_what_it_opened_and_lets_nothing_more_in() {
    let world = World::new();
    let mut client = world.client();
    world.log.append("output", "{}");
    assert_eq!(client.seq().await, 1);
    client
        .say(&json!({"type": "cancel", "ref": "before"}))
        .await;
    // It has been read once this is answered.
    client.say(&json!({"type": "ping", "ref": "read"})).await;
    assert!(matches!(client.next().await, Got::Text(ref answer) if answer["ref"] == "read"));
    world.revoked.cancel();
    assert_eq!(client.closed().await, 4401);
    let start = Instant::now();
    client.say(&json!({"type": "cancel", "ref": "after"})).await;
    client.send(CLOSE, &4401_u16.to_be_bytes()).await;
    assert_eq!(client.next().await, Got::End);
    // The second command would take another.
    world.nothing_is_left().await;
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    // One that comes too late to be refused.
    assert_eq!(world.client().closed().await, 4401);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_given_up() {
    let world = World::new();
    let mut client = world.client();
    let start = Instant::now();
    assert_eq!(client.next().await, Got::Ping);
    assert_eq!(client.next().await, Got::Ping);
    assert_eq!(client.closed().await, 4408);
    assert_eq!(start.elapsed(), Duration::from_secs(45));
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_commands_take_long_is_not_given_up_because_its_pongs_are_not_read() {
    let world = World::new();
    let mut client = world.client();
    let start = Instant::now();
    for nth in 0..8 {
        client.say(&json!({"type": "prompt", "ref": nth})).await;
    }
    for nth in 0..8 {
        assert_eq!(client.answer().await["ref"], nth);
    }
    assert_eq!(start.elapsed(), Duration::from_mins(1));
    assert_eq!(client.next().await, Got::Ping);
    drop(client);
    world.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_anywhere_leaves_nothing() {
    let message = client::frame(true, client::TEXT, br#"{"type":"ping","ref":"x"}"#);
    for cut in 0..message.len() {
        let world = World::new();
        let mut client = world.client();
        client.raw(&message[..cut]).await;
        tokio::task::yield_now().await;
        drop(client);
        world.nothing_is_left().await;
    }
}
