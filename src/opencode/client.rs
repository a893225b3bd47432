//! One method per call of OpenCode's API.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::CallError;
use crate::secret::Secret;

/// OpenCode's user name when it is told none.
const USER: &str = "opencode";

/// How much of an error body is worth repeating.
const MAX_DETAIL: usize = 300;

/// Creating the first session of a process boots OpenCode's engine: 0.1 to 0.5 s on an idle machine,
/// many times that on a throttled one.
const SESSION_DEADLINE: Duration = Duration::from_secs(20);

/// How a child of one generation is called. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Arc<str>,
    password: Secret,
}

/// `GET /global/health`.
#[derive(Debug, Deserialize)]
pub(crate) struct Health {
    pub(crate) healthy: bool,
    pub(crate) version: String,
}

/// What we read of a session.
#[derive(Debug, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: String,
}

// === impl Client ===

impl Client {
    pub(crate) fn new(address: SocketAddr, password: Secret) -> Result<Self, CallError> {
        // Loopback HTTP only: no proxy, no redirects, no trust anchors to load. Installing the crypto
        // provider twice is refused and harmless.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .tls_certs_only([])
            .tcp_nodelay(true)
            .build()
            .map_err(|error| CallError::Connection {
                call: "build the client",
                reason: error.to_string(),
            })?;
        Ok(Self {
            http,
            base: format!("http://{address}").into(),
            password,
        })
    }

    /// Whether the child answers and knows us. The deadline is the caller's: a connection made in the
    /// moment OpenCode begins to listen is never answered.
    pub(crate) async fn health(&self, deadline: Duration) -> Result<Health, CallError> {
        let call = "ask for its health";
        let health: Health = self
            .json(
                call,
                self.request(reqwest::Method::GET, "/global/health"),
                deadline,
            )
            .await?;
        if health.healthy {
            Ok(health)
        } else {
            Err(CallError::Body {
                call,
                reason: "it says it is not healthy".into(),
            })
        }
    }

    pub(crate) async fn create_session(
        &self,
        directory: &Path,
        title: &str,
    ) -> Result<Session, CallError> {
        let request = self
            .request(reqwest::Method::POST, "/session")
            .query(&[("directory", directory.to_string_lossy())])
            .json(&serde_json::json!({ "title": title }));
        self.json("create a session", request, SESSION_DEADLINE)
            .await
    }

    pub(crate) async fn delete_session(&self, id: &str) -> Result<(), CallError> {
        let request = self.request(reqwest::Method::DELETE, &format!("/session/{id}"));
        self.call("delete a session", request, SESSION_DEADLINE)
            .await
            .map(drop)
    }

    /// Ends everything that runs in the child, its tools too.
    pub(crate) async fn dispose(&self, deadline: Duration) -> Result<(), CallError> {
        let request = self.request(reqwest::Method::POST, "/global/dispose");
        self.call("end what runs in it", request, deadline)
            .await
            .map(drop)
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .basic_auth(USER, Some(self.password.expose()))
    }

    async fn json<T: DeserializeOwned>(
        &self,
        call: &'static str,
        request: reqwest::RequestBuilder,
        deadline: Duration,
    ) -> Result<T, CallError> {
        let body = self.call(call, request, deadline).await?;
        serde_json::from_slice(&body).map_err(|error| CallError::Body {
            call,
            reason: error.to_string(),
        })
    }

    async fn call(
        &self,
        call: &'static str,
        request: reqwest::RequestBuilder,
        deadline: Duration,
    ) -> Result<bytes::Bytes, CallError> {
        let exchange = async {
            let response = request.send().await?;
            let status = response.status();
            Ok::<_, reqwest::Error>((status, response.bytes().await?))
        };
        let (status, body) = match tokio::time::timeout(deadline, exchange).await {
            Err(_) => {
                return Err(CallError::Deadline {
                    call,
                    after: deadline,
                });
            }
            Ok(Err(error)) => {
                return Err(CallError::Connection {
                    call,
                    reason: root_cause(&error),
                });
            }
            Ok(Ok(answer)) => answer,
        };
        if status.is_success() {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body);
        let detail = text
            .get(..text.floor_char_boundary(MAX_DETAIL))
            .unwrap_or_default();
        Err(CallError::Status {
            call,
            status: status.as_u16(),
            body: detail.trim().to_owned(),
        })
    }
}

/// The innermost reason: "connection refused" says more than "error sending request".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    crate::text::plain(&cause.to_string())
}
