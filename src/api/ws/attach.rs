//! The handlers: what a WebSocket is of, and whether it may be.

use std::sync::Arc;

use axum::extract::{OriginalUri, State as Extract};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::io::{AsyncRead, AsyncWrite};

use super::authenticated::{MAX_AUTH, Refusal, authenticated};
use super::close::Close;
use super::command::of_session;
use super::connection::Connection;
use super::conversation::{Conversation, refuse};
use super::handshake::Upgrade;
use super::message::{ack, refusal};
use super::source::SessionEvents;
use crate::api::error::{ApiError, error_responses};
use crate::api::extract::Id;
use crate::api::lookup;
use crate::api::stream::{StreamError, StreamRequest, start_headers};
use crate::api::{Shared, State};
use crate::session::log::{Cursor, Opening};

error_responses!(SocketErrors:
    InvalidRequest,
    NotFound,
    Gone,
    Conflict,
    UpgradeRequired,
    TooManyStreams,
    JournalUnavailable,
);

/// The events of a session, and messages back: a WebSocket.
///
/// Each event is a text message `{"id","event","data"}`; messages of clients are `{"type","ref",…}`. `API_CONTRACT.md` has both,
/// and the codes of the close.
#[utoipa::path(
    get,
    path = "/sessions/{id}/ws",
    operation_id = "session_websocket",
    params(
        ("id" = String, Path, description = "the `session_id`"),
        ("last_event_id" = Option<String>, Query,
            description = "the cursor: an id, `earliest` or `latest`; absent is `earliest`"),
        ("follow" = Option<String>, Query, description = "`0`: close when the session is idle"),
        ("strict" = Option<String>, Query, description = "`1`: 409 instead of a gap"),
        ("include" = Option<String>, Query, description = "`reasoning`: the model's thoughts too"),
        ("Sec-WebSocket-Protocol" = Option<String>, Header,
            description = "`opencode-sidecar`, and `bearer.<token>` where no header can be set"),
    ),
    responses((status = 101, description = "it is one"), SocketErrors)
)]
pub(in crate::api) async fn session(
    Extract(state): Shared,
    upgrade: Upgrade,
    Id(id): Id,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked = StreamRequest::of_a_socket(&uri, &headers);
    let (place, request_id) = (upgrade.place.clone(), upgrade.request_id.clone());
    if upgrade.is_authenticated {
        let (events, start) = open(&state, &id, &asked).await?;
        return Ok(upgrade.switch(start, move |socket| async move {
            let connection = Connection::new(socket, state.rules.max_body_bytes);
            let commands = of_session(state, id);
            let conversation = Conversation::new(connection, events, commands, request_id);
            conversation.run(place.stop()).await;
        }));
    }
    let Some(waiting) = state.sockets.unauthenticated() else {
        return Err(ApiError::too_many_sockets(
            "too many WebSockets have not said their token yet; send it with the handshake",
        ));
    };
    Ok(upgrade.switch(HeaderMap::new(), move |socket| async move {
        let mut connection = Connection::new(socket, MAX_AUTH);
        let begun = begin(&mut connection, &state, &id, &asked, place.stop()).await;
        drop(waiting);
        match begun {
            Ok(events) => {
                connection.set_max_message(state.rules.max_body_bytes);
                let commands = of_session(state, id);
                let conversation = Conversation::new(connection, events, commands, request_id);
                conversation.run(place.stop()).await;
            }
            Err(Refusal::Gone) => {}
            Err(Refusal::Close(reason)) => {
                refuse(connection, bytes::Bytes::new(), reason).await;
            }
            Err(Refusal::Error(reference, error)) => {
                let answer = refusal(reference.as_ref(), &error, &request_id);
                refuse(connection, answer, Close::error(&error)).await;
            }
        }
    }))
}

/// Waits for the token of a socket that is open already, and opens what it asked for.
async fn begin<IO: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<IO>,
    state: &Arc<State>,
    id: &str,
    asked: &StreamRequest,
    stop: &tokio_util::sync::CancellationToken,
) -> Result<SessionEvents, Refusal> {
    let reference = authenticated(connection, &state.secrets, stop).await?;
    match open(state, id, asked).await {
        Ok((events, _)) => {
            connection.send(ack::<()>(reference.as_ref(), None));
            Ok(events)
        }
        Err(error) => Err(Refusal::Error(reference, error)),
    }
}

/// A reader of the session, and the headers that say where it starts.
async fn open(
    state: &State,
    id: &str,
    asked: &StreamRequest,
) -> Result<(SessionEvents, HeaderMap), ApiError> {
    let session = lookup::session(state, id).await?;
    let (opened, start) = match Cursor::open(&session.log, &asked.asked, asked.view) {
        Opening::UpToDate { last } => (None, last),
        Opening::Reading { gap: Some(gap), .. } if asked.strict => {
            return Err(StreamError::Gap(gap).into());
        }
        Opening::Reading { cursor, gap } => {
            let start = cursor.position();
            (Some((cursor, gap)), start)
        }
    };
    let Some(readers) = state.sockets.join(start.epoch) else {
        return Err(ApiError::too_many_sockets(
            "too many WebSockets are open on this session",
        ));
    };
    let leaving = state.shutdown.drain.clone();
    let events = SessionEvents::new(opened, asked.view, readers, leaving);
    Ok((events, start_headers(start)))
}
