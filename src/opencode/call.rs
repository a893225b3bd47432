//! One HTTP call of the child, within its deadline and up to the size its answer may have.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{CallError, root_cause};

/// How much of an error body is worth repeating.
const MAX_DETAIL: usize = 300;

/// Unless a call has a deadline of its own: an answer takes milliseconds unless the child is busy.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// Health, sessions, and yes or no: a few hundred bytes.
pub(super) const MAX_ANSWER: usize = 64 * 1024;

/// Messages and history hold what tools said. More than this is no session but an attack.
const MAX_LARGE_ANSWER: usize = 64 * 1024 * 1024;

/// The header of a page of a list that says where the next one begins.
const NEXT_CURSOR: &str = "x-next-cursor";

/// A call that is not made yet.
#[derive(Debug)]
pub(super) struct Call {
    name: &'static str,
    request: RequestBuilder,
    deadline: Duration,
    max_answer: usize,
}

// === impl Call ===

impl Call {
    /// `name` says what it does, to follow "failed to".
    pub(super) const fn new(name: &'static str, request: RequestBuilder) -> Self {
        Self {
            name,
            request,
            deadline: CALL_DEADLINE,
            max_answer: MAX_ANSWER,
        }
    }

    pub(super) fn json(self, body: &impl Serialize) -> Self {
        Self {
            request: self.request.json(body),
            ..self
        }
    }

    pub(super) fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    pub(super) fn in_directory(self, directory: &Path) -> Self {
        let directory = [("directory", directory.to_string_lossy())];
        Self {
            request: self.request.query(&directory),
            ..self
        }
    }

    /// Its answer may hold what tools said.
    pub(super) fn large(self) -> Self {
        Self {
            max_answer: MAX_LARGE_ANSWER,
            ..self
        }
    }

    pub(super) async fn done(self) -> Result<(), CallError> {
        self.answer().await.map(drop)
    }

    pub(super) async fn read_json<T: DeserializeOwned>(self) -> Result<T, CallError> {
        self.read(|body| serde_json::from_slice(body)).await
    }

    /// The answer, as `decode` reads it.
    pub(super) async fn read<T, E: Display>(
        self,
        decode: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<T, CallError> {
        self.read_page(decode).await.map(|(answer, _)| answer)
    }

    /// The same of one page of a list, with the cursor of the next one if there is one.
    pub(super) async fn read_page<T, E: Display>(
        self,
        decode: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<(T, Option<String>), CallError> {
        let call = self.name;
        let (body, next) = self.answer().await?;
        let answer = decode(&body).map_err(|error| CallError::Body {
            call,
            reason: error.to_string(),
        })?;
        Ok((answer, next))
    }

    /// The head of an answer that does not end; its deadline is that of the head.
    pub(super) async fn open(self) -> Result<Response, CallError> {
        let call = self.name;
        let opening = async { self.request.send().await.map_err(broken(call)) };
        let response = within(call, self.deadline, opening).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(CallError::Status {
            call,
            status: status.as_u16(),
            body: String::new(),
        })
    }

    /// Sends the request and reads its answer, within the deadline and up to the limit.
    async fn answer(self) -> Result<(Vec<u8>, Option<String>), CallError> {
        let (call, deadline, most) = (self.name, self.deadline, self.max_answer);
        let exchange = async {
            let mut response = self.request.send().await.map_err(broken(call))?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(broken(call))? {
                if body.len() + chunk.len() > most {
                    return Err(CallError::TooLarge { call, most });
                }
                body.extend_from_slice(&chunk);
            }
            let next = response.headers().get(NEXT_CURSOR);
            let next = next.and_then(|value| value.to_str().ok());
            Ok((response.status(), next.map(str::to_owned), body))
        };
        let (status, next, body) = within(call, deadline, exchange).await?;
        if status.is_success() {
            return Ok((body, next));
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

async fn within<T>(
    call: &'static str,
    after: Duration,
    exchange: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    tokio::time::timeout(after, exchange)
        .await
        .unwrap_or(Err(CallError::Deadline { call, after }))
}

fn broken(call: &'static str) -> impl Fn(reqwest::Error) -> CallError {
    move |error| CallError::Connection {
        call,
        reason: root_cause(&error),
    }
}
