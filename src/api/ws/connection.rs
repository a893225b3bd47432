//! The wire of one WebSocket: messages in, finished frames out.
//!
//! Reading is tungstenite's, which knows the protocol and writes pongs and close frames. Writing is ours: frames come from
//! outside as bytes that all readers share, and are written as they are, so a reader costs no copy and no buffer of its own.
//! Both sides are bounded: what a client sends by [`Bucket`]s, past which it is read no further, and how long it may read
//! nothing by [`STALL_LIMIT`]. Nothing here waits by itself: it is polled by the conversation.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use super::bucket::Bucket;
use super::close::Close;
use crate::api::write_timeout::WRITE_TIMEOUT;

/// How long a client may read nothing. The socket below ends at [`WRITE_TIMEOUT`]; between the two the client is told why, in
/// case it reads again.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(25);

/// How long the rest may take after that.
pub(super) const STALL_REST: Duration = WRITE_TIMEOUT.saturating_sub(STALL_LIMIT);

/// Messages a client may send at once, and in a second from then on, pings and pongs included.
const MESSAGES: (u64, u64) = (64, 20);

/// Bytes a client may send at once, and in a second from then on: messages of many fragments count as one.
const BYTES: (u64, u64) = (1 << 20, 4 << 20);

/// Frames that wait while one is written. A client that asks and reads no answers is not read beyond that.
const MAX_OUTGOING: usize = 16;

/// Read at once; most sockets of this service hardly send anything.
const READ_BUFFER: usize = 4096;

#[derive(Debug)]
pub(crate) struct Connection<IO> {
    io: IO,
    protocol: WebSocketContext,
    /// Whole frames, oldest first; the first may be written in part.
    outgoing: VecDeque<Bytes>,
    unflushed: bool,
    messages: Bucket,
    bytes: Bucket,
    /// Set while nothing may be read for a while.
    throttle: Option<Pin<Box<Sleep>>>,
    /// Set while the client reads nothing.
    stall: Option<Pin<Box<Sleep>>>,
    stall_limit: Duration,
}

/// Why nothing more can be received or sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The client closed, or the socket is gone.
    Gone,
    /// The client read nothing for too long.
    Stalled,
    /// What the client sent is not what may be sent.
    Wrong(Close),
}

