//! One connection of a tool: its request, the decision, the tunnel.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::head::{self, Head, Kind, MAX_HEAD};
use super::refusal::{Refusal, named};
use super::sessions::{Known, Place};
use super::shared::Shared;
use super::tunnel;
use crate::egress_policy::{Host, SessionEgress};
use crate::unauthenticated::Connection;
use crate::{audit, metrics};

/// Longest a connection may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest a refused client may take to read the answer.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a refused client may have sent already. Closing with it unread would take the answer away.
const MAX_UNREAD: u64 = 1 << 20;

const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// A request that was let in.
struct Admitted {
    known: Arc<Known>,
    /// Held as long as the connection.
    _place: (Place, OwnedSemaphorePermit),
}

/// Serves it to its end.
pub(super) async fn serve(mut client: TcpStream, shared: &Shared, newcomer: Connection) {
    // Best effort: without it a small chunk may wait for an acknowledgement.
    client.set_nodelay(true).ok();
    let reading = timeout(HEAD_TIMEOUT, read_head(&mut client));
    let (head, rest) = match reading.await {
        Ok(Ok(Some(read))) => read,
        Ok(Err(refusal)) => return refuse(&mut client, &refusal, "").await,
        // It sent nothing, or not all of it in time.
        Ok(Ok(None)) | Err(_) => return,
    };
    let name = named(&head.host, head.port);
    let Some(known) = shared.sessions.authenticate(head.credential.as_ref()) else {
        return refuse(&mut client, &Refusal::Credential, &name).await;
    };
    newcomer.authenticated();
    let admitted = match admit(shared, known) {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(&mut client, &refusal, &name).await,
    };
    let known = &admitted.known;
    let work = async {
        // From before it is decided: no change is missed.
        let mut egress_rx = known.egress.subscribe();
        match open(shared, known, &head).await {
            Ok(mut server) => {
                metrics::egress::decided("allowed");
                let peer = server.peer_addr();
                tokio::select! {
                    () = unlisted(&mut egress_rx, shared, known, (&head.host, head.port, peer)) => {}
                    passed = pass(&mut client, &mut server, &head.kind, &rest) => drop(passed),
                }
            }
            Err(refusal) => {
                tell(known, &refusal, &head);
                refuse(&mut client, &refusal, &name).await;
            }
        }
    };
    tokio::select! {
        () = known.revoked.cancelled() => {}
        () = work => {}
    }
}

/// The head and what came after it. `None`: the client hung up.
async fn read_head(client: &mut TcpStream) -> Result<Option<(Head, Vec<u8>)>, Refusal> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let room = MAX_HEAD.saturating_sub(bytes.len()).max(1);
        let read = client.take(room as u64).read_buf(&mut bytes).await;
        if read.unwrap_or(0) == 0 {
            return Ok(None);
        }
        if let Some(head) = head::parse(&bytes)? {
            let rest = bytes.split_off(head.length);
            return Ok(Some((head, rest)));
        }
    }
}

fn admit(shared: &Shared, known: Arc<Known>) -> Result<Admitted, Refusal> {
    let place = known.enter()?;
    let permit = Arc::clone(&shared.tunnels).try_acquire_owned();
    let permit = permit.map_err(|_| Refusal::Crowded)?;
    Ok(Admitted {
        known,
        _place: (place, permit),
    })
}

async fn open(shared: &Shared, known: &Known, head: &Head) -> Result<TcpStream, Refusal> {
    known.check(&shared.instance, &head.host, head.port)?;
    let session = known.egress.borrow().clone();
    let policy = (&*shared.instance, &*session);
    shared.targets.connect(policy, &head.host, head.port).await
}

/// Waits until the session may not reach this host any more.
async fn unlisted(
    egress_rx: &mut watch::Receiver<Arc<SessionEgress>>,
    shared: &Shared,
    known: &Known,
    (host, port, peer): (&Host, u16, io::Result<SocketAddr>),
) {
    while egress_rx.changed().await.is_ok() {
        let egress = egress_rx.borrow_and_update().clone();
        let (instance, targets) = (&shared.instance, &shared.targets);
        let is_allowed = peer
            .as_ref()
            .is_ok_and(|peer| targets.check(instance, &egress, peer.ip(), port).is_ok());
        if known.check(instance, host, port).is_err() || !is_allowed {
            return;
        }
    }
}

async fn pass(
    client: &mut TcpStream,
    server: &mut TcpStream,
    kind: &Kind,
    rest: &[u8],
) -> io::Result<()> {
    server.set_nodelay(true)?;
    match kind {
        Kind::Tunnel => client.write_all(CONNECTED).await?,
        Kind::Forward(request) => server.write_all(request).await?,
    }
    server.write_all(rest).await?;
    tunnel::run(client, server).await
}

/// Writes it down, and lets the session know.
fn tell(known: &Known, refusal: &Refusal, head: &Head) {
    if refusal.is_denial() {
        let (subject, reason) = (&known.subject, refusal.word());
        let name = named(&head.host, head.port);
        audit::egress_denied(&subject.session, subject.turn, &name, reason);
        known.decisions.note(&head.host, head.port, Some(reason));
    }
}

/// Answers and closes.
async fn refuse(client: &mut TcpStream, refusal: &Refusal, name: &str) {
    metrics::egress::decided(refusal.word());
    let answer = refusal.answer(name);
    let farewell = async {
        client.write_all(answer.text.as_bytes()).await?;
        client.shutdown().await?;
        let mut unread = client.take(MAX_UNREAD);
        tokio::io::copy(&mut unread, &mut tokio::io::sink()).await
    };
    drop(timeout(FAREWELL, farewell).await);
}
