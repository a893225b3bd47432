//! One WebSocket over a pipe, with time in our hands: what goes out, what comes in, and how it ends.

mod attacks;
mod client;
mod ends;
mod events;

use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::client::Client;
use super::command::Commands;
use super::connection::Connection;
use super::conversation::Conversation;
use super::message::Kind;
use super::readers::Readers;
use super::source::SessionEvents;
use crate::api::error::{ApiError, ErrorCode};
use crate::session::log::{
    Cursor, EventLog, Limits, Opening, Requested, Transport, View, log_with,
};

/// What the server has, and its task.
struct World {
    log: EventLog,
    readers: std::sync::Arc<Readers>,
    leaving: CancellationToken,
    /// The token of the clients.
    revoked: CancellationToken,
    stop: CancellationToken,
    tracker: TaskTracker,
}

const MAX_MESSAGE: usize = 100_000;

const FOLLOW: View = View {
    follow: true,
    reasoning: false,
    transport: Transport::Websocket,
};

impl World {
    fn new() -> Self {
        Self {
            log: log_with(Limits::default()),
            readers: std::sync::Arc::default(),
            leaving: CancellationToken::new(),
            revoked: CancellationToken::new(),
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
        }
    }

    /// A client whose pipe takes `room` bytes that it has not read.
    fn attach(&self, cursor: &str, view: View, room: usize) -> Client {
        let (ours, theirs) = tokio::io::duplex(room);
        let requested = Requested::parse(cursor.as_bytes());
        let opened = match Cursor::open(&self.log, &requested, view) {
            Opening::UpToDate { .. } => None,
            Opening::Reading { cursor, gap } => Some((cursor, gap)),
        };
        let events = SessionEvents::new(opened, view, self.readers.clone(), self.leaving.clone());
        let connection = Connection::new(ours, MAX_MESSAGE);
        let request_id = "r-1".to_owned();
        let conversation =
            Conversation::new(connection, events, commands(), request_id, &self.revoked);
        let stop = self.stop.clone();
        self.tracker
            .spawn(async move { conversation.run(&stop).await });
        Client::new(theirs)
    }

    fn client(&self) -> Client {
        self.attach("earliest", FOLLOW, 1 << 20)
    }

    /// Nothing is left of any conversation.
    async fn nothing_is_left(&self) {
        self.tracker.close();
        let ended = tokio::time::timeout(Duration::from_mins(1), self.tracker.wait());
        ended.await.expect("every conversation ends");
        assert_eq!(std::sync::Arc::strong_count(&self.readers), 1);
    }
}

/// A cancel takes a second, and fails the second time. A prompt takes a minute.
fn commands() -> Commands {
    let mut count = 0;
    let mut next = move |kind: Kind| {
        count += 1;
        let nth = count;
        async move {
            match kind {
                Kind::Cancel => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    if nth == 2 {
                        return Err(ApiError::new(ErrorCode::Conflict, "it is the second"));
                    }
                    Ok(Some(format!("{{\"nth\":{nth}}}")))
                }
                Kind::Prompt => {
                    tokio::time::sleep(Duration::from_mins(1)).await;
                    Ok(None)
                }
                _ => Ok(None),
            }
        }
        .boxed()
    };
    Box::new(move |kind, _| next(kind))
}
