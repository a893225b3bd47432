//! A client that follows a session, or all of them, through everything: it reads in odd pieces, comes back with the
//! cursor it has, and cuts its own connection wherever it is, in the middle of a frame too.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::dice::Dice;
use crate::socket::{Message, Messages};
use crate::support::{TEST_TIMEOUT, ws};
use crate::trace::{Body, Connection, End, Frame, Trace, place};

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

/// What is followed, and over what.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The stream of a session.
    Stream(String),
    /// A WebSocket of a session.
    Socket(String),
    /// The stream of all events, as far as they are of these sessions.
    All(Vec<String>),
}

/// How it reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Whether it cuts its own connections.
    pub(crate) restless: bool,
    /// Whether it is shown the model's thoughts.
    pub(crate) reasoning: bool,
}

#[derive(Debug)]
pub(crate) struct Follower {
    address: SocketAddr,
    source: Source,
    orders: Arc<Orders>,
    dice: Dice,
    restless: bool,
    cursor: Option<String>,
    trace: Trace,
    /// How many orders to cut it has carried out.
    cut: u64,
}

// === impl Follower ===

impl Follower {
    pub(crate) fn new(
        address: SocketAddr,
        source: Source,
        orders: Arc<Orders>,
        dice: Dice,
        Habits {
            restless,
            reasoning,
        }: Habits,
    ) -> Self {
        let name = format!("{source:?}, restless {restless}, reasoning {reasoning}");
        Self {
            address,
            source,
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
                Until::Event(last) => self.is_at(last),
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

    fn is_at(&self, last: &str) -> bool {
        let (here, last) = (self.cursor.as_deref().and_then(place), place(last));
        let here = here.zip(last);
        here.is_some_and(|(here, last)| here.0 == last.0 && here.1 >= last.1)
    }

    /// What is asked for. A web page has no headers of its own for a WebSocket, so the cursor is in the query there.
    fn request(&mut self) -> String {
        let include = if self.trace.reasoning {
            "reasoning"
        } else {
            ""
        };
        let cursor = self.cursor.as_ref();
        let header = cursor.map_or_else(String::new, |id| format!("last-event-id: {id}\r\n"));
        let (path, headers) = match &self.source {
            Source::Stream(id) => (format!("/sessions/{id}/stream?include={include}"), header),
            Source::All(ids) => {
                let ids = ids.join(",");
                (
                    format!("/events?session_id={ids}&include={include}"),
                    header,
                )
            }
            Source::Socket(id) => {
                let cursor = cursor.map_or("", String::as_str);
                let follow = self.dice.within(0, 1);
                (
                    format!(
                        "/sessions/{id}/ws?include={include}&follow={follow}&last_event_id={cursor}"
                    ),
                    "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        .to_owned(),
                )
            }
        };
        format!("GET {path} HTTP/1.1\r\nhost: chaos\r\n{headers}\r\n")
    }

    fn connect(&mut self) -> Result<(), String> {
        let Ok(mut socket) = TcpStream::connect_timeout(&self.address, TEST_TIMEOUT) else {
            return Ok(());
        };
        let request = self.request();
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
        if matches!(status, 101 | 200) {
            self.connection().status = 200;
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
        let mut wire = match self.source {
            Source::Socket(_) => Wire::Socket(Messages::default()),
            _ => Wire::Stream(Body::default()),
        };
        let mut allowance = if self.restless {
            self.dice.within(1, 6_000)
        } else {
            u64::MAX
        };
        let mut ended = self.take(&mut wire, start, socket)?;
        loop {
            if let Some(end) = ended {
                return Ok(end);
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
                    ended = self.take(&mut wire, &piece[..count], socket)?;
                }
                Err(error) if waits(&error) => {
                    // A socket stays when the session is idle.
                    let is_done = match &*self.orders.until.lock() {
                        Until::Open => false,
                        Until::Event(last) => self.is_at(last),
                        Until::Nothing => true,
                    };
                    if is_done {
                        return Ok(End::Cut);
                    }
                }
                Err(_) => return Ok(End::Broken),
            }
        }
    }

    /// As an `EventSource` does it: only a whole block counts, and its id is the cursor from then on. Says how the
    /// connection ends, if it does.
    fn take(
        &mut self,
        wire: &mut Wire,
        bytes: &[u8],
        socket: &mut TcpStream,
    ) -> Result<Option<End>, String> {
        match wire {
            Wire::Stream(body) => {
                for block in body.feed(bytes)? {
                    if let Some(frame) = Frame::parse(&block)? {
                        self.keep(frame);
                    }
                }
                match (body.ended, body.has_remains()) {
                    (true, true) => Err("the body ends in the middle of a frame".into()),
                    (ended, _) => Ok(ended.then_some(End::Clean)),
                }
            }
            Wire::Socket(messages) => {
                for message in messages.feed(bytes)? {
                    match message {
                        Message::Frame(frame) => self.keep(frame),
                        // A server that has gone takes nothing more.
                        Message::Ping => drop(socket.write_all(&ws::frame(true, ws::PONG, &[]))),
                        Message::Close(code) => return self.closed(code).map(Some),
                    }
                }
                Ok(None)
            }
        }
    }

    fn keep(&mut self, frame: Frame) {
        if frame.id.is_some() {
            self.cursor.clone_from(&frame.id);
        }
        if frame.kind != "heartbeat" {
            self.connection().frames.push(frame);
        }
    }

    /// What a close says, as a stream says it.
    fn closed(&mut self, code: u16) -> Result<End, String> {
        let connection = self.connection();
        match code {
            1000 if connection.frames.is_empty() => connection.status = 204,
            1000 | 1001 => {}
            // The disk cannot be read now.
            1013 => return Ok(End::Broken),
            4404 | 4410 | 4503 => connection.status = code - 4000,
            other => return Err(format!("a WebSocket was closed with {other}")),
        }
        Ok(End::Clean)
    }
}

/// What comes over a connection.
enum Wire {
    Stream(Body),
    Socket(Messages),
}

fn waits(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
