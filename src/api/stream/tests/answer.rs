//! Statuses, headers, the first and the last bytes.

use std::future::poll_fn;

use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use super::server::Server;
use super::*;
use crate::api::write_timeout::WRITE_TIMEOUT;
use crate::session::log::SseReader;

fn open_session() -> EventLog {
    log_with(Limits::default())
}

fn ask(log: &EventLog, slots: &StreamSlots, uri: &str) -> Result<Response, StreamError> {
    let uri = uri.parse().unwrap();
    stream(
        log,
        slots,
        &StreamRequest::read(&uri, &HeaderMap::new()),
        &CancellationToken::new(),
    )
}

/// The next piece of a body.
async fn piece(body: &mut Body) -> Option<String> {
    let frame = timeout(Duration::from_mins(1), body.frame())
        .await
        .expect("a piece or the end")?;
    Some(String::from_utf8(frame.unwrap().into_data().unwrap().into()).unwrap())
}

#[tokio::test]
async fn a_finished_session_is_replayed_with_the_headers_of_the_contract_and_ends() {
    let server = Server::start(&finished(2), WRITE_TIMEOUT).await;
    let (head, body) = server.fetch("GET", "", "Accept: */*\r\n").await;
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"));
    for line in [
        "content-type: text/event-stream",
        "cache-control: no-cache, no-store, no-transform",
        "x-accel-buffering: no",
        "sidecar-last-event-id: abcdefghij-0",
        "sidecar-epoch: abcdefghij",
    ] {
        assert!(head.lines().any(|have| have == line), "{line} in {head}");
    }
    assert!(!head.contains("content-encoding") && !head.contains("content-length"));
    let (opening, events) = body.split_once("\n\n").unwrap();
    let retry: u64 = opening
        .strip_prefix(": ok\nretry: ")
        .unwrap()
        .parse()
        .unwrap();
    assert!((1000..=2000).contains(&retry));
    assert_eq!(
        events,
        "event: output\nid: abcdefghij-1\ndata: {\"text\":\"1 🌍\"}\n\nevent: complete\nid: abcdefghij-2\ndata: {}\n\n"
    );
}

