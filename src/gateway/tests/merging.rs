//! When merged pieces of an answer go out, on a clock that is not waited for.

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::Instant;

use super::*;
use crate::gateway::body::{Answer, BoxError};
use crate::gateway::llm::wire::Wire;
use crate::gateway::merge_window::MergeWindow;
use crate::gateway::relay::relay;
use crate::gateway::stream_start::start;

const WINDOW: Duration = Duration::from_millis(40);

/// What an answer sends after a pause: bytes, or the end of its connection.
type Sent = (u64, Option<String>);

fn said(text: &str) -> String {
    Wire::nothing(llm::Dialect::Chat).open_text(text).bytes
}

fn answer(sent: Vec<Sent>) -> Answer {
    let frames = stream::unfold(sent.into_iter(), |mut sent| async move {
        let (pause, bytes) = sent.next()?;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let frame = bytes.map(|bytes| Frame::data(Bytes::from(bytes)));
        Some((frame.ok_or_else(|| BoxError::from("it broke")), sent))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// What reaches the child, each with the milliseconds since the first piece, and whether it ended well.
async fn written(sent: Vec<Sent>, window: Duration, idle: Duration) -> (Vec<(u128, String)>, bool) {
    let (_grant, mut reader) = reader(answer(sent), !window.is_zero(), idle);
    let started = start(&mut reader).await.unwrap();
    let begun = Instant::now();
    let mut body = relay(reader, started, MergeWindow::new(window));
    let mut written = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return (written, false);
        };
        let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
        written.push((begun.elapsed().as_millis(), text));
    }
    (written, true)
}

/// The text in some events.
fn text(events: &str) -> String {
    let events = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let events = events.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let texts = events.map(|event| event["choices"][0]["delta"]["content"].clone());
    texts
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

/// When which text was written.
fn times(written: &[(u128, String)]) -> Vec<(u128, String)> {
    let times = written.iter().map(|(at, events)| (*at, text(events)));
    times.collect()
}

fn at(at: u128, text: &str) -> (u128, String) {
    (at, text.to_owned())
}

#[tokio::test(start_paused = true)]
async fn pieces_within_the_window_go_out_together_and_the_first_and_the_end_at_once() {
    let end = Wire::nothing(llm::Dialect::Chat).stop().bytes;
    let mut sent: Vec<Sent> = ["a", "b", "c", "d", "e", "f", "g"]
        .into_iter()
        .map(|piece| (15, Some(said(piece))))
        .collect();
    sent.push((1, Some(end.clone())));
    let (merged, well) = written(sent.clone(), WINDOW, LONG).await;
    // The pieces come at 0, 15, 30, …, 90, and the end at 91.
    assert_eq!(
        times(&merged),
        [at(0, "a"), at(40, "bc"), at(80, "def"), at(91, "g")]
    );
    assert!(well && merged[3].1.ends_with(&end));
    assert_eq!(merged[1].1.matches("data: ").count(), 1, "{merged:?}");

    let (plain, _) = written(sent, Duration::ZERO, LONG).await;
    assert_eq!(plain.len(), 8, "one write for each: {plain:?}");
}

#[tokio::test(start_paused = true)]
async fn pieces_that_come_slower_than_the_window_do_not_wait() {
    let sent = ["a", "b", "c"].map(|piece| (100, Some(said(piece))));
    let (merged, _) = written(sent.to_vec(), WINDOW, LONG).await;
    assert_eq!(
        times(&merged)[..3],
        [at(0, "a"), at(100, "b"), at(200, "c")]
    );
}

#[tokio::test(start_paused = true)]
async fn many_bytes_do_not_wait() {
    let long = "x".repeat(10_000);
    let sent = ["a", &long, &long].map(|piece| (5, Some(said(piece))));
    let (merged, _) = written(sent.to_vec(), WINDOW, LONG).await;
    assert_eq!(times(&merged)[..2], [at(0, "a"), at(10, &long.repeat(2))]);
}

#[tokio::test(start_paused = true)]
async fn what_was_received_is_shown_before_a_stream_breaks_off_or_stalls() {
    let broken = vec![(5, Some(said("a"))), (5, Some(said("b"))), (5, None)];
    let (merged, well) = written(broken, WINDOW, LONG).await;
    assert_eq!(
        (times(&merged), well),
        (vec![at(0, "a"), at(10, "b")], false)
    );

    let stalls = vec![(5, Some(said("a"))), (5, Some(said("b"))), (100_000, None)];
    let (merged, well) = written(stalls, Duration::from_secs(1), Duration::from_millis(300)).await;
    assert_eq!(times(&merged), [at(0, "a"), at(305, "b")]);
    assert!(well && merged[1].1.contains("provider_stalled"));
}

#[tokio::test(start_paused = true)]
async fn all_answers_write_at_the_same_moments() {
    let window = MergeWindow::new(WINDOW);
    let begun = Instant::now();
    let end = |ms| (window.end(begun + Duration::from_millis(ms)) - begun).as_millis();
    assert_eq!([0, 1, 39, 40, 95].map(end), [40, 40, 40, 80, 120]);
}
