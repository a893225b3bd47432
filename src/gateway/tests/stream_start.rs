//! How long the beginning of an answer is held back, on a clock that is not waited for.

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::*;
use crate::gateway::body::{Answer, BoxError};
use crate::gateway::llm::wire::Wire;
use crate::gateway::stream_start::{Next, StartError, Started, start};

const EVERY: Duration = Duration::from_secs(3);

/// `pieces` one after the other, [`EVERY`] so often, and then the last one for ever.
fn slowly(pieces: &'static [&'static str]) -> Answer {
    let pieces = stream::unfold(0, move |at| async move {
        tokio::time::sleep(EVERY).await;
        let piece = pieces[at.min(pieces.len() - 1)];
        let frame = Frame::data(Bytes::from_static(piece.as_bytes()));
        Some((Ok::<_, BoxError>(frame), at + 1))
    });
    StreamBody::new(pieces).boxed_unsync()
}

async fn held(answer: Answer, idle: Duration) -> (Result<Started, StartError>, Duration) {
    let begun = tokio::time::Instant::now();
    let (_grant, mut reader) = reader(answer, false, idle);
    let started = start(&mut reader).await;
    (started, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_shows_only_that_it_is_alive_is_not_held_for_ever() {
    let (started, took) = held(slowly(&[": alive\n\n"]), LONG).await;
    let started = started.unwrap();
    assert_eq!(took, Duration::from_secs(10));
    assert_eq!(started.first, ": alive\n\n".repeat(3));
    assert!(matches!(started.next, Next::More));
}

#[tokio::test(start_paused = true)]
async fn the_first_word_lets_everything_go() {
    let said = Wire::begun(llm::Dialect::Chat).text("hello").bytes;
    let pieces: &'static [&'static str] = vec![": alive\n\n", said.leak()].leak();
    let (started, took) = held(slowly(pieces), LONG).await;
    assert_eq!(took, 2 * EVERY);
    assert_eq!(started.unwrap().first, pieces.concat());
}

#[tokio::test(start_paused = true)]
async fn what_never_ends_a_line_is_no_sign_of_life() {
    let idle = Duration::from_secs(30);
    let (started, took) = held(slowly(&["data: {"]), idle).await;
    assert!(matches!(started, Err(StartError::Stalled)));
    assert_eq!(took, idle);
}
