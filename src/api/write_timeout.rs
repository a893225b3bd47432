//! A socket whose peer must keep reading: a write that makes no progress for too long is an error.
//!
//! The server does not poll a response body while its socket takes nothing, so a deadline in the body
//! would never be looked at. It is here, under the server, where a pending write always is. The error
//! ends the connection, and with it every stream on it.
//!
//! On HTTP/1.1 that is exactly the stalled reader. On HTTP/2 a socket is shared: a client that reads
//! nothing is closed the same way, but one that reads the socket and stalls a single stream by its
//! flow-control window is not seen here. Such a stream holds its place in the log and its permit, and no
//! data beyond one window, until the client or the connection goes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::metrics::stream as metrics;

/// How long a peer may accept nothing; part of the contract.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the kernel may hold for one peer. Left to itself it goes up to 4 MiB for a stalled one, and the
/// pod pays for it. (The kernel doubles the figure for its own use.)
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// A stream of bytes with a limit on how long its peer may not read.
#[derive(Debug)]
pub(crate) struct WriteTimeout<S> {
    socket: S,
    limit: Duration,
    /// When the limit is reached, while `stalled`. Made at the first stall: most sockets never need one.
    deadline: Option<Pin<Box<Sleep>>>,
    stalled: bool,
}

// === impl WriteTimeout ===

impl WriteTimeout<TcpStream> {
    /// Prepares an accepted connection.
    pub(crate) fn accept(socket: TcpStream, limit: Duration) -> io::Result<Self> {
        let options = SockRef::from(&socket);
        // An event must not wait for the one after it.
        options.set_tcp_nodelay(true)?;
        options.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        // A host that vanished acknowledges nothing, yet the kernel takes heartbeats for it for a
        // quarter of an hour. (It counts a window kept shut as well, so it often ends a stall first.)
        options.set_tcp_user_timeout(Some(limit))?;
        Ok(Self::new(socket, limit))
    }
}

impl<S> WriteTimeout<S> {
    pub(crate) const fn new(socket: S, limit: Duration) -> Self {
        Self {
            socket,
            limit,
            deadline: None,
            stalled: false,
        }
    }

    /// Passes on what a write came to, unless it has been pending for too long.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.stalled = false;
            return write;
        }
        let limit = self.limit;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.stalled {
            self.stalled = true;
            deadline.as_mut().reset(Instant::now() + limit);
        }
        ready!(deadline.as_mut().poll(cx));
        metrics::slow_reader_closed();
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer accepts nothing",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.bounded(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.bounded(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut self.socket).poll_flush(cx);
        self.bounded(cx, flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shutdown = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.bounded(cx, shutdown)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_given_up_after_exactly_the_patience() {
        let (socket, _peer) = tokio::io::duplex(100);
        let mut patient = WriteTimeout::new(socket, WRITE_TIMEOUT);
        let start = Instant::now();
        let error = patient.write_all(&[0; 101]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), WRITE_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_a_byte_now_and_then_is_borne_with() {
        let (socket, mut peer) = tokio::io::duplex(1);
        let mut patient = WriteTimeout::new(socket, WRITE_TIMEOUT);
        let read_slowly = async {
            for _ in 0..5 {
                sleep(WRITE_TIMEOUT * 9 / 10).await;
                peer.read_u8().await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(patient.write_all(&[0; 6]), read_slowly);
        written.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_a_stall() {
        let (socket, mut peer) = tokio::io::duplex(1);
        let mut patient = WriteTimeout::new(socket, WRITE_TIMEOUT);
        for _ in 0..3 {
            let (written, read) = tokio::join!(patient.write_all(&[1, 2]), async {
                sleep(WRITE_TIMEOUT / 2).await;
                (peer.read_u8().await, peer.read_u8().await)
            });
            written.unwrap();
            assert!(matches!(read, (Ok(1), Ok(2))));
            sleep(10 * WRITE_TIMEOUT).await;
        }
    }

    #[tokio::test]
    async fn a_real_socket_whose_peer_stalls_ends_with_an_error() {
        for vectored in [false, true] {
            stall(vectored).await;
        }
    }

    async fn stall(vectored: bool) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        // Not `accept`, which lets the kernel have the same limit.
        let mut patient = WriteTimeout::new(socket, Duration::from_millis(100));
        let endless = async {
            loop {
                if vectored {
                    let bufs = [IoSlice::new(&[0; 8 * 1024]); 2];
                    assert!(patient.write_vectored(&bufs).await? > 0);
                } else {
                    patient.write_all(&[0; 8 * 1024]).await?;
                }
            }
        };
        let error: io::Result<()> = tokio::time::timeout(Duration::from_secs(20), endless)
            .await
            .unwrap();
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
