//! A client of one session that asks until it is answered.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::{self, Response};

/// A session may need several starts of the engine, each of which takes seconds on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    /// Of the session.
    pub(crate) id: String,
    /// Of the provider.
    pub(crate) key: String,
    pub(crate) endpoint: String,
    /// The session may be gone after a fault.
    pub(crate) lossy: bool,
    /// When the round began.
    pub(crate) began: Instant,
}

/// A request, with the key under which it may be sent again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) body: &'a str,
}

/// The first answer that says something.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) response: Response,
    /// A question before it was perhaps heard, and its answer was not.
    pub(crate) unheard: bool,
}

// === impl Client ===

impl Client {
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/sessions/{}{rest}", self.id)
    }

    pub(crate) fn model_config(&self) -> Value {
        json!({
            "provider": "custom", "model": "model-of-the-test", "api_key": self.key,
            "temperature": 0.5, "max_tokens": 4096, "api_endpoint": self.endpoint,
        })
    }

    pub(crate) fn ask(&self, asked: Asked<'_>) -> Option<Response> {
        let headers: Vec<(&str, &str)> = asked
            .key
            .iter()
            .map(|key| ("idempotency-key", *key))
            .collect();
        let (method, path) = (asked.method, asked.path);
        let answer = http::send(self.address, method, path, &headers, asked.body.as_bytes());
        answer.ok().filter(|answer| answer.status != 0)
    }

    pub(crate) fn get(&self, rest: &str) -> Option<Response> {
        self.ask(Asked {
            method: "GET",
            path: &self.path(rest),
            key: None,
            body: "",
        })
    }

    /// Asks until there is an answer. A sidecar that is away, or not ready, is asked again.
    pub(crate) fn insist(&self, asked: Asked<'_>) -> Result<Answered, String> {
        let deadline = Instant::now() + PATIENCE;
        let (mut last, mut unheard) = (None, false);
        while Instant::now() < deadline {
            match self.ask(asked) {
                Some(response) if response.status != 503 => {
                    return Ok(Answered { response, unheard });
                }
                Some(not_ready) => last = Some(not_ready),
                None => unheard = true,
            }
            sleep(PAUSE);
        }
        let (method, path) = (asked.method, asked.path);
        Err(format!(
            "{method} {path} was not answered in {PATIENCE:?}: {last:?}"
        ))
    }

    /// Posts, and hangs up after `patience` without reading an answer.
    pub(crate) fn hang_up(&self, asked: Asked<'_>, patience: Duration) {
        let Ok(mut socket) = TcpStream::connect(self.address) else {
            return;
        };
        let Asked { method, path, .. } = asked;
        let (key, body) = (asked.key.unwrap_or_default(), asked.body);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: chaos\r\nidempotency-key: {key}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        // Whether it arrives is what is tried.
        if socket.write_all(request.as_bytes()).is_ok() {
            sleep(patience);
        }
    }
}
