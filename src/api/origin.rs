//! Keeps web pages of other origins out, and names that an attacker's DNS gives to this address.
//!
//! A browser sends requests to any address that a page names: with `Origin`, with `Sec-Fetch-Site`, and
//! without asking first if the request is a simple one. So neither a private network nor loopback keeps a
//! page out, and a secret is no reason to run what a page sent. The rules are those of Go's
//! `http.CrossOriginProtection`: `Sec-Fetch-Site`, which no page can forge, says whether the page is ours;
//! where it is absent, `Origin` is compared with the host that was asked for. Programs send neither.
//!
//! A page whose name was made to point here (DNS rebinding) is of the same origin to its browser. Only the
//! name betrays it, so without a secret only names that no stranger can register are answered.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State as Extract};
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use reqwest::Url;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::authentication::SIDECAR_TOKEN;
use super::error::ApiError;
use super::middleware::REQUEST_ID;
use super::state::{State, WebRules};

/// What a browser says about the page that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    /// Our own page, a page that `CORS_ALLOW_ORIGINS` names where it counts, or no page at all.
    Accepted,
    Foreign,
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How long a browser may remember the answer to its preflight.
const PREFLIGHT_AGE: std::time::Duration = std::time::Duration::from_mins(10);

/// For routes that pages of `CORS_ALLOW_ORIGINS` may call.
pub(super) async fn require_listed_origin(
    Extract(state): Extract<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    let listed = &state.web.allow_origins;
    match page(&request, listed) {
        Page::Accepted => next.run(request).await,
        Page::Foreign => ApiError::foreign_origin().into_response(),
    }
}

/// For routes that move the child or end the process: no page of another origin may, whoever it is.
pub(super) async fn require_own_origin(request: Request, next: Next) -> Response {
    match page(&request, &[]) {
        Page::Accepted => next.run(request).await,
        Page::Foreign => ApiError::foreign_origin().into_response(),
    }
}

/// Without a secret: refuses names that a stranger may have pointed here.
pub(super) async fn known_host(
    Extract(state): Extract<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    if !state.secrets.required()
        && let Some(host) = unknown_host(&request, &state.web.allowed_hosts)
    {
        return ApiError::unknown_host(&host).into_response();
    }
    next.run(request).await
}

/// Lets the pages of `CORS_ALLOW_ORIGINS` read answers, and answers their preflights. Requests of other
/// pages do not come so far.
pub(super) fn cors(rules: &WebRules) -> Option<CorsLayer> {
    if rules.allow_origins.is_empty() {
        return None;
    }
    let origins = rules
        .allow_origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin).ok());
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            HeaderName::from_static("authorization"),
            HeaderName::from_static("content-type"),
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("x-project-dir"),
            SIDECAR_TOKEN,
            REQUEST_ID,
        ])
        .expose_headers([REQUEST_ID, HeaderName::from_static("retry-after")])
        .max_age(PREFLIGHT_AGE);
    Some(layer)
}

fn page(request: &Request, listed: &[String]) -> Page {
    let headers = request.headers();
    let origin = match single(headers, &ORIGIN) {
        Ok(origin) => origin,
        Err(DuplicateHeader) => return Page::Foreign,
    };
    let is_listed = origin.is_some_and(|origin| listed.iter().any(|one| one == origin));
    let accepted = match single(headers, &SEC_FETCH_SITE) {
        // The page and the request share scheme, name and port, whatever a proxy made of the name.
        Ok(Some("same-origin")) => true,
        // `none`: a person typed the address.
        Ok(Some("none") | None) => origin.is_none_or(|origin| is_listed || is_own(origin, request)),
        // `same-site` too: another port of this host, where the agent may serve a page.
        Ok(Some(_)) => is_listed,
        Err(DuplicateHeader) => false,
    };
    if accepted {
        Page::Accepted
    } else {
        Page::Foreign
    }
}

/// Whether a page of `origin` was loaded from the address that the request is for. The scheme is the
/// origin's: behind a proxy that ends TLS ours is another.
fn is_own(origin: &str, request: &Request) -> bool {
    let Ok(origin) = Url::parse(origin) else {
        return false;
    };
    let (Some(host), Some(port)) = (origin.host_str(), origin.port_or_known_default()) else {
        return false;
    };
    let mut asked_for = authorities(request).peekable();
    asked_for.peek().is_some()
        && asked_for.all(|authority| {
            authority.is_some_and(|authority| {
                let default = if origin.scheme() == "https" { 443 } else { 80 };
                authority.host().eq_ignore_ascii_case(host)
                    && authority.port_u16().unwrap_or(default) == port
            })
        })
}

/// The first name the request is for that is not accepted.
fn unknown_host(request: &Request, allowed: &[String]) -> Option<String> {
    authorities(request).find_map(|authority| match authority {
        Some(authority) if is_known(authority.host(), allowed) => None,
        Some(authority) => Some(authority.host().to_owned()),
        None => Some("its value".to_owned()),
    })
}

