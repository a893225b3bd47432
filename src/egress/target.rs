//! From a host to a connection: its addresses are looked up once, each is checked, and what was checked is connected to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::refusal::Refusal;
use crate::egress_policy::{AllowList, Host, InstanceEgress, SessionEgress, effective, is_public};
use crate::socket_owner::is_here;

/// Longest a name may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(5);

/// Longest one address may take to answer.
const CONNECT: Duration = Duration::from_secs(5);

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;

/// Looks a name up.
pub(super) type Lookup =
    Box<dyn Fn(String, u16) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// How hosts are found.
pub(super) struct Targets {
    lookup: Lookup,
    /// Ports of this process: no list opens them.
    own_ports: Vec<u16>,
}

// === impl Targets ===

impl Targets {
    pub(super) fn new(own_ports: Vec<u16>) -> Self {
        let lookup: Lookup = Box::new(|name, port| {
            Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
        });
        Self { lookup, own_ports }
    }

    #[cfg(test)]
    pub(super) fn with_lookup(own_ports: Vec<u16>, lookup: Lookup) -> Self {
        Self { lookup, own_ports }
    }

    /// Connects to a host that may be asked for.
    pub(super) async fn connect(
        &self,
        (instance, session): (&InstanceEgress, &SessionEgress),
        host: &Host,
        port: u16,
    ) -> Result<TcpStream, Refusal> {
        let found = match host {
            Host::Address(ip) => vec![SocketAddr::new(*ip, port)],
            Host::Name(name) => {
                // The dot keeps the resolver from trying the name in the domains of the pod.
                let whole = format!("{name}.");
                let name = if name.contains('.') { &whole } else { name };
                let found = timeout(LOOKUP, (self.lookup)(name.clone(), port)).await;
                found.ok().and_then(Result::ok).ok_or(Refusal::Unresolved)?
            }
        };
        let mut refusal = Refusal::Unresolved;
        let mut tried = 0;
        for address in found {
            match self.check(instance, session, address.ip(), port) {
                Err(reason) => refusal = reason,
                Ok(()) if tried == MOST_ADDRESSES => break,
                Ok(()) => {
                    tried += 1;
                    match timeout(
                        CONNECT,
                        TcpStream::connect(SocketAddr::new(address.ip(), port)),
                    )
                    .await
                    {
                        Ok(Ok(stream)) => return Ok(stream),
                        Ok(Err(error)) => refusal = Refusal::Unreachable(error.kind().to_string()),
                        Err(_) => refusal = Refusal::Unreachable("it does not answer".into()),
                    }
                }
            }
        }
        Err(refusal)
    }

    /// Whether this address may be connected to, whatever name led to it.
    pub(super) fn check(
        &self,
        instance: &InstanceEgress,
        session: &SessionEgress,
        ip: IpAddr,
        port: u16,
    ) -> Result<(), Refusal> {
        let lists = [Some(&instance.list), session.list(&instance.list)];
        let all = |permits: &dyn Fn(&AllowList) -> bool| {
            lists.iter().all(|list| list.is_some_and(permits))
        };
        if is_here(ip) || is_here(effective(ip)) {
            if self.own_ports.contains(&port) {
                return Err(Refusal::OwnPort);
            }
            // A network that holds an address of this host was not meant to open what listens here.
            return all(&|list| list.has_exactly(ip, port))
                .then_some(())
                .ok_or(Refusal::Address);
        }
        let permitted = is_public(ip) || all(&|list| list.names_address(ip, port));
        permitted.then_some(()).ok_or(Refusal::Address)
    }
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Targets").finish_non_exhaustive()
    }
}
