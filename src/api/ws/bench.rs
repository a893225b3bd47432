//! A WebSocket of a log without a session round it, for `benches/stream.rs`.

use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::conversation::Conversation;
use super::handshake::Upgrade;
use super::readers::Sockets;
use super::source::SessionEvents;
use crate::session::log::{Cursor, EventLog, Opening, Requested, View};

const MAX_MESSAGE: usize = 1 << 20;

/// Tells the log from its start to the end of its turn; messages of the client do nothing.
pub(crate) fn answer(upgrade: Upgrade, log: &EventLog, sockets: &Sockets) -> Option<Response> {
    let view = View::default();
    let opened = match Cursor::open(log, &Requested::Earliest, view) {
        Opening::UpToDate { .. } => None,
        Opening::Reading { cursor, gap } => Some((cursor, gap)),
    };
    let readers = sockets.join(log.last_event_id().epoch)?;
    let events = SessionEvents::new(opened, view, readers, CancellationToken::new());
    let place = upgrade.place.clone();
    Some(upgrade.switch(HeaderMap::new(), move |socket| async move {
        let never = CancellationToken::new();
        let commands = Box::new(|_, _| async { Ok(None) }.boxed());
        let connection = Connection::new(socket, MAX_MESSAGE);
        let conversation = Conversation::new(connection, events, commands, String::new(), &never);
        conversation.run(place.stop()).await;
    }))
}
