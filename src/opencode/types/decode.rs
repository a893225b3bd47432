//! From bytes to [`Event`], by its type.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::{
    WireDelta, WireDisposed, WireEnvelope, WireHistory, WireMessage, WireMessageUpdated,
    WirePartUpdated, WirePayload, WirePermission, WireQuestion, WireReplied, WireSession,
    WireSessionError, WireSessionInfo, WireSessionStatus, WireSessionUpdated, WireStatus,
    WireTodos,
};
use super::{Envelope, Event, Message, SessionInfo, SessionStatus, Text};

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
pub(crate) fn decode(frame: &[u8]) -> Result<Envelope, DecodeError> {
    let wire: WireEnvelope<'_> = serde_json::from_slice(frame).map_err(DecodeError::Envelope)?;
    let directory = wire.directory.map(Cow::into_owned);
    let payload = match (wire.payload, wire.kind) {
        (Some(payload), _) => payload,
        (None, kind) => {
            let kind = kind.unwrap_or_default();
            WirePayload {
                kind,
                properties: wire.properties,
                sync: None,
            }
        }
    };
    if let Some(sync) = payload.sync {
        let event = Event::Sync {
            session: sync.session,
            seq: sync.seq,
        };
        return Ok(Envelope { directory, event });
    }
    let event = event(
        &payload.kind,
        payload.properties.map_or("{}", RawValue::get),
    )?;
    Ok(Envelope { directory, event })
}

/// Reads the answer of `/sync/history`, in the order things happened across all its sessions.
pub(crate) fn history(body: &[u8]) -> Result<Vec<HistoryItem>, DecodeError> {
    let mut items: Vec<WireHistory<'_>> = list("history", body)?;
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
    let messages: Vec<WireMessage<'_>> = list("messages", body)?;
    let messages = messages.into_iter().map(|message| Message {
        info: message.info.into_info(),
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
    let sessions: Vec<WireSessionInfo> = list("sessions", body)?;
    Ok(sessions
        .into_iter()
        .map(WireSessionInfo::into_info)
        .collect())
}

/// Reads the answer of `GET /session/status`.
pub(crate) fn statuses(body: &[u8]) -> Result<Statuses, DecodeError> {
    let statuses: HashMap<String, WireStatus> = list("statuses", body)?;
    Ok(statuses
        .into_iter()
        .map(|(session, status)| (session, status.into_status()))
        .collect())
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
        "message.part.delta" => serde_json::from_str::<WireDelta>(body)?.into_event(),
        "message.part.updated" => {
            let wire: WirePartUpdated<'_> = serde_json::from_str(body)?;
            Event::Part(wire.part.into_part(wire.time))
        }
        "message.updated" => Event::Message(
            serde_json::from_str::<WireMessageUpdated>(body)?
                .info
                .into_info(),
        ),
        "session.created" => Event::SessionCreated(session_info(body)?),
        "session.updated" => Event::SessionUpdated(session_info(body)?),
        "session.deleted" => Event::SessionDeleted {
            session: session_info(body)?.id,
        },
        "session.status" => {
            let wire: WireSessionStatus = serde_json::from_str(body)?;
            Event::Status {
                session: wire.session,
                status: wire.status.into_status(),
            }
        }
        "session.idle" => Event::Idle {
            session: session(body)?,
        },
        "session.compacted" => Event::Compacted {
            session: session(body)?,
        },
        "session.error" => {
            let wire: WireSessionError = serde_json::from_str(body)?;
            let error = wire.error.unwrap_or_default().into_error();
            Event::SessionError {
                session: wire.session,
                error,
            }
        }
        "permission.asked" => serde_json::from_str::<WirePermission<'_>>(body)?.into_event(),
        "permission.replied" => {
            let wire: WireReplied = serde_json::from_str(body)?;
            let reply = wire.reply.unwrap_or_default();
            Event::PermissionReplied {
                session: wire.session,
                request: wire.request,
                reply,
            }
        }
        "question.asked" => serde_json::from_str::<WireQuestion<'_>>(body)?.into_event(),
        "question.replied" => {
            let wire: WireReplied = serde_json::from_str(body)?;
            Event::QuestionReplied {
                session: wire.session,
                request: wire.request,
            }
        }
        "question.rejected" => {
            let wire: WireReplied = serde_json::from_str(body)?;
            Event::QuestionRejected {
                session: wire.session,
                request: wire.request,
            }
        }
        "todo.updated" => serde_json::from_str::<WireTodos>(body)?.into_event(),
        "server.instance.disposed" | "global.disposed" => Event::Disposed {
            directory: serde_json::from_str::<WireDisposed>(body)?.directory,
        },
        "server.connected" => Event::Connected,
        "server.heartbeat" => Event::Heartbeat,
        _ => Event::Unknown {
            kind: kind.to_owned(),
        },
    })
}

fn session(body: &str) -> Result<String, serde_json::Error> {
    Ok(serde_json::from_str::<WireSession>(body)?.session)
}

fn session_info(body: &str) -> Result<SessionInfo, serde_json::Error> {
    Ok(serde_json::from_str::<WireSessionUpdated>(body)?
        .info
        .into_info())
}

// === impl WireSessionInfo ===

impl WireSessionInfo {
    fn into_info(self) -> SessionInfo {
        SessionInfo {
            id: self.id,
            parent: self.parent,
            agent: self.agent,
            title: self.title.map(Text::into_whole),
        }
    }
}
