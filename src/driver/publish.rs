//! From the translator's events to the session's log and status.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::event::{Body, Event, State};
use crate::session::{Problem, Status, TurnHandle};

/// Small texts that wait together become one event up to this size.
const MAX_MERGED: usize = 16 << 10;

/// How long the disk may take to say which files are there.
const DISK_TIMEOUT: Duration = Duration::from_secs(1);

/// Publishes `events` in order, and keeps the session's status in step.
pub(super) fn publish(turn_handle: &TurnHandle, events: &mut Vec<Event>) {
    let mut waiting: Option<Event> = None;
    for event in events.drain(..) {
        let next = match &mut waiting {
            Some(before) => before.merge(event, MAX_MERGED),
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

/// Notes which of the modified files are not there any more: a command may have removed what a tool wrote.
pub(super) async fn note_deleted_files(events: &mut [Event]) {
    for event in events {
        let Body::Complete(complete) = &mut event.body else {
            continue;
        };
        let mut files = complete.files_modified.clone();
        let looking = tokio::task::spawn_blocking(move || {
            files.retain(|file| Path::new(file).symlink_metadata().is_err());
            files
        });
        if let Ok(Ok(gone)) = tokio::time::timeout(DISK_TIMEOUT, looking).await {
            complete.files_deleted = gone;
        }
    }
}

/// An event's note holds once all its pieces are in the log.
fn append(turn_handle: &TurnHandle, event: &Event) {
    turn_handle.publish(event, |status| apply(status, event));
}

/// What an event says about the session's status.
fn apply(status: &mut Status, event: &Event) {
    status.last_activity = event.at;
    match &event.body {
        Body::Status(new) => {
            // A turn counts as completed only with its `complete` event.
            if new.state != State::Completed {
                status.state = new.state;
            }
            status.progress = new.progress;
            status.phase = new.phase;
            status.current_tool.clone_from(&new.current_tool);
            status.reason.clone_from(&new.reason);
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
        | Body::Todo(_)
        | Body::Prompt(_)
        | Body::Egress(_) => {}
    }
    if event.is_terminal() {
        status.completed_at = Some(event.at);
        status.ended = Some(Instant::now());
        status.phase = None;
        status.current_tool = None;
        status.reason = None;
    }
}