// === impl Connection ===

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    pub(super) fn new(io: IO, max_message: usize) -> Self {
        let now = Instant::now().into_std();
        Self {
            io,
            protocol: WebSocketContext::new(Role::Server, Some(config(max_message))),
            outgoing: VecDeque::new(),
            unflushed: false,
            messages: Bucket::new(MESSAGES.0, MESSAGES.1, now),
            bytes: Bucket::new(BYTES.0, BYTES.1, now),
            throttle: None,
            stall: None,
            stall_limit: STALL_LIMIT,
        }
    }

    /// The largest message from now on.
    pub(super) fn set_max_message(&mut self, bytes: usize) {
        self.protocol.set_config(|limits| *limits = config(bytes));
    }

    /// How long the client may read nothing from now on.
    pub(super) fn set_stall_limit(&mut self, limit: Duration) {
        self.stall_limit = limit;
        self.stall = None;
    }

    /// Whole frames, to be written after what waits already.
    pub(super) fn send(&mut self, frames: Bytes) {
        if !frames.is_empty() {
            self.outgoing.push_back(frames);
        }
    }

    pub(super) fn ping(&mut self) {
        self.control(Message::Ping(Bytes::new()));
    }

    pub(super) fn close(&mut self, close: &Close) {
        self.control(Message::Close(Some(close.frame())));
    }

    fn control(&mut self, message: Message) {
        let mut control = Vec::new();
        let mut wire = Wire::<IO> {
            read: None,
            control: &mut control,
        };
        // It goes into a buffer, which takes everything. After a close nothing more is sent.
        let sent = self.protocol.write(&mut wire, message);
        drop(sent.and_then(|()| self.protocol.flush(&mut wire)));
        self.send(control.into());
    }

    /// Nothing waits to be written.
    pub(super) fn is_idle(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// The next message. Nothing while the client has sent more than it may, or reads no answers.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Fault>> {
        if self.outgoing.len() >= MAX_OUTGOING {
            // It is full only while the socket takes nothing, and wakes the task when it does.
            return Poll::Pending;
        }
        let allowed = ready!(self.poll_allowance(cx));
        let mut control = Vec::new();
        let mut left = allowed;
        let mut wire = Wire {
            read: Some((&mut self.io, &mut *cx, &mut left)),
            control: &mut control,
        };
        let read = self.protocol.read(&mut wire);
        self.bytes.take(allowed - left);
        self.send(control.into());
        match read {
            Ok(message) => {
                self.messages.take(1);
                Poll::Ready(Ok(message))
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if left == 0 {
                    // It stopped because of the limit, so the socket wakes nobody.
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(fault(&error))),
        }
    }

    /// How many bytes may be read now, once there are any.
    fn poll_allowance(&mut self, cx: &mut Context<'_>) -> Poll<u64> {
        loop {
            if let Some(throttle) = &mut self.throttle {
                ready!(throttle.as_mut().poll(cx));
                self.throttle = None;
            }
            let now = Instant::now().into_std();
            let bytes = self.bytes.left(now);
            let wait = if self.messages.left(now) == 0 {
                self.messages.wait()
            } else if bytes == 0 {
                self.bytes.wait()
            } else {
                return Poll::Ready(bytes);
            };
            self.throttle = Some(Box::pin(sleep(wait)));
        }
    }

    /// Writes what waits. Ready when all of it is with the socket.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while let Some(frames) = self.outgoing.front_mut() {
            match Pin::new(&mut self.io).poll_write(cx, frames) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Fault::Gone)),
                Poll::Ready(Ok(written)) => {
                    frames.advance(written);
                    if frames.is_empty() {
                        self.outgoing.pop_front();
                    }
                    self.unflushed = true;
                    self.stall = None;
                }
                Poll::Pending => return self.poll_stall(cx),
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Fault::Gone)),
                Poll::Pending => return self.poll_stall(cx),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let limit = self.stall_limit;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(Fault::Stalled))
    }

    /// Reads what comes and drops it, until the client has closed.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waste = [0; READ_BUFFER];
        loop {
            let mut buffer = ReadBuf::new(&mut waste);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }

    /// Ends the socket's own stream, after everything was written.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.io).poll_shutdown(cx).map(drop)
    }
}

fn config(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        // Pongs and close frames are handed over at once.
        .write_buffer_size(0)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}

fn fault(error: &Error) -> Fault {
    match error {
        Error::Capacity(_) => Fault::Wrong(Close::too_large()),
        Error::Utf8(_) => Fault::Wrong(Close::not_utf8()),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Fault::Gone,
        Error::Protocol(_) => Fault::Wrong(Close::protocol()),
        _ => Fault::Gone,
    }
}

/// The socket as tungstenite wants it, during one poll: it reads from the socket as much as is allowed, and what it writes is
/// collected.
struct Wire<'a, 'b, IO> {
    read: Option<(&'a mut IO, &'a mut Context<'b>, &'a mut u64)>,
    control: &'a mut Vec<u8>,
}

// === impl Wire ===

impl<IO: AsyncRead + Unpin> Read for Wire<'_, '_, IO> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((io, cx, left)) = &mut self.read else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let most = usize::try_from(**left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        if most == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut buffer = ReadBuf::new(buffer.get_mut(..most).unwrap_or_default());
        match Pin::new(&mut **io).poll_read(cx, &mut buffer) {
            Poll::Ready(read) => read?,
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
        }
        let count = buffer.filled().len();
        **left -= count as u64;
        Ok(count)
    }
}

impl<IO> Write for Wire<'_, '_, IO> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.control.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
