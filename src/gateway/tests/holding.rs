//! How long the beginning of an answer is held back, on a clock that is not waited for.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::*;
use crate::gateway::hold::{Begun, Early, Next, begin};
use crate::gateway::judge::Judge;
use crate::gateway::llm::wire::Wire;
use crate::gateway::redact::Redactor;
use crate::gateway::relay::{Answer, BoxError, Call};
use crate::gateway::table::Table;
use crate::gateway::usage::{Format, Tap};

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

async fn held(mut answer: Answer, idle: Duration) -> (Result<Begun, Early>, Duration) {
    let table = Arc::new(Table::default());
    let grant = table.register(route(Dialect::Chat, "http://x.test/v1"), Budget::default());
    let entry = table.get("ses_a").unwrap();
    let id = entry
        .meter
        .begin("ses_a", std::time::SystemTime::now(), || 0);
    let started = tokio::time::Instant::now();
    let mut call = Call::new(entry, id.unwrap(), started);
    call.answering(Tap::new(Dialect::Chat, Format::Stream));
    let mut judge = Judge::new(Dialect::Chat, Redactor::default());
    let begun = begin(&mut answer, &mut judge, &mut call, idle).await;
    drop(grant);
    (begun, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_shows_only_that_it_is_alive_is_not_held_for_ever() {
    let (begun, took) = held(slowly(&[": alive\n\n"]), LONG).await;
    let begun = begun.unwrap();
    assert_eq!(took, Duration::from_secs(10));
    assert_eq!(begun.first, ": alive\n\n".repeat(3));
    assert!(matches!(begun.next, Next::More));
}

#[tokio::test(start_paused = true)]
async fn the_first_word_lets_everything_go() {
    let said = Wire::begun(llm::Dialect::Chat).text("hello").bytes;
    let pieces: &'static [&'static str] = vec![": alive\n\n", said.leak()].leak();
    let (begun, took) = held(slowly(pieces), LONG).await;
    assert_eq!(took, 2 * EVERY);
    assert_eq!(begun.unwrap().first, pieces.concat());
}

#[tokio::test(start_paused = true)]
async fn what_never_ends_a_line_is_no_sign_of_life() {
    let idle = Duration::from_secs(30);
    let (begun, took) = held(slowly(&["data: {"]), idle).await;
    assert!(matches!(begun, Err(Early::Stalled)));
    assert_eq!(took, idle);
}
