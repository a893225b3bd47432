//! What a message of a client does: the same as the route that does it, by the same function.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::message::Kind;
use crate::api::State;
use crate::api::asks;
use crate::api::error::ApiError;
use crate::api::extract::parse;
use crate::api::idempotency;
use crate::api::turns::{self, PromptResponse, Reply};
use crate::trace::{self, TraceContext};

/// Carries out the messages of one WebSocket, given their kind and their text; the result is the body of the route's answer.
pub(crate) type Commands = Box<dyn FnMut(Kind, Bytes) -> BoxFuture<'static, CommandResult> + Send>;

pub(super) type CommandResult = Result<Option<String>, ApiError>;

/// What is of the message, and not of the body it carries.
const OF_THE_MESSAGE: [&str; 3] = ["type", "ref", "idempotency_key"];

#[derive(Deserialize)]
struct Prompt {
    #[serde(default)]
    idempotency_key: Option<String>,
}

/// Which ask of the agent it answers.
#[derive(Deserialize)]
struct Answer {
    request_id: String,
}

/// Those of a session. `trace` is that of the handshake.
pub(super) fn of_session(state: Arc<State>, id: String, trace: Option<TraceContext>) -> Commands {
    Box::new(move |kind, text| {
        let (state, id) = (state.clone(), id.clone());
        let work = async move {
            match kind {
                Kind::Auth | Kind::Ping => Ok(None),
                Kind::Cancel => Ok(json(&turns::stop(&state, &id).await?)),
                Kind::Prompt => prompt(&state, &id, &text).await,
                Kind::Permission => {
                    let request = parse::<Answer>(&text)?.request_id;
                    let body = body(&text)?;
                    let answer = asks::answer_permission(&state, &id, &request, body.as_bytes());
                    Ok(json(&answer.await?))
                }
                Kind::Question => {
                    let request = parse::<Answer>(&text)?.request_id;
                    let body = body(&text)?;
                    let answer = asks::answer_question(&state, &id, &request, body.as_bytes());
                    Ok(json(&answer.await?))
                }
            }
        };
        trace::with_current(trace, work).boxed()
    })
}

/// Those of a socket that is of all sessions: a message names none.
pub(super) fn of_all() -> Commands {
    Box::new(|kind, _text| {
        let result = match kind {
            Kind::Auth | Kind::Ping => Ok(None),
            _ => Err(ApiError::invalid(
                "type",
                "is for the WebSocket of a session, `/sessions/{id}/ws`; this one is of all",
            )),
        };
        std::future::ready(result).boxed()
    })
}

async fn prompt(state: &State, id: &str, text: &[u8]) -> CommandResult {
    let key = parse::<Prompt>(text)?.idempotency_key;
    let body = body(text)?;
    let idempotency = key
        .map(|key| idempotency::of_key(&key, body.as_bytes()))
        .transpose()?;
    let taken = turns::prompt(state, id, body.as_bytes(), idempotency, Reply::Answer).await?;
    Ok(json(&PromptResponse::new(&taken.session, &taken.accepted)))
}

/// The body of the route that does the same. A message that is sent again under another reference has the same.
fn body(text: &[u8]) -> Result<String, ApiError> {
    let mut fields = parse::<BTreeMap<String, Box<RawValue>>>(text)?;
    fields.retain(|name, _| !OF_THE_MESSAGE.contains(&name.as_str()));
    // A map of JSON always becomes JSON.
    Ok(serde_json::to_string(&fields).unwrap_or_default())
}

/// Bodies always become JSON.
fn json(body: &impl Serialize) -> Option<String> {
    serde_json::to_string(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_same_under_every_reference() {
        let one = body(br#"{"type":"prompt","ref":1,"prompt":"a","on_busy":"queue"}"#).unwrap();
        let other = body(
            br#"{"on_busy":"queue","idempotency_key":"k","ref":"x","prompt":"a","type":"prompt"}"#,
        )
        .unwrap();
        assert_eq!(one, r#"{"on_busy":"queue","prompt":"a"}"#);
        assert_eq!(one, other);
    }
}
