//! The handlers: what a WebSocket is of, and whether it may be.

use std::sync::Arc;

use axum::extract::{OriginalUri, State as Extract};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::authenticated::{MAX_AUTH, Refusal, authenticated};
use super::close::Close;
use super::connection::Connection;
use super::conversation::{Conversation, refuse};
use super::handshake::Upgrade;
use super::message::{ack, refusal};
use super::source::Source;
use super::topic::Topic;
use crate::api::authentication::SocketAccess;
use crate::api::error::{ApiError, error_responses};
use crate::api::events;
use crate::api::extract::Id;
use crate::api::stream::StreamRequest;
use crate::api::{Shared, State};
use crate::trace;

error_responses!(SocketErrors:
    InvalidRequest,
    NotFound,
    Gone,
    Conflict,
    UpgradeRequired,
    TooManyStreams,
    JournalUnavailable,
);

error_responses!(AllSocketErrors:
    InvalidRequest,
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
    attach(state, upgrade, Topic::Session(id), asked).await
}

/// The events of all sessions: a WebSocket.
///
/// Its messages are those of a session's, with the ids and the data of `GET /events`.
#[utoipa::path(
    get,
    path = "/events/ws",
    operation_id = "all_events_websocket",
    params(
        ("last_event_id" = Option<String>, Query,
            description = "the cursor: an id of this stream, `earliest` or `latest`; absent is `earliest`"),
        ("session_id" = Option<String>, Query,
            description = "only of these sessions: a list with commas, or repeated; they need not exist yet"),
        ("types" = Option<String>, Query, description = "only these types of events, likewise"),
        ("strict" = Option<String>, Query, description = "`1`: 409 instead of a gap"),
        ("include" = Option<String>, Query, description = "`reasoning`: the model's thoughts too"),
        ("Sec-WebSocket-Protocol" = Option<String>, Header,
            description = "`opencode-sidecar`, and `bearer.<token>` where no header can be set"),
    ),
    responses((status = 101, description = "it is one"), AllSocketErrors)
)]
pub(in crate::api) async fn all(
    Extract(state): Shared,
    upgrade: Upgrade,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked = StreamRequest::of_a_socket(&uri, &headers);
    let filter = events::filter(&uri, &asked)?;
    attach(state, upgrade, Topic::All(filter), asked).await
}

async fn attach(
    state: Arc<State>,
    upgrade: Upgrade,
    topic: Topic,
    asked: StreamRequest,
) -> Result<Response, ApiError> {
    let (place, request_id) = (upgrade.place.clone(), upgrade.request_id.clone());
    // What the client says later is of this request.
    let (span, trace) = (Span::current(), trace::current());
    if let SocketAccess::Granted(revoked) = &upgrade.access {
        let revoked = revoked.clone();
        let (events, start) = topic.open(&state, &asked).await?;
        return Ok(upgrade.switch(start, move |socket| async move {
            let connection = Connection::new(socket, state.rules.max_body_bytes);
            let commands = topic.commands(state, trace);
            let conversation =
                Conversation::new(connection, events, commands, request_id, &revoked);
            conversation.run(place.stop()).instrument(span).await;
        }));
    }
    let Some(waiting) = state.sockets.unauthenticated() else {
        return Err(ApiError::too_many_sockets(
            "too many WebSockets have not said their token yet; send it with the handshake",
        ));
    };
    Ok(upgrade.switch(HeaderMap::new(), move |socket| async move {
        let mut connection = Connection::new(socket, MAX_AUTH);
        let begun = begin(&mut connection, &state, &topic, &asked, place.stop()).await;
        drop(waiting);
        match begun {
            Ok((events, revoked)) => {
                connection.set_max_message(state.rules.max_body_bytes);
                let commands = topic.commands(state, trace);
                let conversation =
                    Conversation::new(connection, events, commands, request_id, &revoked);
                conversation.run(place.stop()).instrument(span).await;
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
    topic: &Topic,
    asked: &StreamRequest,
    stop: &CancellationToken,
) -> Result<(Box<dyn Source>, CancellationToken), Refusal> {
    let (reference, revoked) = authenticated(connection, &state.secrets, stop).await?;
    match topic.open(state, asked).await {
        Ok((events, _)) => {
            connection.send(ack::<()>(reference.as_ref(), None));
            Ok((events, revoked))
        }
        Err(error) => Err(Refusal::Error(reference, error)),
    }
}