#[tokio::test]
async fn the_last_event_of_an_idle_session_is_answered_with_204() {
    let server = Server::start(&finished(2), WRITE_TIMEOUT).await;
    let (head, body) = server
        .fetch("GET", "", "Last-Event-ID: abcdefghij-2\r\n")
        .await;
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 204"), "{head}");
    assert!(head.contains("sidecar-last-event-id: abcdefghij-2"));
    assert_eq!(body, "");
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body_and_holds_no_place() {
    let server = Server::start(&open_session(), WRITE_TIMEOUT).await;
    let (head, body) = server.fetch("HEAD", "", "").await;
    assert!(
        head.to_lowercase()
            .contains("content-type: text/event-stream")
    );
    assert_eq!(body, "");
    server.slots_free(64).await;
}

#[tokio::test]
async fn the_header_names_the_place_before_the_first_event_sent() {
    let server = Server::start(&finished(9), WRITE_TIMEOUT).await;
    let (head, body) = server
        .fetch(
            "GET",
            "?last_event_id=abcdefghij-3",
            "Last-Event-ID: abcdefghij-6\r\n",
        )
        .await;
    assert!(
        head.contains("sidecar-last-event-id: abcdefghij-6"),
        "the header wins: {head}"
    );
    let ids: Vec<_> = SseReader::default()
        .read(body.as_bytes())
        .into_iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(ids, ["abcdefghij-7", "abcdefghij-8", "abcdefghij-9"]);
}

#[tokio::test]
async fn a_gap_comes_first_without_id_and_then_sets_the_cursor() {
    let server = Server::start(&finished(2), WRITE_TIMEOUT).await;
    let (head, body) = server.fetch("GET", "?lastEventId=zzzzzzzzzz-7", "").await;
    assert!(head.contains("sidecar-last-event-id: abcdefghij-0"));
    let (_, events) = body.split_once("\n\n").unwrap();
    let gap = "event: gap\ndata: {\"reason\":\"epoch_changed\",\"requested\":\"zzzzzzzzzz-7\",\
               \"resume_after\":\"abcdefghij-0\",\"missed\":null}\n\nid: abcdefghij-0\n\nevent: output\n";
    assert!(events.starts_with(gap), "{events}");
}

#[tokio::test]
async fn strict_turns_a_gap_into_409_and_nothing_else() {
    let server = Server::start(&finished(2), WRITE_TIMEOUT).await;
    let (head, body) = server
        .fetch("GET", "?strict=1&last_event_id=nonsense", "")
        .await;
    assert!(head.starts_with("HTTP/1.1 409"), "{head}");
    assert_eq!(body, "events after nonsense are not available (invalid)");
    let (head, _) = server
        .fetch("GET", "?strict=1&last_event_id=abcdefghij-1", "")
        .await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[tokio::test]
async fn the_first_bytes_come_before_any_event() {
    let server = Server::start(&open_session(), WRITE_TIMEOUT).await;
    server.open().await;
}

#[tokio::test]
async fn the_65th_stream_gets_429_and_a_place_that_is_left_is_free() {
    let server = Server::start(&open_session(), WRITE_TIMEOUT).await;
    let mut readers = Vec::new();
    for _ in 0..64 {
        readers.push(server.open().await);
    }
    let (head, _) = server.fetch("GET", "", "").await;
    assert!(
        head.starts_with("HTTP/1.1 429") && head.contains("retry-after: 5"),
        "{head}"
    );
    readers.pop();
    server.slots_free(1).await;
}

#[tokio::test(start_paused = true)]
async fn fifteen_seconds_of_silence_bring_a_heartbeat_without_id() {
    let log = open_session();
    let mut body = ask(&log, &StreamSlots::default(), "/").unwrap().into_body();
    piece(&mut body).await;
    let start = Instant::now();
    for nth in 1..=3 {
        assert_eq!(
            piece(&mut body).await.unwrap(),
            "event: heartbeat\ndata: {}\n\n"
        );
        assert_eq!(start.elapsed().as_millis() / 100, nth * 150);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_puts_the_next_heartbeat_off() {
    let log = open_session();
    let mut body = ask(&log, &StreamSlots::default(), "/").unwrap().into_body();
    piece(&mut body).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    log.append("status", "{}");
    assert!(piece(&mut body).await.unwrap().starts_with("event: status"));
    let start = Instant::now();
    assert!(
        piece(&mut body)
            .await
            .unwrap()
            .starts_with("event: heartbeat")
    );
    assert_eq!(start.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn reasoning_is_sent_only_to_those_who_ask_and_a_heartbeat_moves_the_others_past_it() {
    let log = open_session();
    let slots = StreamSlots::default();
    let mut plain = ask(&log, &slots, "/").unwrap().into_body();
    let mut all = ask(&log, &slots, "/?include=reasoning")
        .unwrap()
        .into_body();
    piece(&mut plain).await;
    piece(&mut all).await;
    log.append_reasoning("output", "{\"source\":\"reasoning\"}");
    assert!(piece(&mut all).await.unwrap().contains("reasoning"));
    assert_eq!(
        piece(&mut plain).await.unwrap(),
        "id: abcdefghij-1\n\nevent: heartbeat\ndata: {}\n\n"
    );
    assert_eq!(
        piece(&mut plain).await.unwrap(),
        "event: heartbeat\ndata: {}\n\n"
    );
}

#[tokio::test]
async fn a_closed_log_sends_its_readers_home_with_a_spread_retry() {
    let log = open_session();
    let mut body = ask(&log, &StreamSlots::default(), "/?follow=1")
        .unwrap()
        .into_body();
    piece(&mut body).await;
    log.end_turn("error", "{}");
    log.close();
    assert!(piece(&mut body).await.unwrap().starts_with("event: error"));
    let retry = piece(&mut body).await.unwrap();
    let millis: u64 = retry
        .strip_prefix("retry: ")
        .unwrap()
        .trim_end()
        .parse()
        .unwrap();
    assert!((2000..=10_000).contains(&millis));
    assert_eq!(piece(&mut body).await, None);
    assert_eq!(piece(&mut body).await, None, "and stays ended");
}

#[tokio::test]
async fn a_follower_stays_after_the_terminal_event_and_others_end() {
    let log = finished(1);
    let slots = StreamSlots::default();
    for (uri, stays) in [("/", false), ("/?follow=1", true)] {
        let mut body = ask(&log, &slots, uri).unwrap().into_body();
        piece(&mut body).await;
        assert!(
            piece(&mut body)
                .await
                .unwrap()
                .starts_with("event: complete")
        );
        let more = poll_fn(|cx| {
            use http_body::Body as _;
            Poll::Ready(std::pin::Pin::new(&mut body).poll_frame(cx).is_pending())
        });
        assert_eq!(more.await, stays);
    }
}

#[test]
fn waits_are_spread_over_their_whole_range() {
    let waits: Vec<_> = (0..2000).map(|_| spread(&(10..13)).as_millis()).collect();
    assert!((10..13).all(|wait| waits.contains(&wait)));
    assert!(waits.iter().all(|wait| (10..13).contains(wait)));
}
