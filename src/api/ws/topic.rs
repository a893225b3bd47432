//! What a WebSocket is of: a session, or all of them.

use std::sync::Arc;

use axum::http::HeaderMap;

use super::command::{Commands, of_all, of_session};
use super::source::{AllEvents, SessionEvents, Source};
use crate::api::State;
use crate::api::error::ApiError;
use crate::api::lookup;
use crate::api::stream::{StreamError, StreamRequest, start_headers};
use crate::session::all_events::Filter;
use crate::session::log::{Cursor, Opening, Transport, View};
use crate::trace::TraceContext;

#[derive(Clone, Debug)]
pub(super) enum Topic {
    /// That with this id.
    Session(String),
    /// As far as they are wanted.
    All(Filter),
}

// === impl Topic ===

impl Topic {
    /// A reader of it, and the headers that say where it starts.
    pub(super) async fn open(
        &self,
        state: &State,
        asked: &StreamRequest,
    ) -> Result<(Box<dyn Source>, HeaderMap), ApiError> {
        match self {
            Self::Session(id) => open_session(state, id, asked).await,
            Self::All(filter) => open_all(state, filter.clone(), asked).await,
        }
    }

    /// What its clients may ask for.
    pub(super) fn commands(self, state: Arc<State>, trace: Option<TraceContext>) -> Commands {
        match self {
            Self::Session(id) => of_session(state, id, trace),
            Self::All(_) => of_all(),
        }
    }
}

async fn open_session(
    state: &State,
    id: &str,
    asked: &StreamRequest,
) -> Result<(Box<dyn Source>, HeaderMap), ApiError> {
    let session = lookup::session(state, id).await?;
    let view = View {
        transport: Transport::Websocket,
        ..asked.view
    };
    let (opened, start) = match Cursor::open(&session.log, &asked.asked, view) {
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
    let events = SessionEvents::new(opened, view, readers, leaving);
    Ok((Box::new(events), start_headers(start)))
}

async fn open_all(
    state: &State,
    filter: Filter,
    asked: &StreamRequest,
) -> Result<(Box<dyn Source>, HeaderMap), ApiError> {
    let source = state.registry.all_events().await?;
    let (cursor, gap) = match source.open(&asked.asked, filter) {
        (_, Some(gap)) if asked.strict => return Err(StreamError::Gap(gap).into()),
        opened => opened,
    };
    let Some(permit) = state.registry.all_slots().try_take() else {
        return Err(ApiError::too_many_sockets(
            "too many streams of all events are open",
        ));
    };
    let start = start_headers(cursor.position());
    Ok((Box::new(AllEvents::new(cursor, gap, permit)), start))
}
