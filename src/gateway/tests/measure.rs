//! What the gateway costs. Measurements, not tests of behaviour: run them by name, in release,
//! `cargo nextest run --release --run-ignored only gateway::tests::measure --no-capture`.
//!
//! Provider, gateway and child share one process and its cores, which is harder on the gateway than a pod.

use std::time::{Duration, Instant};

use super::*;
use crate::gateway::llm::Turn;

const ROUNDS: usize = 5;

/// The same call with and without the gateway.
async fn pair() -> (Rig, Llm, Grant) {
    let (rig, llm) = (Rig::start().await, Llm::start().await);
    let grant = rig.register(Dialect::Chat, &llm);
    (rig, llm, grant)
}

fn direct(rig: &Rig, llm: &Llm) -> RequestBuilder {
    rig.client
        .post(format!("{}/chat/completions", llm.base()))
        .body(ask().to_string())
}

fn through(rig: &Rig) -> RequestBuilder {
    rig.request(Dialect::Chat, "ses_a").body(ask().to_string())
}

/// Reads the answer without keeping it: how long it took, and how much it was.
async fn drain(request: RequestBuilder) -> (Duration, usize) {
    let started = Instant::now();
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await.unwrap() {
        bytes += chunk.len();
    }
    (started.elapsed(), bytes)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Resident memory of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_call_is_not_a_millisecond_slower() {
    let (rig, llm, _grant) = pair().await;
    llm.reply_always(Turn::new().text("hi"));
    let (mut plain, mut gated) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        plain.push(drain(direct(&rig, &llm)).await.0);
        gated.push(drain(through(&rig)).await.0);
    }
    let (plain, gated) = (median(plain), median(gated));
    println!("small call, median: direct {plain:?}, through the gateway {gated:?}");
    assert!(gated.saturating_sub(plain) < Duration::from_millis(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn twenty_thousand_chunks_are_nearly_as_fast_as_direct() {
    let (rig, llm, _grant) = pair().await;
    llm.reply_always(Turn::new().flood("a few words ", 20_000));
    let (mut plain, mut gated) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(drain(direct(&rig, &llm)).await.0);
        gated.push(drain(through(&rig)).await.0);
    }
    let (plain, gated) = (median(plain), median(gated));
    println!("20 000 chunks, median: direct {plain:?}, through the gateway {gated:?}");
    assert!(plain.as_secs_f64() / gated.as_secs_f64() >= 0.9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn two_hundred_megabytes_need_no_memory() {
    let (rig, llm, grant) = pair().await;
    // About 1 KiB each with its frame.
    llm.reply_always(Turn::new().flood(&"x".repeat(900), 1_000));
    drain(through(&rig)).await;
    llm.reply(Turn::new().flood(&"x".repeat(900), 200_000));
    let before = resident();
    let (took, bytes) = drain(through(&rig)).await;
    let growth = resident().saturating_sub(before);
    println!(
        "{} MB in {took:?}: {} KiB more resident",
        bytes / 1_000_000,
        growth / 1024
    );
    assert!(bytes > 200_000_000 && growth < 8 * 1024 * 1024);
    assert_eq!(grant.usage().tokens.total(), 240);
}
