//! The connections to the providers.
//!
//! Owns the HTTP clients: rustls with ring, HTTP/2 where offered, the system's certificates and those of
//! `EXTRA_CA_FILE`, the proxies it was given. They are built on the first call, because the certificates
//! alone are larger than the rest of an idle sidecar. They follow no redirect and read no environment.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, NoProxy, Proxy, Request, Response, Url};
use rustls::CertificateError;
use rustls::pki_types::CertificateDer;

use super::error::ForwardError;
use crate::outgoing::{Caller, Kind, SendError, find_cause, innermost};
use crate::provider::authority;
use crate::socket_owner::Finder;
use crate::trust;

/// Whether calls to providers go through a proxy.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct ProxySettings {
    /// Proxy for https calls to providers
    #[arg(long = "https-proxy")]
    pub(crate) https: Option<String>,
    /// Proxy for http calls to providers
    #[arg(long = "http-proxy")]
    pub(crate) http: Option<String>,
    /// Hosts that are called without a proxy
    // This machine always is.
    #[arg(long = "no-proxy")]
    pub(crate) except: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("read EXTRA_CA_FILE {path}: {detail}")]
    ExtraCa { path: PathBuf, detail: String },
    #[error("{name} is not a proxy address")]
    Proxy { name: &'static str },
}

/// Calls providers. A client does not exist until it is needed.
#[derive(Debug)]
pub(super) struct Providers {
    caller: Caller,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Long enough to serve the next step of a turn, shorter than the idle timeouts of load balancers.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// Calls of every session share an HTTP/2 connection, so a dead one has to be noticed.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

// === impl Providers ===

impl Providers {
    /// Reads the certificates and proxies, so that a wrong setting is an error at start.
    pub(super) fn new(
        extra_ca_file: Option<&PathBuf>,
        proxy: &ProxySettings,
        owners: Finder,
    ) -> Result<Self, UpstreamError> {
        let extra = extra_ca_file
            .map(|path| {
                trust::certificates(path).map_err(|detail| UpstreamError::ExtraCa {
                    path: path.clone(),
                    detail,
                })
            })
            .transpose()?
            .unwrap_or_default();
        let proxies = proxies(proxy)?;
        let make = move |kind| builder(kind, &extra, &proxies);
        Ok(Self {
            caller: Caller::new(owners, &addresses(proxy), make),
        })
    }

    /// Sends a call, and says without addresses or keys what went wrong on the way.
    pub(super) async fn execute(&self, request: Request) -> Result<Response, ForwardError> {
        let authority = authority(request.url());
        self.caller
            .execute(request)
            .await
            .map_err(|error| match error {
                SendError::NoClient(reason) => ForwardError::NoClient(reason),
                SendError::Untrusted(reason) => ForwardError::Untrusted(reason),
                SendError::Call(error) => explain(&error, &authority),
            })
    }
}

fn builder(
    kind: Kind,
    extra: &[CertificateDer<'static>],
    proxies: &[Proxy],
) -> Result<ClientBuilder, String> {
    let mut builder = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_adaptive_window(true)
        .user_agent(concat!("opencode-sidecar/", env!("CARGO_PKG_VERSION")));
    if kind == Kind::Remote {
        for proxy in proxies {
            builder = builder.proxy(proxy.clone());
        }
    }
    // The system's certificates are larger than the rest of an idle sidecar.
    if kind == (Kind::Local { https: false }) {
        return Ok(
            builder.tls_backend_preconfigured(trust::nobody().map_err(|error| error.to_string())?)
        );
    }
    let tls = trust::client(extra).map_err(|error| error.to_string())?;
    Ok(builder.tls_backend_preconfigured(tls))
}

/// A client for tests, which checks no server.
#[cfg(test)]
pub(super) fn plain_client() -> Client {
    builder(Kind::Local { https: false }, &[], &[])
        .unwrap()
        .build()
        .unwrap()
}

/// The addresses in the proxy settings.
fn addresses(settings: &ProxySettings) -> Vec<Url> {
    [&settings.https, &settings.http]
        .into_iter()
        .flatten()
        .filter_map(|url| Url::parse(url).ok())
        .collect()
}

fn proxies(settings: &ProxySettings) -> Result<Vec<Proxy>, UpstreamError> {
    // What runs on this machine is never behind a proxy.
    let local = "localhost,127.0.0.0/8,::1";
    let no_proxy = settings
        .except
        .as_ref()
        .map_or_else(|| local.to_owned(), |list| format!("{list},{local}"));
    let given = |value: &Option<String>| value.clone().filter(|value| !value.trim().is_empty());
    let mut proxies = Vec::new();
    if let Some(url) = given(&settings.https) {
        proxies.push(Proxy::https(url).map_err(|_| UpstreamError::Proxy {
            name: "HTTPS_PROXY",
        })?);
    }
    if let Some(url) = given(&settings.http) {
        proxies.push(Proxy::http(url).map_err(|_| UpstreamError::Proxy { name: "HTTP_PROXY" })?);
    }
    Ok(proxies
        .into_iter()
        .map(|proxy| proxy.no_proxy(NoProxy::from_string(&no_proxy)))
        .collect())
}

/// What went wrong on the way to the provider at `authority`, without keys.
fn explain(error: &reqwest::Error, authority: &str) -> ForwardError {
    if let Some(rustls::Error::InvalidCertificate(reason)) = find_cause(error) {
        return ForwardError::Certificate(in_words(reason));
    }
    ForwardError::Unreachable {
        authority: authority.to_owned(),
        detail: innermost(error),
    }
}

/// What is wrong with a certificate. Words only: a date has digits in which OpenCode finds a status, and
/// then it repeats what is final.
const fn in_words(reason: &CertificateError) -> &'static str {
    use CertificateError as E;
    match reason {
        E::Expired | E::ExpiredContext { .. } => "it has expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "it is not valid yet",
        E::NotValidForName | E::NotValidForNameContext { .. } => "it is for another name",
        E::UnknownIssuer => "its issuer is not known; EXTRA_CA_FILE can add one",
        E::Revoked => "it was revoked",
        _ => "it is not valid",
    }
}
