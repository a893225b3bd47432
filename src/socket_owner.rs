//! Whose process has the other end of a TCP connection within this host's network.
//!
//! All containers of a pod share one loopback, and so does the agent. Before such a connection is trusted,
//! with a key or with this API, its other end must belong to somebody who does not descend from us. The
//! network namespace lists every socket with its user and its inode; `/proc` tells who holds an inode, as far
//! as we may look. Proofs that a socket is not a descendant's, the cheap one first:
//!
//! 1. its user is none that a descendant of ours has or can become;
//! 2. a process that we see, and that does not descend from us, holds it;
//! 3. it was made in another cgroup than ours, and no descendant can have been there: another container;
//! 4. every descendant was looked through whole, twice, and none holds it or could hide it.
//!
//! Without one of them the answer is [`Owner::Unknown`], and that is not trusted: OpenCode's own descriptors
//! cannot be read where its binary is not readable, and any program can close its own.
//!
//! What ran under this process before it became the sidecar is not the agent's, and counts as somebody else.
//! Does not decide what becomes of a connection.

mod diagnosis;
mod processes;
mod socket;
mod table;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use self::processes::{Process, View};
use self::socket::{Socket, canonical};
use self::table::{Peer, Table};

/// Who has the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Proven not to descend from us.
    Other,
    /// A process that descends from us: OpenCode, or what its tools started.
    Descendant,
    /// Neither is proven.
    Unknown,
}

/// What could be said without looking through all descendants.
enum Judgement {
    Proven(Owner),
    /// Nobody was seen to hold these.
    Open(Vec<Socket>),
}

/// Finds owners. A cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct Finder {
    /// What descended from us before we started anything.
    earlier: Arc<Vec<Process>>,
    /// Those who asked last and are somebody else: they ask again, and are found without a search.
    known: Arc<Mutex<VecDeque<Process>>>,
    permits: Arc<Semaphore>,
}

/// Searches at one time: each reads much of `/proc`, and a hostile program can cause many.
const SEARCHES: usize = 2;

/// As many as ask all the time.
const MAX_KNOWN: usize = 8;

/// Longest a search may take, with its wait for a turn.
const DEADLINE: Duration = Duration::from_secs(5);

/// Processes come and go: a few looks nearly always find one moment that fits together.
const LOOKS: usize = 4;

/// How often it is tried to look through all descendants. One that starts or ends meanwhile cannot be looked
/// through, and a busy agent starts many.
const ATTEMPTS: usize = 12;

/// Between two attempts. No event tells that the agent's programs stopped coming and going.
const PAUSE: Duration = Duration::from_millis(25);

/// No attempt begins later than this. An agent that makes all of them fail must not hold up those who wait for
/// their turn.
const LAST_ATTEMPT: Duration = Duration::from_secs(2);

// === impl Finder ===

impl Finder {
    /// Takes what descends from us now as not ours. To be called before anything is started.
    pub(crate) fn new() -> Self {
        let mut looks = (1..LOOKS).map(|_| View::read());
        let whole = looks.find(View::is_whole).unwrap_or_else(View::read);
        Self {
            earlier: Arc::new(whole.descendants(&[])),
            known: Arc::default(),
            permits: Arc::new(Semaphore::new(SEARCHES)),
        }
    }

    /// Who has the client's end of a connection that `server` accepted from `client`. A client on another host
    /// is somebody else, without a look.
    pub(crate) async fn client(&self, client: SocketAddr, server: SocketAddr) -> Owner {
        let (client, server) = (canonical(client), canonical(server));
        if client.ip() != server.ip() && !is_here(client.ip()) {
            return Owner::Other;
        }
        self.find(move || Table::find_client(client, server)).await
    }

    /// Who serves `server`, an address of this host to which we are connected: every listener that may have
    /// got the connection, and everybody who has accepted one there.
    pub(crate) async fn server(&self, server: SocketAddr) -> Owner {
        let server = reached(server);
        self.find(move || Table::find_server(server)).await
    }

    async fn find(&self, which: impl FnOnce() -> Peer + Send + 'static) -> Owner {
        timeout(DEADLINE, self.search(which))
            .await
            .ok()
            .flatten()
            .unwrap_or(Owner::Unknown)
    }

