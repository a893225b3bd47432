//! `GET /global/event`: the stream of everything that happens in the child.
//!
//! One connection, read until it ends. It is not opened again here: what was missed in between has to be
//! asked for, and only the driver knows how.

use std::time::Duration;

use reqwest::Response;

use super::sse::{Decoder, Frame, MAX_EVENT};
use super::types::{Event, decode};

/// OpenCode says something every 10 s, if only that it is there.
const SILENCE: Duration = Duration::from_secs(30);

/// Why a feed ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    #[error("the event stream was silent for {} s", SILENCE.as_secs())]
    Silent,
    #[error("the event stream broke: {0}")]
    Broken(String),
    #[error("the event stream ended")]
    Ended,
}

/// One connection to the stream.
#[derive(Debug)]
pub(crate) struct Feed {
    response: Response,
    decoder: Decoder,
}

// === impl Feed ===

impl Feed {
    pub(super) fn new(response: Response) -> Self {
        Self {
            response,
            decoder: Decoder::new(MAX_EVENT),
        }
    }

    /// The next event. An event that cannot be read is logged and passed over: the ones after it are
    /// worth more than the order to stop.
    pub(crate) async fn next(&mut self) -> Result<Event, FeedError> {
        loop {
            while let Some(frame) = self.decoder.next() {
                match frame {
                    Frame::Data(data) => match decode(data) {
                        Ok(event) => return Ok(event),
                        Err(error) => {
                            tracing::warn!(%error, "an event of the engine was not understood");
                        }
                    },
                    Frame::Oversize { bytes } => {
                        tracing::warn!(
                            bytes,
                            "an event of the engine was too large and is dropped"
                        );
                    }
                }
            }
            let chunk = tokio::time::timeout(SILENCE, self.response.chunk())
                .await
                .map_err(|_| FeedError::Silent)?
                .map_err(|error| FeedError::Broken(super::error::root_cause(&error)))?;
            self.decoder.push(&chunk.ok_or(FeedError::Ended)?);
        }
    }
}
