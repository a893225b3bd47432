//! The connections to the providers.
//!
//! Owns the HTTP client: rustls with ring, HTTP/2 where offered, the system's certificates and those of
//! `EXTRA_CA_FILE`, the proxies it was given. It is built on the first call, because the certificates
//! alone are larger than the rest of an idle sidecar. It follows no redirect and reads no environment.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, NoProxy, Proxy};
use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use tokio::sync::OnceCell;

use super::error::ForwardError;
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

/// A client that does not exist until it is needed.
#[derive(Debug)]
pub(super) struct Lazy {
    extra: Vec<CertificateDer<'static>>,
    proxies: Vec<Proxy>,
    client: OnceCell<Client>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Long enough to serve the next step of a turn, shorter than the patience of load balancers.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// A dead HTTP/2 connection would take every session's calls with it.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

// === impl Lazy ===

impl Lazy {
    /// Reads what a wrong setting would break, so that it breaks at start.
    pub(super) fn new(
        extra_ca_file: Option<&PathBuf>,
        proxy: &ProxySettings,
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
        Ok(Self {
            extra,
            proxies: proxies(proxy)?,
            client: OnceCell::new(),
        })
    }

    pub(super) async fn client(&self) -> Result<&Client, ForwardError> {
        self.client.get_or_try_init(|| async { self.build() }).await
    }

    fn build(&self) -> Result<Client, ForwardError> {
        let tls = trust::client(&self.extra)
            .map_err(|error| ForwardError::NoClient(error.to_string()))?;
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_adaptive_window(true)
            .user_agent(concat!("opencode-sidecar/", env!("CARGO_PKG_VERSION")));
        for proxy in &self.proxies {
            builder = builder.proxy(proxy.clone());
        }
        builder
            .build()
            .map_err(|error| ForwardError::NoClient(innermost(&error)))
    }
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
pub(super) fn explain(error: &reqwest::Error, authority: &str) -> ForwardError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(rustls::Error::InvalidCertificate(reason)) = as_tls(inner) {
            return ForwardError::Certificate(in_words(reason));
        }
        cause = inner.source();
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

/// The TLS error that this error is. An `io::Error` has the error it wraps as itself and not as its
/// source, and connectors wrap more than once.
fn as_tls<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    while let Some(wrapper) = error.downcast_ref::<std::io::Error>() {
        error = wrapper.get_ref()?;
    }
    error.downcast_ref()
}

fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
