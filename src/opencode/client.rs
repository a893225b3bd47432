//! One method per call of OpenCode's API.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::root_cause;
use super::types::{self, HistoryItem, Message, SessionInfo, Statuses};
use super::{CallError, Feed};
use crate::secret::Secret;

/// OpenCode's user name when it is told none.
const USER: &str = "opencode";

/// How much of an error body is worth repeating.
const MAX_DETAIL: usize = 300;

/// Creating the first session of a process boots OpenCode's engine: 0.1 to 0.5 s on an idle machine,
/// many times that on a throttled one.
const SESSION_DEADLINE: Duration = Duration::from_secs(20);

/// Any other call: answered in milliseconds unless the child is busy.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// Health, sessions, and yes or no: a few hundred bytes.
const ANSWER: usize = 64 * 1024;

/// Messages and history hold what tools said. More than this is no session but an attack.
const LARGE_ANSWER: usize = 64 * 1024 * 1024;

const LOOK_UP: &str = "look up a session";

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
    #[serde(default)]
    pub(crate) title: Option<String>,
}

/// Body of `POST /session`.
#[derive(Debug, Serialize)]
pub(crate) struct NewSession<'a> {
    #[serde(skip)]
    pub(crate) directory: &'a Path,
    /// With a title OpenCode does not ask a model for one.
    pub(crate) title: &'a str,
    /// The last rule that matches decides.
    #[serde(rename = "permission", skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<Rule>,
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub(crate) metadata: serde_json::Value,
}

/// One rule about a permission of OpenCode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rule {
    pub(crate) permission: &'static str,
    pub(crate) pattern: &'static str,
    pub(crate) action: &'static str,
}

