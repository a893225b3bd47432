//! Calls that carry a secret, to servers that may be on this host.
//!
//! All containers of a pod share one loopback, and so does the agent: where a server is down, or listens on
//! one family only, the agent can listen in its place. So a connection to an address of this host is
//! checked after it is made and before anything is written: the process at its other end must not descend from us
//! ([`socket_owner`](crate::socket_owner)). Connections that are kept are of a server that was checked.
//!
//! Owns the two kinds of HTTP client for that. The one for other hosts cannot connect to this one, whatever a
//! name resolves to; each server of this host has a client of its own. `localhost` is 127.0.0.1 and nothing
//! else. Does not know what is sent.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Request, Response, Url};
use tower::util::AndThenLayer;

use crate::socket_owner::{Finder, Owner, is_here};

/// What kind of client is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For servers on other hosts.
    Remote,
    /// For one on this host: no proxy leads there. Certificates are needed for https only.
    Local { https: bool },
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("{0}")]
    NoClient(String),
    #[error(transparent)]
    Untrusted(Untrusted),
    #[error(transparent)]
    Call(reqwest::Error),
}

/// Why a server on this host gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untrusted {
    #[error("the server there is run by the agent or its tools, so nothing is sent to it")]
    Descendant,
    #[error(
        "it cannot be told that the server there is not run by the agent's tools, so no secret is sent to it; run it as another user than the sidecar"
    )]
    Unknown,
    /// A name that led elsewhere when it was first asked for.
    #[error("its name leads to this host now, and did not before")]
    Moved,
}

/// Makes a client of each kind.
type Make = dyn Fn(Kind) -> Result<ClientBuilder, String> + Send + Sync;

/// Calls servers anywhere.
pub(crate) struct Caller {
    finder: Finder,
    make: Box<Make>,
    /// Names and ports of proxies, which get what goes to others.
    proxies: Vec<(String, u16)>,
    remote: Mutex<Option<Client>>,
    local: Mutex<HashMap<Server, Client>>,
    /// Where names led when they were first asked for; `None` is to another host.
    names: Mutex<HashMap<String, Option<IpAddr>>>,
}

/// A server on this host, and what may be sent to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Server {
    host: String,
    address: SocketAddr,
    https: bool,
    has_secret: bool,
}

/// Names and servers that are remembered. Past that all are forgotten and looked up anew.
const MAX_KNOWN: usize = 256;

/// Behind a proxy a name may not resolve here; then only the proxy knows it.
const LOOKUP: Duration = Duration::from_secs(2);

// === impl Caller ===