/// An address, a name of this host, a name of the cluster, or one of `ALLOWED_HOSTS`.
fn is_known(host: &str, allowed: &[String]) -> bool {
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    address.parse::<IpAddr>().is_ok()
        // `localhost` and the short names of services: nobody can register a name without a dot.
        || !host.contains('.')
        || host.rsplit('.').next() == Some("svc")
        || host.ends_with(".cluster.local")
        || allowed.iter().any(|one| one == host)
}

/// Every place where a request says whom it is for: the target (HTTP/2, or a whole URL), and `Host`. One that
/// is not an authority is `None`.
fn authorities(request: &Request) -> impl Iterator<Item = Option<Authority>> {
    let target = request.uri().authority().cloned().map(plain);
    let named = request.headers().get_all(HOST).into_iter().map(|value| {
        let authority = Authority::try_from(value.as_bytes()).ok()?;
        plain(authority)
    });
    target.into_iter().chain(named)
}

/// Without a user name: no browser sends one, and it would only serve to confuse.
fn plain(authority: Authority) -> Option<Authority> {
    (!authority.as_str().contains('@')).then_some(authority)
}

/// A header was sent more than once, or with other bytes than text.
struct DuplicateHeader;

fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, DuplicateHeader> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| DuplicateHeader),
        (Some(_), Some(_)) => Err(DuplicateHeader),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(target: &str, headers: &[(&str, &str)]) -> Request {
        let mut builder = Request::builder().uri(target);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(Body::empty()).unwrap()
    }

    fn foreign(headers: &[(&str, &str)], listed: &[&str]) -> bool {
        let listed: Vec<String> = listed.iter().map(|&one| one.to_owned()).collect();
        page(&request("/sessions", headers), &listed) == Page::Foreign
    }

    #[test]
    fn a_page_is_told_by_what_its_browser_says() {
        let host = ("host", "127.0.0.1:3003");
        let origin = |origin| ("origin", origin);
        let site = |site| ("sec-fetch-site", site);
        let evil = "http://evil.example";
        // A program, and a person at the address bar.
        assert!(!foreign(&[host], &[]));
        assert!(!foreign(&[host, site("none")], &[]));
        // A page of ours, in old browsers and behind a proxy that renames.
        assert!(!foreign(&[host, origin("http://127.0.0.1:3003")], &[]));
        assert!(!foreign(
            &[host, origin("https://d.example"), site("same-origin")],
            &[]
        ));
        let named = ("host", "Dash.Example");
        assert!(!foreign(&[named, origin("https://dash.example")], &[]));
        assert!(!foreign(&[named, origin("http://dash.example")], &[]));
        // Others.
        for bad in [
            evil,
            "null",
            "",
            "http://127.0.0.1:3004",
            "file://",
            "http://127.0.0.1",
        ] {
            assert!(foreign(&[host, origin(bad)], &[]), "{bad}");
        }
        assert!(foreign(
            &[host, origin(evil), origin("http://127.0.0.1:3003")],
            &[]
        ));
        assert!(foreign(&[origin(evil)], &[]));
        for bad in ["cross-site", "same-site", "later-invention"] {
            assert!(foreign(&[host, site(bad)], &[]), "{bad}");
            assert!(
                foreign(&[host, site(bad), origin("http://127.0.0.1:3003")], &[]),
                "{bad}"
            );
            assert!(!foreign(&[host, site(bad), origin(evil)], &[evil]), "{bad}");
            // An image or a form, which may lack its origin: nobody can tell whose.
            assert!(foreign(&[host, site(bad)], &[evil]), "{bad}");
        }
        assert!(!foreign(&[host, origin(evil)], &[evil]));
        assert!(foreign(&[host, origin("http://evil.example:81")], &[evil]));
    }

    #[test]
    fn a_host_is_known_unless_somebody_could_have_registered_it() {
        let allowed = ["agent.example.com".to_owned()];
        for known in [
            "127.0.0.1",
            "127.0.0.1:3003",
            "[::1]:3003",
            "[fd00::1]",
            "10.1.2.3:80",
            "localhost:3003",
            "LOCALHOST.",
            "sidecar",
            "sidecar.team.svc",
            "a.b.svc.cluster.local:3003",
            "agent.example.com",
            "Agent.Example.com.:8443",
        ] {
            assert_eq!(
                unknown_host(&request("/", &[("host", known)]), &allowed),
                None,
                "{known}"
            );
        }
        for unknown in [
            "evil.example",
            "evil.example:3003",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "svc.evil.example",
            "evilcluster.local",
            "x.agent.example.com",
            "user@localhost",
            "a b",
            "",
            "1.2.3.4.5",
        ] {
            let found = unknown_host(&request("/", &[("host", unknown)]), &allowed);
            assert!(found.is_some(), "{unknown}");
        }
        // Every place counts.
        let hidden = request("http://evil.example/", &[("host", "localhost")]);
        assert_eq!(
            unknown_host(&hidden, &allowed).as_deref(),
            Some("evil.example")
        );
        let twice = request("/", &[("host", "localhost"), ("host", "evil.example")]);
        assert_eq!(
            unknown_host(&twice, &allowed).as_deref(),
            Some("evil.example")
        );
        assert_eq!(unknown_host(&request("/", &[]), &allowed), None);
    }
}
