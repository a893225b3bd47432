//! A call as the scripted model received it.

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use serde_json::Value;

/// Which dialect a call was made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    Responses,
    Messages,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ordinary,
    Title,
    Compaction,
}

/// Whose calls a turn answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The last user message holds this text.
    Prompt(String),
    /// The call carries this key.
    Key(String),
    /// The call asks for this model.
    Model(String),
    Any,
}

/// A call as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) dialect: Dialect,
    pub(crate) kind: Kind,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Without `Bearer`; empty if there was none.
    pub(crate) key: String,
    pub(crate) bytes: Bytes,
    pub(crate) body: Value,
    pub(crate) http2: bool,
}

// === impl Scope ===

impl Scope {
    pub(crate) fn key(key: &str) -> Self {
        Self::Key(key.to_owned())
    }

    pub(crate) fn model(model: &str) -> Self {
        Self::Model(model.to_owned())
    }

    pub(crate) fn prompt(piece: &str) -> Self {
        Self::Prompt(piece.to_owned())
    }

    pub(super) fn fits(&self, call: &Recorded) -> bool {
        match self {
            Self::Prompt(piece) => call.last_user_text().contains(piece),
            Self::Key(key) => call.key == *key,
            Self::Model(model) => call.model() == model,
            Self::Any => true,
        }
    }

    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Prompt(_) => 0,
            Self::Key(_) => 1,
            Self::Model(_) => 2,
            Self::Any => 3,
        }
    }
}

// === impl Recorded ===

impl Recorded {
    pub(super) fn new(head: Parts, bytes: Bytes) -> Self {
        let path = head.uri.path().to_owned();
        let dialect = match path.rsplit('/').next() {
            Some("responses") => Dialect::Responses,
            Some("messages") => Dialect::Messages,
            _ => Dialect::Chat,
        };
        let header = |name: &str| {
            head.headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let key = header("authorization")
            .strip_prefix("Bearer ")
            .unwrap_or(header("x-api-key"))
            .to_owned();
        let mut call = Self {
            dialect,
            kind: Kind::Ordinary,
            path,
            key,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            bytes,
            http2: head.version == http::Version::HTTP_2,
            headers: head.headers,
        };
        call.kind = call.classify();
        call
    }

    pub(crate) fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// The names of the tools that were offered, sorted.
    pub(crate) fn tools(&self) -> Vec<String> {
        let list = self.body["tools"].as_array().cloned().unwrap_or_default();
        let name = |tool: &Value| {
            tool["function"]["name"]
                .as_str()
                .or(tool["name"].as_str())
                .map(str::to_owned)
        };
        let mut names: Vec<String> = list.iter().filter_map(name).collect();
        names.sort();
        names
    }

    /// The limit under whichever name it came, with the name.
    pub(crate) fn limit(&self) -> Option<(&'static str, u64)> {
        ["max_tokens", "max_completion_tokens", "max_output_tokens"]
            .into_iter()
            .find_map(|name| self.body[name].as_u64().map(|limit| (name, limit)))
    }

    pub(crate) fn system_text(&self) -> String {
        let messages = self.messages();
        let system = messages
            .iter()
            .filter(|m| matches!(m["role"].as_str(), Some("system" | "developer")));
        let inline: Vec<String> = system.map(|message| text_of(&message["content"])).collect();
        let apart = [
            text_of(&self.body["system"]),
            text_of(&self.body["instructions"]),
        ];
        inline
            .into_iter()
            .chain(apart)
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub(crate) fn last_user_text(&self) -> String {
        let messages = self.messages();
        let user = messages
            .iter()
            .rev()
            .filter(|message| message["role"] == "user");
        user.map(|message| text_of(&message["content"]))
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }

    /// Who said what: the role and the texts of each message.
    pub(crate) fn conversation(&self) -> Vec<(&str, String)> {
        let messages = self.messages().iter();
        let said = messages.map(|message| {
            let role = message["role"].as_str().unwrap_or_default();
            (role, text_of(&message["content"]))
        });
        said.collect()
    }

    fn messages(&self) -> &[Value] {
        let list = self.body["messages"]
            .as_array()
            .or(self.body["input"].as_array());
        list.map_or(&[], Vec::as_slice)
    }

    fn classify(&self) -> Kind {
        if self.system_text().contains("title generator") {
            return Kind::Title;
        }
        let asked = self.last_user_text().to_lowercase();
        let system = self.system_text().to_lowercase();
        let summing =
            |text: &str| text.contains("summar") || text.contains("continuing our conversation");
        if self.tools().is_empty() && (summing(&asked) || summing(&system)) {
            return Kind::Compaction;
        }
        Kind::Ordinary
    }
}

/// The text of a message's content, a string or a list of parts.
fn text_of(content: &Value) -> String {
    let parts = content.as_array().map_or(&[][..], Vec::as_slice);
    let texts = parts.iter().filter_map(|part| part["text"].as_str());
    content
        .as_str()
        .into_iter()
        .chain(texts)
        .collect::<Vec<_>>()
        .join("\n")
}
