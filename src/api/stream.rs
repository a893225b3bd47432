//! `GET /sessions/{id}/stream`: a cursor on the session's log, as server-sent events.
//!
//! Owns what a request asks for ([`StreamRequest`]), the answer's status and headers, and the body.
//! Promises that no cursor is refused unless `?strict=1` wants that, that the first bytes go out at
//! once, and that the body ends cleanly. Does not find the session, map errors to statuses, or watch
//! the socket: [`super::write_timeout`] closes a reader that accepts nothing.

mod body;
mod request;
mod until;

use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use self::body::{Events, SseBody};
pub(crate) use self::request::StreamRequest;
pub(super) use self::until::until;
use super::access::StreamReport;
use super::encode::sse;
use crate::session::all_events::{self, Filter};
use crate::session::limits::{StreamPermit, StreamSlots};
use crate::session::log::{
    Cursor, End, Epoch, EventId, EventLog, Gap, Opening, Reader, Step, TurnSpan,
};

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// 429 with `Retry-After`.
    #[error("64 such streams are open; close one, or wait until one ends")]
    TooManyStreams { retry_after: Duration },
    /// 409, only with `?strict=1`.
    #[error("events after {} are not available ({})", .0.requested, .0.reason.as_str())]
    Gap(Gap),
}

/// `Retry-After` of a session whose streams are all taken: they end when their readers go, which
/// nobody can foresee.
const SLOT_RETRY: Duration = Duration::from_secs(5);
/// How soon a client that lost its connection comes back. Spread, so that all who lost it together do
/// not come back together.
const RETRY_MS: Range<u32> = 1000..2001;
/// The same for readers of all events: they are few, and hold no client up.
const ALL_RETRY: Duration = Duration::from_secs(3);
/// The same for those sent home by a shutdown: the successor must start first, and then finds every
/// reader of this process at its door.
const SHUTDOWN_RETRY_MS: Range<u32> = 2000..10_001;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("sidecar-last-event-id");
const EPOCH: HeaderName = HeaderName::from_static("sidecar-epoch");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Answers a request for a session's events. The same for GET and HEAD; the server drops HEAD's body.
/// `leaving`: the process is about to end, and readers are told when to come back.
pub(crate) fn stream(
    log: &EventLog,
    slots: &StreamSlots,
    request: &StreamRequest,
    leaving: &CancellationToken,
) -> Result<Response, StreamError> {
    let (cursor, gap) = match Cursor::open(log, &request.asked, request.view) {
        Opening::UpToDate { last } => return Ok(up_to_date(last)),
        Opening::Reading { gap: Some(gap), .. } if request.strict => {
            return Err(StreamError::Gap(gap));
        }
        Opening::Reading { cursor, gap } => (cursor, gap),
    };
    let permit = permit(slots)?;
    let start = cursor.position();
    let opening = sse::opening(spread(&RETRY_MS), gap.as_ref());
    Ok(answer(start, opening, cursor, permit, leaving))
}

/// Answers a request for the events of all sessions. There is always more to come.
pub(crate) fn stream_all(
    source: &all_events::Source,
    slots: &StreamSlots,
    (request, filter): (&StreamRequest, Filter),
    leaving: &CancellationToken,
) -> Result<Response, StreamError> {
    let (cursor, gap) = source.open(&request.asked, filter);
    let gap = match gap {
        Some(gap) if request.strict => return Err(StreamError::Gap(gap)),
        gap => gap,
    };
    let permit = permit(slots)?;
    let start = cursor.position();
    let opening = sse::opening(ALL_RETRY, gap.as_ref());
    Ok(answer(start, opening, cursor, permit, leaving))
}

/// The right to one more stream of what `slots` is of.
pub(super) fn permit(slots: &StreamSlots) -> Result<StreamPermit, StreamError> {
    slots.try_take().ok_or(StreamError::TooManyStreams {
        retry_after: SLOT_RETRY,
    })
}

