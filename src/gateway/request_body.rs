//! Reads a call's body from the child, within bounds.
//!
//! The body is kept until the provider has begun to answer, because a refusal may ask for a second
//! attempt. So it is bounded: each by [`MAX_BODY`], all together by [`MAX_BODIES`], and by a deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::error::ForwardError;

/// Images make large calls; OpenCode answers our 413 by compacting the conversation.
pub(super) const MAX_BODY: usize = 32 * 1024 * 1024;
/// Four of the largest at a time, or thousands of ordinary ones; further ones wait.
const MAX_BODIES: usize = 4 * MAX_BODY;
/// Bytes of one permit.
const UNIT: usize = 1024;
/// A child that sends too much is read this far without keeping it, so that it reads our answer.
const MAX_IGNORED: usize = 4 * MAX_BODY;
/// Over loopback, from memory: seconds are enough.
const DEADLINE: Duration = Duration::from_mins(1);

/// Bounds all bodies together.
#[derive(Debug)]
pub(super) struct BodyReader {
    memory: Arc<Semaphore>,
}

/// A body, and its share of the memory.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) body: Bytes,
    pub(super) memory: OwnedSemaphorePermit,
}

// === impl BodyReader ===

impl BodyReader {
    pub(super) fn new() -> Self {
        Self {
            memory: Arc::new(Semaphore::new(MAX_BODIES / UNIT)),
        }
    }

    pub(super) async fn receive<B: Body<Data = Bytes> + Unpin>(
        &self,
        mut body: B,
    ) -> Result<Received, ForwardError> {
        let deadline = Instant::now() + DEADLINE;
        // A body without a length may become as large as is allowed.
        let declared = body
            .size_hint()
            .upper()
            .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let expected = declared.unwrap_or(MAX_BODY);
        if expected > MAX_BODY {
            ignore_until(body, deadline).await;
            return Err(ForwardError::TooLarge);
        }
        let units = u32::try_from(expected.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX);
        let memory = timeout_at(deadline, Arc::clone(&self.memory).acquire_many_owned(units))
            .await
            .map_err(|_| ForwardError::Crowded)?
            .map_err(|_| ForwardError::Crowded)?;
        let mut text = BytesMut::with_capacity(declared.unwrap_or_default());
        loop {
            let frame = timeout_at(deadline, body.frame())
                .await
                .map_err(|_| ForwardError::SlowBody)?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|_| ForwardError::CutBody)?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            if text.len() + data.len() > MAX_BODY {
                drop(text);
                ignore_until(body, deadline).await;
                return Err(ForwardError::TooLarge);
            }
            text.extend_from_slice(data);
        }
        Ok(Received {
            body: text.freeze(),
            memory,
        })
    }
}

/// Reads without keeping anything: a client that is still sending would not read an answer.
async fn ignore_until<B: Body<Data = Bytes> + Unpin>(mut body: B, deadline: Instant) {
    let mut ignored = 0;
    while ignored < MAX_IGNORED {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => ignored += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}
