//! One method per call of OpenCode's API.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::error::CallError;
use super::feed::Feed;
use super::types::{self, HistoryItem, Message, PromptLabel, SessionInfo, Statuses, optional};
use crate::secret::Secret;

/// OpenCode's user name when it is told none.
const USER: &str = "opencode";

/// Creating the first session of a process boots OpenCode's engine: 0.1 to 0.5 s on an idle machine,
/// many times that on a throttled one.
const SESSION_DEADLINE: Duration = Duration::from_secs(20);

/// Calls the child of one generation. Cheap to clone.
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

/// What is read of a session.
#[derive(Debug, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: String,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) title: Option<String>,
    #[serde(default)]
    metadata: serde_json::Value,
}

/// Body of `POST /session`.
#[derive(Debug, Serialize)]
pub(crate) struct NewSession<'a> {
    #[serde(skip)]
    pub(crate) directory: &'a Path,
    /// With a title OpenCode does not ask a model for one.
    pub(crate) title: &'a str,
    #[serde(flatten)]
    pub(crate) limits: SessionLimits,
}

/// What the agent of a session may do. In a `PATCH` the rules are added to those that the session has, and the metadata
/// take the place of the old ones.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SessionLimits {
    /// The last rule that matches decides.
    #[serde(rename = "permission", skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<Rule>,
    pub(crate) metadata: Metadata,
}

/// What our plugin reads of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Metadata {
    pub(crate) sidecar: SidecarMetadata,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SidecarMetadata {
    /// `None`: every tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tools: Option<Vec<String>>,
    /// The session's rules, for its subagents. `None`: these have what OpenCode gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rules: Option<Vec<Rule>>,
}

/// One rule about a permission of OpenCode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) permission: String,
    pub(crate) pattern: String,
    /// `allow`, `ask` or `deny`.
    pub(crate) action: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum PromptPart {
    Text {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        text: String,
    },
    File {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// `data:`. A `file:` address OpenCode reads itself, wherever it leads.
        url: String,
        mime: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<String>,
    },
}

/// One prompt.
#[derive(Debug)]
pub(crate) struct Prompt<'a> {
    /// Provider and model of OpenCode's configuration. Always sent: a model that failed sticks otherwise.
    pub(crate) model: (&'static str, &'static str),
    /// OpenCode's id of the message, if it was chosen here. The same id again with the same ids of parts changes nothing.
    pub(crate) message_id: Option<&'a str>,
    pub(crate) parts: &'a [PromptPart],
    /// Added to OpenCode's own system prompt, for this prompt only.
    pub(crate) system: Option<&'a str>,
    /// Kept with the prompt; no model sees it.
    pub(crate) label: Option<&'a PromptLabel>,
}

// === impl Session ===

