//! A client that follows one session through everything: it reads in odd pieces, comes back with the
//! cursor it has, and cuts its own connection wherever it is, in the middle of a frame too.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::dice::Dice;
use crate::support::TEST_TIMEOUT;
use crate::trace::{Body, Connection, End, Frame, Trace};

/// How long a read waits before the client looks whether it was told something.
const LOOK: Duration = Duration::from_millis(50);

/// How long a client may take to get the rest once the session has ended.
const LAST: Duration = Duration::from_secs(20);

/// What the clients of one session are told.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// Counts the times that all connections are to be cut.
    pub(crate) cuts: AtomicU64,
    pub(crate) until: Mutex<Until>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Until {
    /// The session goes on.
    #[default]
    Open,
    /// This event is its last.
    Event(String),
    /// It does not exist, or nobody knows how it ends.
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) address: SocketAddr,
    pub(crate) id: String,
    pub(crate) orders: Arc<Orders>,
    pub(crate) dice: Dice,
    /// Whether it cuts its own connections.
    pub(crate) restless: bool,
    cursor: Option<String>,
    trace: Trace,
    /// How many orders to cut it has carried out.
    cut: u64,
}

// === impl Follower ===

impl Follower {
    pub(crate) fn new(
        address: SocketAddr,
        id: &str,
        orders: Arc<Orders>,
        dice: Dice,
        (restless, reasoning): (bool, bool),
    ) -> Self {
        let name = format!("{id}, restless {restless}, reasoning {reasoning}");
        Self {
            address,
            id: id.to_owned(),
            orders,
            dice,
            restless,
            cursor: None,
            trace: Trace {
                name,
                reasoning,
                ..Trace::default()
            },
            cut: 0,
        }
    }

    /// Follows to the last event there is.
    pub(crate) fn run(mut self) -> Trace {
        let mut told = None;
        loop {
            let until = self.orders.until.lock().clone();
            let there = match &until {
                Until::Open => false,
                Until::Event(last) => self.cursor.as_ref() == Some(last),
                Until::Nothing => true,
            };
            if there {
                return self.trace;
            }
            if until != Until::Open {
                let since = *told.get_or_insert_with(Instant::now);
                if since.elapsed() > LAST {
                    self.trace.stuck = Some(format!("at {:?} instead of {until:?}", self.cursor));
                    return self.trace;
                }
            }
            if let Err(error) = self.connect() {
                self.trace.stuck = Some(error);
                return self.trace;
            }
            // The server says when to come back; a test is in a greater hurry.
            std::thread::sleep(LOOK);
        }
    }

    fn connect(&mut self) -> Result<(), String> {
        let Ok(mut socket) = TcpStream::connect_timeout(&self.address, TEST_TIMEOUT) else {
            return Ok(());
        };
        let query = if self.trace.reasoning {
            "?include=reasoning"
        } else {
            ""
        };
        let cursor = self.cursor.as_ref();
        let cursor = cursor.map_or_else(String::new, |id| format!("last-event-id: {id}\r\n"));
        let request = format!(
            "GET /sessions/{}/stream{query} HTTP/1.1\r\nhost: chaos\r\n{cursor}\r\n",
            self.id
        );
        if socket.set_read_timeout(Some(LOOK)).is_err()
            || socket.write_all(request.as_bytes()).is_err()
        {
            return Ok(());
        }
        let Some((status, start)) = self.head(&mut socket) else {
            return Ok(());
        };
        self.trace.connections.push(Connection {
            asked: self.cursor.clone(),
            status,
            frames: Vec::new(),
            end: End::Clean,
        });
        if status == 200 {
            let end = self.body(&mut socket, &start)?;
            self.connection().end = end;
        }
        Ok(())
    }

    fn connection(&mut self) -> &mut Connection {
        self.trace.connections.last_mut().unwrap()
    }

    /// The status, and what came behind the head.
    fn head(&self, socket: &mut TcpStream) -> Option<(u16, Vec<u8>)> {
        let mut got = Vec::new();
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            if let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&got[..end]).into_owned();
                let status = head.split(' ').nth(1)?.parse().ok()?;
                return Some((status, got.split_off(end + 4)));
            }
            let mut piece = [0; 512];
            match socket.read(&mut piece) {
                Ok(0) => return None,
                Ok(count) => got.extend(&piece[..count]),
                Err(error) if waits(&error) && Instant::now() < deadline => {
                    if *self.orders.until.lock() == Until::Nothing {
                        return None;
                    }
                }
                Err(_) => return None,
            }
        }
    }

    fn body(&mut self, socket: &mut TcpStream, start: &[u8]) -> Result<End, String> {
        let mut body = Body::default();
        let mut allowance = if self.restless {
            self.dice.within(1, 6_000)
        } else {
            u64::MAX
        };
        self.take(&mut body, start)?;
        loop {
            if body.ended {
                return if body.has_remains() {
                    Err("the body ends in the middle of a frame".into())
                } else {
                    Ok(End::Clean)
                };
            }
            let cuts = self.orders.cuts.load(Ordering::Relaxed);
            if allowance == 0 || cuts > self.cut {
                self.cut = cuts;
                // A kernel that still has bytes for us answers this with a reset.
                socket.shutdown(Shutdown::Both).ok();
                return Ok(End::Cut);
            }
            let size = self.dice.within(1, 700).min(allowance);
            let mut piece = vec![0; usize::try_from(size).unwrap()];
            match socket.read(&mut piece) {
                Ok(0) => return Ok(End::Broken),
                Ok(count) => {
                    allowance -= u64::try_from(count).unwrap();
                    self.take(&mut body, &piece[..count])?;
                }
                Err(error) if waits(&error) => {
                    if *self.orders.until.lock() == Until::Nothing {
                        return Ok(End::Cut);
                    }
                }
                Err(_) => return Ok(End::Broken),
            }
        }
    }

    /// As an `EventSource` does it: only a whole block counts, and its id is the cursor from then on.
    fn take(&mut self, body: &mut Body, bytes: &[u8]) -> Result<(), String> {
        for block in body.feed(bytes)? {
            if let Some(frame) = Frame::parse(&block)? {
                if frame.id.is_some() {
                    self.cursor.clone_from(&frame.id);
                }
                if frame.kind != "heartbeat" {
                    self.connection().frames.push(frame);
                }
            }
        }
        Ok(())
    }
}

fn waits(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