impl Caller {
    /// `proxies` are the addresses in the proxy settings that `make` gives its remote clients.
    pub(crate) fn new(
        finder: Finder,
        proxies: &[Url],
        make: impl Fn(Kind) -> Result<ClientBuilder, String> + Send + Sync + 'static,
    ) -> Self {
        let server = |url: &Url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?));
        Self {
            finder,
            make: Box::new(make),
            proxies: proxies.iter().filter_map(server).collect(),
            remote: Mutex::default(),
            local: Mutex::default(),
            names: Mutex::default(),
        }
    }

    /// Sends it; to a server on this host only if that is trusted.
    pub(crate) async fn execute(&self, request: Request) -> Result<Response, SendError> {
        let client = match self.server(&request).await {
            Some(server) => self.local(server)?,
            None => self.remote()?,
        };
        let name = request.url().host_str().unwrap_or_default().to_owned();
        client.execute(request).await.map_err(|error| {
            let Some(&reason) = find_cause(&error) else {
                return SendError::Call(error);
            };
            // The next call resolves it again.
            self.names.lock().remove(&name);
            SendError::Untrusted(reason)
        })
    }

    /// The server a request is for, if that is on this host.
    async fn server(&self, request: &Request) -> Option<Server> {
        let url = request.url();
        let ip = match literal(url.host_str()?) {
            Some(ip) => Some(ip).filter(|ip| is_here(*ip)),
            None => self.lookup(url.host_str()?).await,
        }?;
        Some(Server {
            host: url.host_str()?.to_owned(),
            address: SocketAddr::new(ip, url.port_or_known_default()?),
            https: url.scheme() == "https",
            has_secret: request
                .headers()
                .values()
                .any(http::HeaderValue::is_sensitive),
        })
    }

    /// The address of this host that a name leads to.
    async fn lookup(&self, name: &str) -> Option<IpAddr> {
        if let Some(known) = self.names.lock().get(name) {
            return *known;
        }
        let found = tokio::time::timeout(LOOKUP, addresses(name)).await;
        let found = found.ok().and_then(Result::ok).unwrap_or_default();
        let mut here: Vec<IpAddr> = found.into_iter().filter(|ip| is_here(*ip)).collect();
        here.sort_unstable_by_key(IpAddr::is_ipv6);
        let first = here.first().copied();
        let mut names = self.names.lock();
        if names.len() >= MAX_KNOWN {
            names.clear();
        }
        names.insert(name.to_owned(), first);
        first
    }

    fn remote(&self) -> Result<Client, SendError> {
        let mut remote = self.remote.lock();
        if let Some(client) = &*remote {
            return Ok(client.clone());
        }
        let here = |(host, port): &(String, u16)| {
            let ip = literal(host).filter(|ip| is_here(*ip))?;
            Some(SocketAddr::new(ip, *port))
        };
        let check = self.check(self.proxies.iter().filter_map(here).collect(), true);
        let resolver = OtherHosts {
            proxies: self.proxies.clone(),
            check: Arc::clone(&check),
        };
        let mut builder = (self.make)(Kind::Remote)
            .map_err(SendError::NoClient)?
            .dns_resolver(Arc::new(resolver));
        if !self.proxies.is_empty() {
            builder = builder.connector_layer(AndThenLayer::new(checked(check)));
        }
        Ok(remote.insert(built(builder)?).clone())
    }

    fn local(&self, server: Server) -> Result<Client, SendError> {
        let mut local = self.local.lock();
        if let Some(client) = local.get(&server) {
            return Ok(client.clone());
        }
        let kind = Kind::Local {
            https: server.https,
        };
        let check = self.check(vec![server.address], server.has_secret);
        let builder = (self.make)(kind)
            .map_err(SendError::NoClient)?
            .no_proxy()
            .resolve(&server.host, server.address)
            .connector_layer(AndThenLayer::new(checked(check)));
        let client = built(builder)?;
        if local.len() >= MAX_KNOWN {
            local.clear();
        }
        local.insert(server, client.clone());
        Ok(client)
    }

    fn check(&self, servers: Vec<SocketAddr>, has_secret: bool) -> Arc<Check> {
        Arc::new(Check {
            finder: self.finder.clone(),
            servers: Mutex::new(servers),
            has_secret,
        })
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

fn built(builder: ClientBuilder) -> Result<Client, SendError> {
    builder
        .build()
        .map_err(|error| SendError::NoClient(innermost(&error)))
}

/// The address that a URL's host is itself, or that `localhost` stands for.
fn literal(host: &str) -> Option<IpAddr> {
    if host.trim_end_matches('.') == "localhost" {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    host.trim_matches(['[', ']']).parse().ok()
}

async fn addresses(name: &str) -> std::io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

/// The last cause: it says what happened.
pub(crate) fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The first cause of `error` that is a `T`. An `io::Error` has what it wraps as itself and not as its source,
/// and connectors wrap more than once.
pub(crate) fn find_cause<T: Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        let mut inside = Some(inner);
        while let Some(error) = inside {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            let wrapper = error.downcast_ref::<std::io::Error>();
            inside = wrapper.and_then(|wrapper| Some(wrapper.get_ref()? as _));
        }
        cause = inner.source();
    }
    None
}

/// Resolves names, and refuses those that lead to this host. A proxy may be here: it is checked.
struct OtherHosts {
    proxies: Vec<(String, u16)>,
    check: Arc<Check>,
}

impl Resolve for OtherHosts {
    fn resolve(&self, name: Name) -> Resolving {
        let is_it = |(host, _): &&(String, u16)| host.eq_ignore_ascii_case(name.as_str());
        let port = self.proxies.iter().find(is_it).map(|(_, port)| *port);
        let check = Arc::clone(&self.check);
        Box::pin(async move {
            let found = match literal(name.as_str()) {
                Some(ip) => vec![ip],
                None => addresses(name.as_str()).await?,
            };
            for ip in found.iter().filter(|ip| is_here(**ip)) {
                let port = port.ok_or(Untrusted::Moved)?;
                check.add(SocketAddr::new(*ip, port));
            }
            let found: Addrs = Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(found)
        })
    }
}

/// Checks the servers of this host when a connection was made, before it is used.
#[derive(Debug)]
struct Check {
    finder: Finder,
    servers: Mutex<Vec<SocketAddr>>,
    has_secret: bool,
}

// === impl Check ===

impl Check {
    fn add(&self, server: SocketAddr) {
        let mut servers = self.servers.lock();
        if !servers.contains(&server) {
            servers.push(server);
        }
    }

    async fn run(&self) -> Result<(), Untrusted> {
        let servers = self.servers.lock().clone();
        for server in servers {
            match self.finder.server(server).await {
                Owner::Descendant => return Err(Untrusted::Descendant),
                Owner::Unknown if self.has_secret => return Err(Untrusted::Unknown),
                Owner::Other | Owner::Unknown => {}
            }
        }
        Ok(())
    }
}

type BoxError = Box<dyn Error + Send + Sync>;
type Checking<C> = Pin<Box<dyn Future<Output = Result<C, BoxError>> + Send>>;

/// What a connector does with each new connection.
fn checked<C: Send + 'static>(
    check: Arc<Check>,
) -> impl Fn(C) -> Checking<C> + Clone + Send + Sync + 'static {
    move |connection| {
        let check = Arc::clone(&check);
        Box::pin(async move {
            check.run().await?;
            Ok(connection)
        })
    }
}

#[cfg(test)]
mod tests;
