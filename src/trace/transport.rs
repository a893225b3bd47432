//! One batch to the collector: OTLP as protobuf over HTTP, or over gRPC.
//!
//! A call of gRPC is a POST over HTTP/2 whose message has five bytes in front of it and whose status comes behind the answer.
//! That is all of gRPC that is needed, and reqwest is here anyway (docs/decisions/0011). The headers may hold a token, so a
//! collector on this host gets nothing if the agent runs it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, TE};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Method, Request, Url};
use rustls::pki_types::CertificateDer;

use super::config::{Config, Protocol};
use crate::outgoing::{Caller, Kind, SendError, innermost};
use crate::socket_owner::Finder;
use crate::trust;

/// How an attempt went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Taken,
    /// It may be taken later; the collector may have said when.
    Later(String, Option<Duration>),
    /// It will never be taken.
    Refused(String),
}

/// The way to the collector.
pub(super) struct Transport {
    caller: Caller,
    url: Url,
    protocol: Protocol,
    headers: HeaderMap,
    timeout: Duration,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The codes of gRPC after which the specification of OTLP has a batch sent again.
const PASSING: [&str; 7] = ["1", "4", "8", "10", "11", "14", "15"];

// === impl Transport ===

impl Transport {
    /// Reads certificates, so it is not for the thread of anybody who waits.
    pub(super) fn new(config: &Config, owners: Finder) -> Result<Self, String> {
        let file = config.certificate.as_deref().map(std::path::Path::new);
        let extra = file
            .map(trust::certificates)
            .transpose()?
            .unwrap_or_default();
        let (protocol, is_https) = (config.protocol, config.endpoint.scheme() == "https");
        let make = move |_: Kind| builder(protocol, is_https, &extra);
        Ok(Self {
            caller: Caller::new(owners, &[], make),
            url: config.endpoint.clone(),
            protocol: config.protocol,
            headers: config.headers.clone(),
            timeout: config.timeout,
        })
    }

    pub(super) async fn send(&self, message: Bytes) -> Sent {
        let sending = async {
            match self.protocol {
                Protocol::Http => self.over_http(message).await,
                Protocol::Grpc => self.over_grpc(message).await,
            }
        };
        match tokio::time::timeout(self.timeout, sending).await {
            Ok(Ok(sent)) => sent,
            // Without addresses or headers.
            Ok(Err(SendError::Call(error))) => Sent::Later(innermost(&error.without_url()), None),
            Ok(Err(error)) => Sent::Later(error.to_string(), None),
            Err(_) => Sent::Later("it did not answer in time".to_owned(), None),
        }
    }

    fn request(&self, kind: &'static str, body: Bytes) -> Request {
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = self.headers.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        *request.body_mut() = Some(body.into());
        request
    }

    async fn over_http(&self, message: Bytes) -> Result<Sent, SendError> {
        let request = self.request("application/x-protobuf", message);
        let response = self.caller.execute(request).await?;
        let status = response.status();
        let said = format!("it answered {}", status.as_u16());
        Ok(match status.as_u16() {
            200..=299 => Sent::Taken,
            429 | 502 | 503 | 504 => Sent::Later(said, retry_after(response.headers())),
            _ => Sent::Refused(said),
        })
    }

    async fn over_grpc(&self, message: Bytes) -> Result<Sent, SendError> {
        let mut framed = BytesMut::with_capacity(5 + message.len());
        // Not compressed, and so long.
        framed.extend_from_slice(&[0]);
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
        framed.extend_from_slice(&message);
        let mut request = self.request("application/grpc", framed.freeze());
        let headers = request.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let response = self.caller.execute(request).await?;
        if !response.status().is_success() {
            let said = format!("it answered {} and not gRPC", response.status().as_u16());
            return Ok(match response.status().as_u16() {
                429 | 502 | 503 | 504 => Sent::Later(said, retry_after(response.headers())),
                _ => Sent::Refused(said),
            });
        }
        // A failure may come without a body, and its status then with the head.
        let mut status = response.headers().get("grpc-status").cloned();
        let response: http::Response<reqwest::Body> = response.into();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Some(trailers) = frame.map_err(SendError::Call)?.trailers_ref() {
                status = trailers.get("grpc-status").cloned().or(status);
            }
        }
        Ok(of_grpc_status(status.as_ref()))
    }
}

fn of_grpc_status(status: Option<&HeaderValue>) -> Sent {
    let code = status.and_then(|status| status.to_str().ok());
    match code {
        Some("0") => Sent::Taken,
        Some(code) if PASSING.contains(&code) => {
            Sent::Later(format!("it answered with the gRPC status {code}"), None)
        }
        Some(code) => Sent::Refused(format!("it answered with the gRPC status {code}")),
        None => Sent::Refused("its answer has no gRPC status".to_owned()),
    }
}

/// In seconds; a date is as good as nothing, and then the pause is ours.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn builder(
    protocol: Protocol,
    is_https: bool,
    extra: &[CertificateDer<'static>],
) -> Result<ClientBuilder, String> {
    let mut builder = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("opencode-sidecar/", env!("CARGO_PKG_VERSION")));
    if protocol == Protocol::Grpc {
        builder = builder.http2_prior_knowledge();
    }
    // The system's certificates are larger than the rest of an idle sidecar.
    let tls = if is_https {
        trust::client(extra)
    } else {
        trust::nobody()
    };
    Ok(builder.tls_backend_preconfigured(tls.map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_grpc_says_whether_to_try_again() {
        let of = |code: &'static str| of_grpc_status(Some(&HeaderValue::from_static(code)));
        assert_eq!(of("0"), Sent::Taken);
        assert!(matches!(of("14"), Sent::Later(..)));
        assert!(matches!(of("3"), Sent::Refused(_)));
        assert!(matches!(of_grpc_status(None), Sent::Refused(_)));
    }
}