/// One prompt.
#[derive(Debug)]
pub(crate) struct Prompt<'a> {
    /// Provider and model of OpenCode's configuration. Always sent: a model that failed sticks otherwise.
    pub(crate) model: (&'static str, &'static str),
    pub(crate) text: &'a str,
    /// Added to OpenCode's own system prompt, for this prompt only.
    pub(crate) system: Option<&'a str>,
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
            .json(call, self.request(Method::GET, "/global/health"), deadline)
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

    pub(crate) async fn create_session(&self, new: &NewSession<'_>) -> Result<Session, CallError> {
        let request = self
            .request(Method::POST, "/session")
            .query(&[("directory", new.directory.to_string_lossy())])
            .json(new);
        self.json("create a session", request, SESSION_DEADLINE)
            .await
    }

    /// The ids of the sessions of `directory` that are in the child.
    pub(crate) async fn sessions(&self, directory: &Path) -> Result<Vec<Session>, CallError> {
        let request = self
            .request(Method::GET, "/session")
            .query(&[("directory", directory.to_string_lossy())]);
        self.json("list the sessions", request, CALL_DEADLINE).await
    }

    /// Whether the child knows this session.
    pub(crate) async fn has_session(&self, id: &str) -> Result<bool, CallError> {
        Ok(self.find_session(id).await?.is_some())
    }

    /// The title that this session was made with; `None` if the child does not know it.
    pub(crate) async fn session_title(&self, id: &str) -> Result<Option<String>, CallError> {
        let Some(body) = self.find_session(id).await? else {
            return Ok(None);
        };
        let session: Session = serde_json::from_slice(&body).map_err(|error| CallError::Body {
            call: LOOK_UP,
            reason: error.to_string(),
        })?;
        Ok(session.title)
    }

    async fn find_session(&self, id: &str) -> Result<Option<Vec<u8>>, CallError> {
        let request = self.request(Method::GET, &format!("/session/{id}"));
        match self
            .read(LOOK_UP, request, CALL_DEADLINE, LARGE_ANSWER)
            .await
        {
            Ok(body) => Ok(Some(body)),
            Err(CallError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn delete_session(&self, id: &str) -> Result<(), CallError> {
        let request = self.request(Method::DELETE, &format!("/session/{id}"));
        self.call("delete a session", request, SESSION_DEADLINE)
            .await
            .map(drop)
    }

    /// Hands a prompt over. Success says only that it was taken: what comes of it is in the feed.
    pub(crate) async fn prompt(&self, session: &str, prompt: &Prompt<'_>) -> Result<(), CallError> {
        let (provider, model) = prompt.model;
        let mut body = serde_json::json!({
            "model": { "providerID": provider, "modelID": model },
            "parts": [{ "type": "text", "text": prompt.text }],
        });
        if let (Some(system), Some(body)) = (prompt.system, body.as_object_mut()) {
            body.insert("system".into(), system.into());
        }
        let request = self
            .request(Method::POST, &format!("/session/{session}/prompt_async"))
            .json(&body);
        self.call("hand over the prompt", request, SESSION_DEADLINE)
            .await
            .map(drop)
    }

    pub(crate) async fn abort(&self, session: &str, deadline: Duration) -> Result<(), CallError> {
        let request = self.request(Method::POST, &format!("/session/{session}/abort"));
        self.call("abort a session", request, deadline)
            .await
            .map(drop)
    }

    pub(crate) async fn messages(&self, session: &str) -> Result<Vec<Message>, CallError> {
        let request = self.request(Method::GET, &format!("/session/{session}/message"));
        self.typed("read the messages of a session", request, types::messages)
            .await
    }

    /// The id of a session's last message.
    pub(crate) async fn newest_message(&self, session: &str) -> Result<Option<String>, CallError> {
        let request = self
            .request(Method::GET, &format!("/session/{session}/message"))
            .query(&[("limit", "1")]);
        let messages = self
            .typed("read the last message", request, types::messages)
            .await?;
        Ok(messages.into_iter().next_back().map(|last| last.info.id))
    }

    /// The subagents that a session started itself.
    pub(crate) async fn children(&self, session: &str) -> Result<Vec<SessionInfo>, CallError> {
        let request = self.request(Method::GET, &format!("/session/{session}/children"));
        self.typed("read the subagents of a session", request, types::sessions)
            .await
    }

    pub(crate) async fn statuses(&self, directory: &Path) -> Result<Statuses, CallError> {
        let request = self
            .request(Method::GET, "/session/status")
            .query(&[("directory", directory.to_string_lossy())]);
        self.typed("read who is busy", request, types::statuses)
            .await
    }

    /// The durable events after the given place of each session. A session that is not named is told
    /// whole, so all that are known have to be.
    pub(crate) async fn history(
        &self,
        places: &HashMap<String, u64>,
    ) -> Result<Vec<HistoryItem>, CallError> {
        let request = self.request(Method::POST, "/sync/history").json(places);
        self.typed("read the history", request, types::history)
            .await
    }

    /// Says no to a permission nobody is there to give.
    pub(crate) async fn reject_permission(&self, request: &str) -> Result<(), CallError> {
        let body = serde_json::json!({ "reply": "reject" });
        let request = self
            .request(Method::POST, &format!("/permission/{request}/reply"))
            .json(&body);
        self.call("reject a permission", request, CALL_DEADLINE)
            .await
            .map(drop)
    }

    /// Dismisses a question nobody is there to answer.
    pub(crate) async fn reject_question(&self, request: &str) -> Result<(), CallError> {
        let request = self
            .request(Method::POST, &format!("/question/{request}/reject"))
            .json(&serde_json::json!({}));
        self.call("reject a question", request, CALL_DEADLINE)
            .await
            .map(drop)
    }

    /// Opens the stream of everything that happens in the child.
    pub(crate) async fn feed(&self) -> Result<Feed, CallError> {
        let call = "open the event stream";
        let request = self.request(Method::GET, "/global/event").send();
        let response = match tokio::time::timeout(CALL_DEADLINE, request).await {
            Err(_) => {
                return Err(CallError::Deadline {
                    call,
                    after: CALL_DEADLINE,
                });
            }
            Ok(Err(error)) => {
                return Err(CallError::Connection {
                    call,
                    reason: root_cause(&error),
                });
            }
            Ok(Ok(response)) => response,
        };
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(CallError::Status {
                call,
                status,
                body: String::new(),
            });
        }
        Ok(Feed::new(response))
    }

    /// Ends everything that runs in the child, its tools too.
    pub(crate) async fn dispose(&self, deadline: Duration) -> Result<(), CallError> {
        let request = self.request(Method::POST, "/global/dispose");
        self.call("end what runs in it", request, deadline)
            .await
            .map(drop)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .basic_auth(USER, Some(self.password.expose()))
    }

    async fn json<T: DeserializeOwned>(
        &self,
        call: &'static str,
        request: RequestBuilder,
        deadline: Duration,
    ) -> Result<T, CallError> {
        let body = self.call(call, request, deadline).await?;
        serde_json::from_slice(&body).map_err(|error| CallError::Body {
            call,
            reason: error.to_string(),
        })
    }

    async fn typed<T>(
        &self,
        call: &'static str,
        request: RequestBuilder,
        read: impl Fn(&[u8]) -> Result<T, types::DecodeError>,
    ) -> Result<T, CallError> {
        let body = self
            .read(call, request, CALL_DEADLINE, LARGE_ANSWER)
            .await?;
        read(&body).map_err(|error| CallError::Body {
            call,
            reason: error.to_string(),
        })
    }

    async fn call(
        &self,
        call: &'static str,
        request: RequestBuilder,
        deadline: Duration,
    ) -> Result<Vec<u8>, CallError> {
        self.read(call, request, deadline, ANSWER).await
    }

    /// Sends `request` and reads its answer, no more than `most` bytes of it.
    async fn read(
        &self,
        call: &'static str,
        request: RequestBuilder,
        deadline: Duration,
        most: usize,
    ) -> Result<Vec<u8>, CallError> {
        let exchange = async {
            let broken = |error: reqwest::Error| CallError::Connection {
                call,
                reason: root_cause(&error),
            };
            let mut response = request.send().await.map_err(broken)?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(broken)? {
                if body.len() + chunk.len() > most {
                    return Err(CallError::TooLarge { call, most });
                }
                body.extend_from_slice(&chunk);
            }
            Ok((response.status(), body))
        };
        let (status, body) = tokio::time::timeout(deadline, exchange)
            .await
            .map_err(|_| CallError::Deadline {
                call,
                after: deadline,
            })??;
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A child that answers one request with `length` bytes, and says so beforehand if `told`.
    async fn answering(length: usize, told: bool) -> Client {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(listener.local_addr().unwrap(), Secret::random()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the test's runtime owns it")]
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            drop(socket.read(&mut [0; 4096]).await);
            let head = if told {
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")
            } else {
                "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned()
            };
            drop(socket.write_all(head.as_bytes()).await);
            drop(socket.write_all(&vec![b' '; length]).await);
        });
        client
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_its_limit_only() {
        let deadline = Duration::from_secs(20);
        for told in [false, true] {
            let client = answering(ANSWER + 1, told).await;
            let error = client.health(deadline).await.unwrap_err();
            assert!(matches!(error, CallError::TooLarge { .. }), "{error}");
            let client = answering(ANSWER, told).await;
            let error = client.health(deadline).await.unwrap_err();
            assert!(matches!(error, CallError::Body { .. }), "{error}");
            let client = answering(ANSWER + 1, told).await;
            let error = client.messages("ses_1").await.unwrap_err();
            assert!(matches!(error, CallError::Body { .. }), "{error}");
        }
    }
}
