//! One WebSocket from its first frame to its close: what its source has goes out, what the client says comes in.
//!
//! ```text
//! talking --the source ends, a fault, silence, a stall--> closing --the client closes too, or a deadline--> over
//! ```
//!
//! One task owns all of it. A message becomes a future beside the events, so a command that takes its time holds up neither
//! events nor other commands; a bounded number runs at once. Commands that are under way when the socket goes are carried out.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tungstenite::Message;

use super::close::Close;
use super::command::Commands;
use super::connection::{Connection, Fault, STALL_REST};
use super::message::{Incoming, ack, refusal};
use super::source::{Output, Source};
use crate::clock::millis;

/// Silence after which a ping is sent: half of what common proxies allow at the least.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// How long pings may go unanswered, by any message.
const PONG_LIMIT: Duration = Duration::from_secs(30);

/// Commands of one client that run at once; it is not read beyond that.
const MAX_RUNNING: usize = 8;

/// How long the client may take to close as well.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// The same when the process leaves, which waits a second for all connections together.
const LEAVING_LIMIT: Duration = Duration::from_millis(500);

/// How long commands may take that outlive their socket: as long as a turn's beginning, which is the longest.
const RUNNING_LIMIT: Duration = Duration::from_secs(25);

pub(crate) struct Conversation<IO, S> {
    connection: Connection<IO>,
    source: S,
    commands: Commands,
    /// The token that it was opened with is not accepted any more.
    revoked: CancellationToken,
    running: FuturesUnordered<BoxFuture<'static, Bytes>>,
    /// Of the handshake; errors name it.
    request_id: String,
    last_sent: Instant,
    /// Set again only when it fires: moving a timer costs more than an event.
    silence: Pin<Box<Sleep>>,
    /// The first ping that nothing has been heard after.
    pinged: Option<Instant>,
}

/// What ends a poll of the conversation.
enum Happened {
    Message(Message),
    Answer(Bytes),
    Ended(Close),
    Fault(Fault),
}

/// How a conversation ends.
enum Ending {
    /// Both may still speak.
    Close(Close),
    /// What the client sends cannot be read any more.
    Broken(Close),
    Gone,
}

// === impl Ending ===

impl Ending {
    /// Nothing if the client left without a word.
    fn code(&self) -> Option<u16> {
        match self {
            Self::Close(close) | Self::Broken(close) => Some(close.code()),
            Self::Gone => None,
        }
    }
}

// === impl Conversation ===

impl<IO: AsyncRead + AsyncWrite + Unpin, S: Source> Conversation<IO, S> {
    pub(super) fn new(
        connection: Connection<IO>,
        source: S,
        commands: Commands,
        request_id: String,
        revoked: &CancellationToken,
    ) -> Self {
        let now = Instant::now();
        Self {
            connection,
            source,
            commands,
            // One of its own: all sockets of a token would wait for the lock of one whenever they wake.
            revoked: revoked.child_token(),
            running: FuturesUnordered::new(),
            request_id,
            last_sent: now,
            silence: Box::pin(sleep_until(now + PING_INTERVAL)),
            pinged: None,
        }
    }

    /// Until the socket is closed and what was asked for over it is done. `stop`: the process ends.
    pub(super) async fn run(mut self, stop: &CancellationToken) {
        let begun = Instant::now();
        let revoked = self.revoked.clone();
        let ending = revoked.run_until_cancelled(self.talk()).await;
        let ending = ending.unwrap_or(Ending::Close(Close::revoked()));
        let Self {
            connection,
            source,
            mut running,
            ..
        } = self;
        let (events, lag) = source.progress();
        tracing::debug!(
            stream.end = ending.code(),
            stream.events = events,
            stream.lag = lag,
            ms = millis(begun.elapsed()),
            "a WebSocket ends"
        );
        // The place among the readers is free for another.
        drop(source);
        close(connection, ending).await;
        let rest = async { while running.next().await.is_some() {} };
        let rest = timeout(RUNNING_LIMIT, stop.run_until_cancelled(rest)).await;
        if rest.is_err() {
            tracing::warn!("a command did not end in time after its WebSocket");
        }
    }

    async fn talk(&mut self) -> Ending {
        loop {
            match std::future::poll_fn(|cx| self.poll(cx)).await {
                Happened::Message(Message::Text(text)) => self.begin(text.into()),
                Happened::Message(Message::Binary(_)) => return Ending::Close(Close::binary()),
                // The protocol answers them.
                Happened::Message(_) => {}
                Happened::Answer(frame) => self.connection.send(frame),
                Happened::Ended(close) => return Ending::Close(close),
                Happened::Fault(Fault::Gone) => return Ending::Gone,
                Happened::Fault(Fault::Stalled) => return Ending::Close(Close::slow()),
                Happened::Fault(Fault::Wrong(close)) => return Ending::Broken(close),
            }
        }
    }

