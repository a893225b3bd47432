//! The exporter: a thread of its own that takes spans from a bounded queue and sends them in batches.
//!
//! It has a runtime of its own, so that neither its connections nor its pauses take anything from those that serve; a runtime is
//! also what the HTTP client needs on its thread. While a collector is down or slow the queue fills, and whoever emits a
//! span finds it full and counts it as dropped. A batch is sent again a few times, and is then given up and counted too.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::config::Config;
use super::encode;
use super::span::Span;
use super::transport::{Sent, Transport};
use crate::metrics::trace as metrics;
use crate::socket_owner::Finder;

/// How often a batch is sent, the first time included.
const ATTEMPTS: u32 = 4;
/// The first pause between two attempts; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// A collector may ask for no more than this.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Between two log lines about a collector that does not take spans.
const LOG_PAUSE: Duration = Duration::from_mins(1);
/// How long the end of the program waits for the last spans, where the collector has taken those before.
const LAST_SPANS: Duration = Duration::from_millis(500);

/// The thread, for whoever ends the program.
#[derive(Debug)]
pub(crate) struct Exporter {
    finish_tx: watch::Sender<bool>,
    /// Spans that were handed over.
    emitted: Arc<AtomicU64>,
    state_rx: watch::Receiver<State>,
}

/// What the thread is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// The last batch was not taken.
    failing: bool,
    /// Spans that were sent, or given up.
    handled: u64,
}

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the thread that sends traces cannot be started: {0}")]
    Thread(#[from] io::Error),
}

struct Worker {
    config: Config,
    /// Who runs a collector on this host.
    owners: Finder,
    spans_rx: mpsc::Receiver<Span>,
    finish_rx: watch::Receiver<bool>,
    state_tx: watch::Sender<State>,
    complained: Option<Instant>,
}

// === impl Exporter ===

impl Exporter {
    pub(super) fn start(
        config: Config,
        spans_rx: mpsc::Receiver<Span>,
        emitted: Arc<AtomicU64>,
        owners: Finder,
    ) -> Result<Self, StartError> {
        let (finish_tx, finish_rx) = watch::channel(false);
        let (state_tx, state_rx) = watch::channel(State::default());
        let worker = Worker {
            config,
            owners,
            spans_rx,
            finish_rx,
            state_tx,
            complained: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("traces".into())
            .spawn(move || runtime.block_on(worker.run()))?;
        Ok(Self {
            finish_tx,
            emitted,
            state_rx,
        })
    }

    /// Has what waits sent at once, and waits until it is: not for long, and not at all for a collector that takes none.
    pub(crate) async fn finished(&self) {
        self.finish_tx.send_replace(true);
        let mut state_rx = self.state_rx.clone();
        let emitted = self.emitted.load(Ordering::Relaxed);
        let over = state_rx.wait_for(|state| state.handled >= emitted || state.failing);
        drop(tokio::time::timeout(LAST_SPANS, over).await);
    }
}

// === impl Worker ===

impl Worker {
    async fn run(mut self) {
        let transport = match Transport::new(&self.config, self.owners.clone()) {
            Ok(transport) => transport,
            Err(reason) => {
                tracing::error!(reason, "no traces are sent: the connection cannot be made");
                self.set(|state| state.failing = true);
                // Closed, so that spans are dropped where they are made.
                self.spans_rx.close();
                return;
            }
        };
        let mut open = true;
        while open {
            let mut batch = Vec::new();
            open = self.collect(&mut batch).await;
            let count = batch.len() as u64;
            let taken = count == 0 || self.send(&transport, batch).await;
            if !taken {
                metrics::failed(count);
            }
            self.set(|state| {
                state.failing = !taken;
                state.handled += count;
            });
        }
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        self.state_tx.send_modify(change);
    }

    /// Waits for a span, and then a while for more. False when there will be none.
    async fn collect(&mut self, batch: &mut Vec<Span>) -> bool {
        let most = self.config.batch;
        if self.spans_rx.recv_many(batch, most).await == 0 {
            return false;
        }
        let delay = tokio::time::sleep(self.config.delay);
        tokio::pin!(delay);
        while batch.len() < most && !*self.finish_rx.borrow() {
            let left = most - batch.len();
            tokio::select! {
                biased;
                () = &mut delay => break,
                more = self.spans_rx.recv_many(batch, left) => if more == 0 { return false },
                // It is what ends the loop; the sender lives as long as the program.
                changed = self.finish_rx.changed() => if changed.is_err() { break },
            }
        }
        // What came in the meantime.
        while batch.len() < most
            && let Ok(span) = self.spans_rx.try_recv()
        {
            batch.push(span);
        }
        true
    }

    /// Whether they were taken.
    async fn send(&mut self, transport: &Transport, batch: Vec<Span>) -> bool {
        let count = batch.len() as u64;
        let message = Bytes::from(encode::request(&self.config.resource, batch));
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            let (reason, wanted) = match transport.send(message.clone()).await {
                Sent::Taken => {
                    metrics::exported(count);
                    return true;
                }
                Sent::Later(reason, wanted) => (reason, wanted),
                Sent::Refused(reason) => {
                    self.complain(&reason);
                    return false;
                }
            };
            self.complain(&reason);
            self.set(|state| state.failing = true);
            // Whoever waits for the end waits for one attempt.
            if attempt == ATTEMPTS || *self.finish_rx.borrow() {
                break;
            }
            let pausing = tokio::time::sleep(wanted.unwrap_or(pause).min(MAX_PAUSE));
            tokio::select! {
                () = pausing => {}
                _ = self.finish_rx.wait_for(|finish| *finish) => {}
            }
            pause *= 2;
        }
        false
    }

    /// Says so, but not with each batch.
    fn complain(&mut self, reason: &str) {
        if self
            .complained
            .is_none_or(|since| since.elapsed() >= LOG_PAUSE)
        {
            self.complained = Some(Instant::now());
            tracing::warn!(reason, "the collector does not take the traces");
        }
    }
}