impl Session {
    /// What was given to our plugin with it. What cannot be read enables no tool.
    pub(crate) fn sidecar(&self) -> SidecarMetadata {
        let none = SidecarMetadata {
            tools: Some(Vec::new()),
            rules: None,
        };
        match self.metadata.get("sidecar") {
            Some(given) => SidecarMetadata::deserialize(given).unwrap_or(none),
            None => SidecarMetadata::default(),
        }
    }
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
        let name = "ask for its health";
        let call = self.get(name, "/global/health").within(deadline);
        let health: Health = call.read_json().await?;
        if health.healthy {
            return Ok(health);
        }
        Err(CallError::Body {
            call: name,
            reason: "it says it is not healthy".into(),
        })
    }

    pub(crate) async fn create_session(&self, new: &NewSession<'_>) -> Result<Session, CallError> {
        self.post("create a session", "/session", new)
            .in_directory(new.directory)
            .within(SESSION_DEADLINE)
            .read_json()
            .await
    }

    /// The ids of the sessions of `directory` that are in the child.
    pub(crate) async fn sessions(&self, directory: &Path) -> Result<Vec<Session>, CallError> {
        let call = self.get("list the sessions", "/session");
        call.in_directory(directory).read_json().await
    }

    /// Whether the child knows this session.
    pub(crate) async fn has_session(&self, id: &str) -> Result<bool, CallError> {
        Ok(self.session_title(id).await?.is_some())
    }

    /// The title that this session was made with, which may be empty; `None` if the child does not know it.
    pub(crate) async fn session_title(&self, id: &str) -> Result<Option<String>, CallError> {
        match self.session(id).await {
            Ok(session) => Ok(Some(session.title.unwrap_or_default())),
            Err(CallError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn session(&self, id: &str) -> Result<Session, CallError> {
        let call = self.get("look up a session", &format!("/session/{id}"));
        call.large().read_json().await
    }

    /// Changes what the agent of a session may do from its next prompt on.
    pub(crate) async fn limit_session(
        &self,
        id: &str,
        limits: &SessionLimits,
    ) -> Result<(), CallError> {
        let path = format!("/session/{id}");
        self.call("change the rules of a session", Method::PATCH, &path)
            .json(limits)
            .large()
            .done()
            .await
    }

    pub(crate) async fn delete_session(&self, id: &str) -> Result<(), CallError> {
        let path = format!("/session/{id}");
        self.call("delete a session", Method::DELETE, &path)
            .within(SESSION_DEADLINE)
            .done()
            .await
    }

    /// Hands a prompt over. Success says only that it was taken: what comes of it is in the feed.
    pub(crate) async fn prompt(&self, session: &str, prompt: &Prompt<'_>) -> Result<(), CallError> {
        let (provider, model) = prompt.model;
        let mut body = serde_json::json!({
            "model": { "providerID": provider, "modelID": model },
            "parts": prompt.parts,
        });
        if let Some(id) = prompt.message_id {
            body["messageID"] = id.into();
        }
        if let Some(system) = prompt.system {
            body["system"] = system.into();
        }
        if let Some(label) = prompt.label
            && let Some(parts) = body["parts"].as_array_mut()
        {
            // Only texts keep it, and each prompt has one.
            for text in parts.iter_mut().filter(|part| part["type"] == "text") {
                text["metadata"] = serde_json::json!({ "sidecar": label });
            }
        }
        let path = format!("/session/{session}/prompt_async");
        self.post("hand over the prompt", &path, &body)
            .within(SESSION_DEADLINE)
            .done()
            .await
    }

    pub(crate) async fn abort(&self, session: &str, deadline: Duration) -> Result<(), CallError> {
        let path = format!("/session/{session}/abort");
        self.call("abort a session", Method::POST, &path)
            .within(deadline)
            .done()
            .await
    }

    pub(crate) async fn messages(&self, session: &str) -> Result<Vec<Message>, CallError> {
        let path = format!("/session/{session}/message");
        let call = self.get("read the messages of a session", &path);
        call.large().read(types::messages).await
    }

    /// The subagents that a session started itself.
    pub(crate) async fn children(&self, session: &str) -> Result<Vec<SessionInfo>, CallError> {
        let path = format!("/session/{session}/children");
        let call = self.get("read the subagents of a session", &path);
        call.large().read(types::sessions).await
    }

    pub(crate) async fn statuses(&self, directory: &Path) -> Result<Statuses, CallError> {
        self.get("read who is busy", "/session/status")
            .in_directory(directory)
            .large()
            .read(types::statuses)
            .await
    }

    /// The durable events after the given place of each session. A session that is not named is told
    /// whole, so all that are known have to be.
    pub(crate) async fn history(
        &self,
        places: &HashMap<String, u64>,
    ) -> Result<Vec<HistoryItem>, CallError> {
        let call = self.post("read the history", "/sync/history", places);
        call.large().read(types::history).await
    }

    /// Opens the stream of everything that happens in the child.
    pub(crate) async fn feed(&self) -> Result<Feed, CallError> {
        let response = self
            .get("open the event stream", "/global/event")
            .open()
            .await?;
        Ok(Feed::new(response))
    }

    /// Ends everything that runs in the child, its tools too.
    pub(crate) async fn dispose(&self, deadline: Duration) -> Result<(), CallError> {
        self.call("end what runs in it", Method::POST, "/global/dispose")
            .within(deadline)
            .done()
            .await
    }

    pub(super) fn get(&self, name: &'static str, path: &str) -> Call {
        self.call(name, Method::GET, path)
    }

    pub(super) fn post(&self, name: &'static str, path: &str, body: &impl Serialize) -> Call {
        self.call(name, Method::POST, path).json(body)
    }

    pub(super) fn call(&self, name: &'static str, method: Method, path: &str) -> Call {
        let url = format!("{}{path}", self.base);
        let request = self.http.request(method, url);
        let request = request.basic_auth(USER, Some(self.password.expose()));
        Call::new(name, request)
    }
}

#[cfg(test)]
mod tests;
