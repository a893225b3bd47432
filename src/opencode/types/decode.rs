//! From bytes to [`Event`], by its type.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::event::{
    Event, Message, MessageInfo, PermissionAsked, ProviderError, QuestionAsked, SessionInfo,
    SessionStatus, Todo,
};
use super::part::{Part, RawPart};
use super::text;

/// Why a frame could not be read. It says which event, never what was in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("read the envelope of an event")]
    Envelope(#[source] serde_json::Error),
    #[error("read an event of type {kind}")]
    Body {
        kind: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("read the list of {what}")]
    List {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

/// What `GET /session/status` says; a session that is not in it is idle.
pub(crate) type Statuses = HashMap<String, SessionStatus>;

/// A durable event from `/sync/history`.
#[derive(Debug)]
pub(crate) struct HistoryItem {
    pub(crate) session: String,
    pub(crate) seq: u64,
    /// The same as the live event; an unreadable one is [`Event::Unknown`], so that its place counts.
    pub(crate) event: Event,
}

/// Reads one envelope of `/global/event`, or one bare event of `/event`.
pub(crate) fn decode(frame: &[u8]) -> Result<Event, DecodeError> {
    let envelope: RawEnvelope<'_> = serde_json::from_slice(frame).map_err(DecodeError::Envelope)?;
    let payload = envelope.payload.unwrap_or(RawPayload {
        kind: envelope.kind.unwrap_or_default(),
        properties: envelope.properties,
        sync: None,
    });
    if let Some(sync) = payload.sync {
        return Ok(Event::Sync {
            session: sync.session,
            seq: sync.seq,
        });
    }
    event(
        &payload.kind,
        payload.properties.map_or("{}", RawValue::get),
    )
}

/// Reads the answer of `/sync/history`, in the order things happened across all its sessions.
pub(crate) fn history(body: &[u8]) -> Result<Vec<HistoryItem>, DecodeError> {
    let mut items: Vec<RawHistoryItem<'_>> = list("history", body)?;
    // Ids sort by time. A stable sort: within a session the answer is in order already.
    items.sort_by(|a, b| a.id.cmp(&b.id));
    let items = items.into_iter().map(|item| {
        // "message.part.updated.1": the number is the version of the shape.
        let kind = item.kind.strip_suffix(".1").unwrap_or(&item.kind);
        let event = event(kind, item.data.get());
        let event = event.unwrap_or_else(|_| Event::Unknown {
            kind: item.kind.to_string(),
        });
        HistoryItem {
            session: item.aggregate_id,
            seq: item.seq,
            event,
        }
    });
    Ok(items.collect())
}

/// Reads the answer of `GET /session/{id}/message`.
pub(crate) fn messages(body: &[u8]) -> Result<Vec<Message>, DecodeError> {
    let messages: Vec<RawMessage<'_>> = list("messages", body)?;
    let messages = messages.into_iter().map(|message| Message {
        info: message.info,
        parts: message
            .parts
            .into_iter()
            .map(|part| part.into_part(None))
            .collect(),
    });
    Ok(messages.collect())
}

/// Reads the answer of `GET /session/{id}/children`.
pub(crate) fn sessions(body: &[u8]) -> Result<Vec<SessionInfo>, DecodeError> {
    list("sessions", body)
}

/// Reads the answer of `GET /permission`.
pub(crate) fn permissions(body: &[u8]) -> Result<Vec<PermissionAsked>, DecodeError> {
    list("permissions", body)
}

/// Reads the answer of `GET /question`.
pub(crate) fn questions(body: &[u8]) -> Result<Vec<QuestionAsked>, DecodeError> {
    list("questions", body)
}

/// Reads the answer of `GET /session/status`.
pub(crate) fn statuses(body: &[u8]) -> Result<Statuses, DecodeError> {
    list("statuses", body)
}

fn list<'a, T: Deserialize<'a>>(what: &'static str, body: &'a [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(body).map_err(|source| DecodeError::List { what, source })
}

fn event(kind: &str, body: &str) -> Result<Event, DecodeError> {
    parse(kind, body).map_err(|source| DecodeError::Body {
        kind: kind.to_owned(),
        source,
    })
}

fn parse(kind: &str, body: &str) -> Result<Event, serde_json::Error> {
    Ok(match kind {
        "message.part.delta" => Event::Delta(serde_json::from_str(body)?),
        "message.part.updated" => Event::Part(part(body)?),
        "message.updated" => Event::Message(info(body)?),
        "session.created" => Event::SessionCreated(info(body)?),
        "session.updated" => Event::SessionUpdated(info(body)?),
        "session.deleted" => Event::SessionDeleted {
            session: info::<SessionInfo>(body)?.id,
        },
        "session.status" => {
            let SessionStatusEvent { session, status } = serde_json::from_str(body)?;
            Event::Status { session, status }
        }
        "session.idle" => Event::Idle {
            session: session(body)?,
        },
        "session.compacted" => Event::Compacted {
            session: session(body)?,
        },
        "session.error" => {
            let SessionErrorEvent { session, error } = serde_json::from_str(body)?;
            let error = error.unwrap_or_default();
            Event::SessionError { session, error }
        }
        "permission.asked" => Event::PermissionAsked(serde_json::from_str(body)?),
        "permission.replied" => {
            let replied: Replied = serde_json::from_str(body)?;
            Event::PermissionReplied {
                session: replied.session,
                request: replied.request,
                reply: replied.reply.unwrap_or_default(),
            }
        }
        "question.asked" => Event::QuestionAsked(serde_json::from_str(body)?),
        "question.replied" => {
            let replied: Replied = serde_json::from_str(body)?;
            Event::QuestionReplied {
                session: replied.session,
                request: replied.request,
                answers: replied.answers.into_iter().map(|one| one.0).collect(),
            }
        }
        "question.rejected" => {
            let Replied {
                session, request, ..
            } = serde_json::from_str(body)?;
            Event::QuestionRejected { session, request }
        }
        "todo.updated" => {
            let Todos { session, todos } = serde_json::from_str(body)?;
            Event::Todos { session, todos }
        }
        "server.instance.disposed" | "global.disposed" => Event::Disposed {
            directory: serde_json::from_str::<Disposed>(body)?.directory,
        },
        "server.connected" => Event::Connected,
        "server.heartbeat" => Event::Heartbeat,
        _ => Event::Unknown {
            kind: kind.to_owned(),
        },
    })
}

fn part(body: &str) -> Result<Part, serde_json::Error> {
    let PartUpdated { part, time } = serde_json::from_str(body)?;
    Ok(part.into_part(time))
}

fn session(body: &str) -> Result<String, serde_json::Error> {
    Ok(serde_json::from_str::<SessionId>(body)?.session)
}

/// The `info` of an event about a session or a message.
fn info<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, serde_json::Error> {
    Ok(serde_json::from_str::<Info<T>>(body)?.info)
}

#[derive(Deserialize)]
struct RawEnvelope<'a> {
    #[serde(borrow)]
    payload: Option<RawPayload<'a>>,
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawPayload<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
    #[serde(rename = "syncEvent")]
    sync: Option<SyncEvent>,
}

#[derive(Deserialize)]
struct SyncEvent {
    seq: u64,
    #[serde(rename = "aggregateID")]
    session: String,
}

#[derive(Deserialize)]
struct RawHistoryItem<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    aggregate_id: String,
    seq: u64,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    info: MessageInfo,
    #[serde(borrow)]
    parts: Vec<RawPart<'a>>,
}

#[derive(Deserialize)]
struct PartUpdated<'a> {
    #[serde(borrow)]
    part: RawPart<'a>,
    time: Option<u64>,
}

#[derive(Deserialize)]
struct Info<T> {
    info: T,
}

#[derive(Deserialize)]
struct SessionId {
    #[serde(rename = "sessionID")]
    session: String,
}

#[derive(Deserialize)]
struct SessionStatusEvent {
    #[serde(rename = "sessionID")]
    session: String,
    status: SessionStatus,
}

#[derive(Deserialize)]
struct SessionErrorEvent {
    #[serde(rename = "sessionID")]
    session: Option<String>,
    error: Option<ProviderError>,
}

#[derive(Deserialize)]
struct Replied {
    #[serde(rename = "sessionID")]
    session: String,
    #[serde(rename = "requestID")]
    request: String,
    reply: Option<String>,
    #[serde(default)]
    answers: Vec<Answers>,
}

/// The answers to one question.
#[derive(Deserialize)]
struct Answers(#[serde(deserialize_with = "text::list")] Vec<String>);

#[derive(Deserialize)]
struct Todos {
    #[serde(rename = "sessionID")]
    session: String,
    todos: Vec<Todo>,
}

#[derive(Deserialize)]
struct Disposed {
    directory: Option<String>,
}
