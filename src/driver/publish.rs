//! From a batch of the translator to the session's log and status.

use std::time::Instant;

use super::translate::Batch;
use crate::event::{Body, Event, State};
use crate::session::{Problem, Status, TurnHandle};

/// Small texts that wait together become one event up to this size.
const MERGE: usize = 16 << 10;

/// Publishes the events of `batch`, in order, and keeps the session's status in step.
pub(super) fn publish(turn_handle: &TurnHandle, batch: &mut Batch) {
    let mut waiting: Option<Event> = None;
    for event in batch.events.drain(..) {
        let next = match &mut waiting {
            Some(before) => before.merge(event, MERGE),
            None => Some(event),
        };
        if let Some(before) = next.and_then(|next| waiting.replace(next)) {
            append(turn_handle, &before);
        }
    }
    if let Some(event) = waiting {
        append(turn_handle, &event);
    }
}

/// Its note holds once all its pieces are in the log.
fn append(turn_handle: &TurnHandle, event: &Event) {
    // Before the log: whoever sees the terminal event and asks for the status finds the end.
    turn_handle.update(|status| note(status, event));
    let note = event
        .note
        .as_ref()
        .map(|note| (note.part.clone(), note.value));
    turn_handle.append(&event.encode(), note);
}

/// What an event says about the session's status.
fn note(status: &mut Status, event: &Event) {
    status.last_activity = event.at;
    match &event.body {
        Body::Status(news) => {
            // A turn counts as completed only with its `complete` event.
            if news.state != State::Completed {
                status.state = news.state;
            }
            status.progress = news.progress;
            status.phase = news.phase;
            status.current_tool.clone_from(&news.current_tool);
            status.reason.clone_from(&news.reason);
        }
        Body::Complete(complete) => {
            status.state = State::Completed;
            status.progress = 100;
            status.usage = complete.usage;
            status.files_modified.clone_from(&complete.files_modified);
        }
        Body::Error(failure) if failure.fatal => {
            status.state = State::Failed;
            status.problem = Some(Problem {
                code: failure.code.as_str().into(),
                sentence: failure.error.clone(),
            });
        }
        Body::Output(_)
        | Body::ToolCall(_)
        | Body::ToolResult(_)
        | Body::Error(_)
        | Body::Permission(_)
        | Body::Question(_)
        | Body::Todo(_) => {}
    }
    if event.is_terminal() {
        status.completed_at = Some(event.at);
        status.ended = Some(Instant::now());
        status.phase = None;
        status.current_tool = None;
        status.reason = None;
    }
}