    async fn search(&self, which: impl FnOnce() -> Peer + Send + 'static) -> Option<Owner> {
        let turn = Arc::new(self.permits.clone().acquire_owned().await.ok()?);
        let finder = self.clone();
        let judging = move || match which() {
            Peer::Sockets(sockets) => Some(finder.judge(sockets)),
            Peer::Unknown => None,
        };
        let sockets = match on_blocking_thread(&turn, judging).await?? {
            Judgement::Proven(owner) => return Some(owner),
            Judgement::Open(sockets) => sockets,
        };
        let begun = Instant::now();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            if begun.elapsed() > LAST_ATTEMPT {
                break;
            }
            let (earlier, sockets) = (Arc::clone(&self.earlier), sockets.clone());
            if on_blocking_thread(&turn, move || is_clear_of_us(&earlier, &sockets)).await? {
                return Some(Owner::Other);
            }
        }
        None
    }

    /// Whose `sockets` are, all of them together: one descendant's is enough.
    ///
    /// One look is often not whole while programs start and end. Each of them may show who holds a socket, so that
    /// an agent that keeps starting programs does not keep others waiting.
    fn judge(&self, mut open: Vec<Socket>) -> Judgement {
        if self.is_known(&open) {
            return Judgement::Proven(Owner::Other);
        }
        for _ in 0..LOOKS {
            let view = View::read();
            let ours = view.descendants(&self.earlier);
            if view.is_whole()
                && let Some(users) = processes::possible_users(&ours)
            {
                open.retain(|socket| users.contains(&socket.user));
            }
            if open.is_empty() {
                return Judgement::Proven(Owner::Other);
            }
            if ours.iter().any(|process| process.holds(&open)) {
                return Judgement::Proven(Owner::Descendant);
            }
            self.remember(view.remove_held_by_others(&ours, &mut open));
            if open.is_empty() {
                return Judgement::Proven(Owner::Other);
            }
            if view.is_whole() {
                break;
            }
        }
        if open.iter().any(|socket| socket.cgroup.is_some())
            && processes::is_confined_to_its_cgroup()
            && let Some(own) = diagnosis::own_cgroup()
        {
            open.retain(|socket| socket.cgroup.is_none_or(|cgroup| cgroup == own));
        }
        if open.is_empty() {
            Judgement::Proven(Owner::Other)
        } else {
            Judgement::Open(open)
        }
    }

    /// Whether somebody who was found before holds the one socket that is asked for. Who does not descend from us
    /// never will.
    fn is_known(&self, sockets: &[Socket]) -> bool {
        let known = self.known.lock().clone();
        sockets.len() == 1
            && known
                .iter()
                .any(|process| process.holds(sockets) && process.is_still_there())
    }

    fn remember(&self, processes: Vec<Process>) {
        let mut known = self.known.lock();
        for process in processes {
            known.push_front(process);
        }
        known.truncate(MAX_KNOWN);
    }
}

/// Whether an address leads to this host: loopback, all addresses, or one of its own.
pub(crate) fn is_here(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    // Only an own address can be bound. Nothing is sent.
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

/// The address that a connection really goes to: "all addresses" leads to loopback.
fn reached(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Does `work` where it may block. A search that was given up at its deadline ends only with its present piece of
/// work, and keeps its `turn` until then.
async fn on_blocking_thread<T: Send + 'static>(
    turn: &Arc<OwnedSemaphorePermit>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let turn = Arc::clone(turn);
    let work = move || {
        let _turn = turn;
        work()
    };
    tokio::task::spawn_blocking(work).await.ok()
}

/// Whether every descendant was looked through, twice, and none can have these sockets.
fn is_clear_of_us(earlier: &[Process], sockets: &[Socket]) -> bool {
    let cleared = || {
        let view = View::read();
        let ours = view.descendants(earlier);
        view.is_whole() && ours.iter().all(|process| process.cannot_hold(sockets))
    };
    processes::shows_descriptors_in_flight() && cleared() && cleared()
}

#[cfg(test)]
mod tests;
