//! A session's events, over as many connections as it takes: a connection that is cut is made again, from the
//! last event that arrived.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::{Method, Response};
use tokio::time::Instant;

use super::sse::{Decoder, Frame};
use super::types::Event;
use super::{Client, accepted};
use crate::cli::exit::{Exit, Problem};

/// The sidecar sends a heartbeat every 15 s. A connection that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(45);

/// Between two attempts, and twice as long each time up to the second.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(5);

/// How long a sidecar may be away: as long as a pod takes to be replaced.
const AWAY: Duration = Duration::from_mins(3);

/// Whose events are wanted.
#[derive(Clone, Debug)]
pub(in crate::cli) enum Source {
    Session(String),
    /// Of all sessions, or of these, and of all types, or of these. It has no end.
    All {
        sessions: Vec<String>,
        types: Vec<String>,
    },
}

/// Which events are wanted.
#[derive(Clone, Debug)]
pub(in crate::cli) struct StreamRequest {
    pub(in crate::cli) source: Source,
    /// An event id, `earliest` or `latest`.
    pub(in crate::cli) from: Option<String>,
    /// Whether the stream stays when a turn ends.
    pub(in crate::cli) follow: bool,
    /// Whether the sidecar has answered before: then one that does not is waited for. Else the first attempt says
    /// whether there is a sidecar at all.
    pub(in crate::cli) known: bool,
    pub(in crate::cli) reasoning: bool,
}

/// What comes next.
#[derive(Debug)]
pub(in crate::cli) enum StreamStep {
    Event(Event),
    /// The connection is gone, and is being made again; the sentence says why.
    Lost(String),
    /// There is no more.
    End,
}

/// The events of a session. Waiting for the next one may be given up at any time without losing any.
#[derive(Debug)]
pub(in crate::cli) struct Stream {
    client: Client,
    request: StreamRequest,
    cursor: Option<String>,
    connection: Option<Connection>,
    ready: VecDeque<Frame>,
    /// The turn's last event was seen, and nothing after it.
    at_end: bool,
    retry: Duration,
    /// When the next attempt is due, and since when there is no connection.
    next_attempt: Instant,
    away_since: Option<Instant>,
}

#[derive(Debug)]
struct Connection {
    response: Response,
    decoder: Decoder,
}

// === impl Stream ===

impl Stream {
    pub(in crate::cli) fn new(client: Client, request: StreamRequest) -> Self {
        Self {
            client,
            cursor: request.from.clone(),
            request,
            connection: None,
            ready: VecDeque::new(),
            at_end: false,
            retry: RETRY,
            next_attempt: Instant::now(),
            away_since: None,
        }
    }

    /// The next event.
    ///
    /// # Errors
    /// When the session is not there, or the sidecar stays away.
    pub(in crate::cli) async fn next(&mut self) -> Result<StreamStep, Problem> {
        loop {
            while let Some(frame) = self.ready.pop_front() {
                if let Some(event) = self.take(frame) {
                    return Ok(StreamStep::Event(event));
                }
            }
            let Some(connection) = &mut self.connection else {
                tokio::time::sleep_until(self.next_attempt).await;
                match self.connect().await {
                    Ok(Some(response)) => {
                        let decoder = Decoder::default();
                        self.connection = Some(Connection { response, decoder });
                    }
                    Ok(None) => return Ok(StreamStep::End),
                    Err(problem) => return self.retry(problem),
                }
                continue;
            };
            match tokio::time::timeout(SILENCE, connection.response.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    self.retry = RETRY;
                    self.away_since = None;
                    self.ready.extend(connection.decoder.push(&bytes)?);
                }
                // A clean end after the end of a turn is the end; any other is a cut.
                Ok(Ok(None)) if self.at_end && !self.request.follow => return Ok(StreamStep::End),
                Ok(Ok(None)) => return Ok(self.lost("the stream was closed")),
                Ok(Err(_)) => return Ok(self.lost("the connection was cut")),
                Err(_) => return Ok(self.lost("the connection is silent")),
            }
        }
    }

    /// `None`: the session is idle and everything of it was seen.
    async fn connect(&self) -> Result<Option<Response>, Problem> {
        let mut request = match &self.request.source {
            Source::Session(id) => self
                .client
                .request(Method::GET, &["sessions", id, "stream"]),
            Source::All { sessions, types } => {
                let sessions = sessions.iter().map(|id| ("session_id", id));
                let filters: Vec<_> = sessions
                    .chain(types.iter().map(|kind| ("types", kind)))
                    .collect();
                self.client
                    .request(Method::GET, &["events"])
                    .query(&filters)
            }
        };
        if let Some(cursor) = &self.cursor {
            // As a parameter, which also takes `earliest` and `latest`, and which no proxy strips.
            request = request.query(&[("last_event_id", cursor)]);
        }
        if self.request.follow && matches!(self.request.source, Source::Session(_)) {
            request = request.query(&[("follow", "1")]);
        }
        if self.request.reasoning {
            request = request.query(&[("include", "reasoning")]);
        }
        let head = tokio::time::timeout(SILENCE, self.client.send(request)).await;
        let late = || Problem::new(Exit::Unreachable, "the stream does not begin in time");
        let response = head.map_err(|_| late())??;
        if response.status().as_u16() == 204 {
            return Ok(None);
        }
        accepted(response).await.map(Some)
    }

    fn retry(&mut self, problem: Problem) -> Result<StreamStep, Problem> {
        let now = Instant::now();
        let passes = matches!(problem.exit, Exit::Unreachable | Exit::TryAgain);
        let known =
            self.request.known || self.cursor != self.request.from || self.away_since.is_some();
        let since = *self.away_since.get_or_insert(now);
        if !passes || !known || now - since > AWAY {
            return Err(problem);
        }
        self.next_attempt = now + self.retry;
        self.retry = (2 * self.retry).min(MAX_RETRY);
        Ok(StreamStep::Lost(problem.sentence))
    }

    fn lost(&mut self, reason: &str) -> StreamStep {
        self.connection = None;
        let now = Instant::now();
        self.away_since.get_or_insert(now);
        self.next_attempt = now + self.retry;
        self.retry = (2 * self.retry).min(MAX_RETRY);
        StreamStep::Lost(reason.to_owned())
    }

    fn take(&mut self, frame: Frame) -> Option<Event> {
        if let Some(id) = &frame.id {
            self.cursor = Some(id.clone());
        }
        let event = Event::new(frame.id, frame.event, &frame.data?)?;
        if event.id.is_some() {
            self.at_end = event.is_terminal();
        }
        Some(event)
    }
}
