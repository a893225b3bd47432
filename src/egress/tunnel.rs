//! Bytes both ways, until both sides are done or nothing moves any more.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// A tunnel in which nothing moves for this long is cut.
const IDLE: Duration = Duration::from_mins(5);

/// What is held of each direction: more comes down than goes up. 200 tunnels hold less than 5 MiB.
const DOWN: usize = 16 << 10;
const UP: usize = 8 << 10;

/// Copies until both directions have ended.
pub(super) async fn run(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
    let moved = AtomicU64::new(0);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let copying = async {
        tokio::try_join!(
            copy(from_client, to_server, UP, &moved),
            copy(from_server, to_client, DOWN, &moved),
        )
    };
    tokio::select! {
        copied = copying => copied.map(drop),
        () = idle(&moved) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    size: usize,
    moved: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; size].into_boxed_slice();
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        to.write_all(bytes).await?;
        moved.fetch_add(1, Ordering::Relaxed);
    }
}

async fn idle(moved: &AtomicU64) {
    let mut before = moved.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(IDLE).await;
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_moves_a_byte_a_second_is_not_idle() {
        let moved = AtomicU64::new(0);
        let slow = async {
            for _ in 0..1200 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                moved.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = slow => {}
            () = idle(&moved) => panic!("something moves"),
        }
        tokio::time::timeout(IDLE * 2, idle(&moved)).await.unwrap();
    }
}