/// The stream from `start` on.
fn answer(
    start: EventId,
    opening: Bytes,
    cursor: impl Events + Unpin,
    permit: StreamPermit,
    leaving: &CancellationToken,
) -> Response {
    let report = Arc::<StreamReport>::default();
    let body = Body::new(SseBody::new(
        opening,
        cursor,
        permit,
        report.clone(),
        (leaving.clone(), spread(&SHUTDOWN_RETRY_MS)),
    ));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // nginx holds a response back unless told not to.
        (ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    (
        StatusCode::OK,
        headers,
        place(start),
        Extension(report),
        body,
    )
        .into_response()
}

/// The events of one turn, which may not have begun yet.
enum TurnEvents {
    /// Nothing comes out if the log is closed before.
    Waiting(BoxFuture<'static, Option<Cursor<Reader>>>),
    Reading(Box<Cursor<Reader>>),
}

/// Answers with the events of one turn, which come after `from`.
pub(crate) fn turn_stream(
    log: &EventLog,
    permit: StreamPermit,
    (from, turn): (EventId, Arc<TurnSpan>),
    leaving: &CancellationToken,
) -> Response {
    let log = log.clone();
    let cursor = async move {
        tokio::select! {
            // A prompt may have become part of a turn that had begun before.
            after = turn.began() => Some(Cursor::of_turn(&log, after.max(from.seq), Arc::clone(&turn))),
            () = log.closed() => None,
        }
    };
    let events = TurnEvents::Waiting(cursor.boxed());
    let opening = sse::opening(spread(&RETRY_MS), None);
    answer(from, opening, events, permit, leaving)
}

/// Whether the client wants to follow at once. A list that also takes JSON is no such wish.
pub(super) fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    accept.contains("text/event-stream") && !accept.contains("json")
}

impl Events for TurnEvents {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            match self {
                Self::Reading(cursor) => return cursor.poll_next(cx),
                Self::Waiting(cursor) => match ready!(cursor.as_mut().poll(cx)) {
                    Some(cursor) => *self = Self::Reading(Box::new(cursor)),
                    None => return Poll::Ready(Step::End(End::Closed)),
                },
            }
        }
    }

    fn skipped_to(&mut self) -> Option<EventId> {
        match self {
            Self::Reading(cursor) => cursor.skipped_to(),
            Self::Waiting(_) => None,
        }
    }

    fn progress(&self) -> (u64, u64) {
        match self {
            Self::Reading(cursor) => cursor.progress(),
            Self::Waiting(_) => (0, 0),
        }
    }
}

/// 204: the one answer after which an `EventSource` stops coming back.
fn up_to_date(last: EventId) -> Response {
    (StatusCode::NO_CONTENT, place(last)).into_response()
}

/// The headers that say where the stream starts, on every answer.
fn place(id: EventId) -> [(HeaderName, HeaderValue); 3] {
    [
        (
            CACHE_CONTROL,
            HeaderValue::from_static("no-cache, no-store, no-transform"),
        ),
        (LAST_EVENT_ID, text_header(&id.to_string())),
        (EPOCH, epoch_header(id.epoch)),
    ]
}

/// The headers that say where a WebSocket starts.
pub(super) fn start_headers(id: EventId) -> HeaderMap {
    HeaderMap::from_iter([
        (LAST_EVENT_ID, text_header(&id.to_string())),
        (EPOCH, epoch_header(id.epoch)),
    ])
}

fn epoch_header(epoch: Epoch) -> HeaderValue {
    text_header(epoch.as_str())
}

/// Ids are letters, digits and a dash, which a header may always hold.
fn text_header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// A random time within the bounds.
fn spread(millis: &Range<u32>) -> Duration {
    // Without random bytes all come back at once, which is worse than spread and better than never.
    let random = getrandom::u32().unwrap_or_default();
    let millis = millis.start + random % (millis.end - millis.start);
    Duration::from_millis(millis.into())
}

#[cfg(test)]
mod tests;