    fn begin(&mut self, text: Bytes) {
        match Incoming::read(&text) {
            Ok(Incoming { kind, reference }) => {
                let work = (self.commands)(kind, text);
                let request_id = self.request_id.clone();
                self.running.push(Box::pin(async move {
                    match work.await {
                        Ok(body) => {
                            let body = body.and_then(|body| RawValue::from_string(body).ok());
                            ack(reference.as_ref(), body)
                        }
                        Err(error) => {
                            if let Some(cause) = error.cause() {
                                tracing::error!(cause, "a message failed");
                            }
                            refusal(reference.as_ref(), &error, &request_id)
                        }
                    }
                }));
            }
            Err(wrong) => {
                let (reference, error) = *wrong;
                let answer = refusal(reference.as_ref(), &error, &self.request_id);
                self.connection.send(answer);
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        loop {
            // First, because a client is not read while too much waits for it.
            let flushed = self.connection.poll_flush(cx);
            if let Poll::Ready(Err(fault)) = flushed {
                return Poll::Ready(Happened::Fault(fault));
            }
            // An empty set is ready with nothing, and wakes nobody.
            if let Poll::Ready(Some(answer)) = self.running.poll_next_unpin(cx) {
                return Poll::Ready(Happened::Answer(answer));
            }
            if self.running.len() < MAX_RUNNING
                && let Poll::Ready(received) = self.connection.poll_receive(cx)
            {
                self.pinged = None;
                return Poll::Ready(received.map_or_else(Happened::Fault, Happened::Message));
            }
            ready!(flushed).ok();
            match self.source.poll_next(cx) {
                Poll::Ready(Output::Frames(frames)) => {
                    self.last_sent = Instant::now();
                    self.connection.send(frames);
                }
                Poll::Ready(Output::End(close)) => return Poll::Ready(Happened::Ended(close)),
                Poll::Pending if self.connection.is_idle() => {
                    ready!(self.poll_silence(cx));
                    if let Some(close) = self.on_silence() {
                        return Poll::Ready(Happened::Ended(close));
                    }
                }
                // A pong, which reading has left.
                Poll::Pending => {}
            }
        }
    }

    /// Sends a sign of life, unless those before it brought none of the client. A client that is not read, because too many
    /// of its commands run, cannot have brought one.
    fn on_silence(&mut self) -> Option<Close> {
        if self.running.len() >= MAX_RUNNING {
            self.pinged = None;
        }
        let silent_for = |since: Instant| since.elapsed() >= PONG_LIMIT;
        if self.pinged.is_some_and(silent_for) {
            return Some(Close::silent());
        }
        self.pinged.get_or_insert_with(Instant::now);
        self.last_sent = Instant::now();
        let passed = self.source.passed();
        self.connection.send(passed.unwrap_or_default());
        self.connection.ping();
        None
    }

    /// Ready once nothing was sent for [`PING_INTERVAL`].
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.silence.as_mut().poll(cx));
            let until = self.last_sent + PING_INTERVAL;
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            self.silence.as_mut().reset(until);
        }
    }
}

/// Says why, waits until the client has closed as well, and ends the stream below.
async fn close<IO: AsyncRead + AsyncWrite + Unpin>(mut connection: Connection<IO>, ending: Ending) {
    let (reason, is_broken) = match ending {
        Ending::Close(reason) => (Some(reason), false),
        Ending::Broken(reason) => (Some(reason), true),
        Ending::Gone => (None, false),
    };
    let limit = match reason.as_ref().map(Close::code) {
        Some(1001) => LEAVING_LIMIT,
        Some(4408) => STALL_REST,
        _ => CLOSE_LIMIT,
    };
    connection.set_stall_limit(limit);
    if let Some(reason) = &reason {
        connection.close(reason);
    }
    let farewell = async {
        // Also what answers the client's own close.
        let written = std::future::poll_fn(|cx| connection.poll_flush(cx)).await;
        if written.is_err() {
            return;
        }
        if is_broken {
            std::future::poll_fn(|cx| connection.poll_discard(cx)).await;
        } else if reason.is_some() {
            while std::future::poll_fn(|cx| connection.poll_receive(cx))
                .await
                .is_ok()
            {}
        }
        std::future::poll_fn(|cx| connection.poll_shutdown(cx)).await;
    };
    if timeout(limit, farewell).await.is_err() {
        tracing::debug!("a client did not close its WebSocket in time");
    }
}

/// Ends a socket that never came to talk: `answer` goes first.
pub(super) async fn refuse<IO: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<IO>,
    answer: Bytes,
    reason: Close,
) {
    connection.send(answer);
    close(connection, Ending::Close(reason)).await;
}
