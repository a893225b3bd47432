//! The shape of a tool's result, by tool.

use crate::event::ResultBody;
use crate::opencode::types as oc;

use super::cumulative;

#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) body: ResultBody,
    pub(super) is_error: bool,
    pub(super) truncated: bool,
}

/// What became of a call. `printed` is the text of the result's `output`.
pub(super) fn outcome(tool: &str, state: oc::ToolState, printed: cumulative::Result) -> Outcome {
    let truncated = state.metadata.truncated;
    let failed = |error: String, truncated| {
        let body = ResultBody::Error { error };
        Outcome {
            body,
            is_error: true,
            truncated,
        }
    };
    match (state.status, tool) {
        (oc::ToolStatus::Error, _) => failed(
            state.error.map(oc::Text::into_whole).unwrap_or_default(),
            false,
        ),
        // A call of a tool that does not exist "completes" with an explanation.
        (_, "invalid") => failed(printed.text, truncated),
        (_, "bash") => {
            let exit_code = state.metadata.exit;
            let (stdout, stderr) = (printed.text, String::new());
            let body = ResultBody::Command {
                exit_code,
                stdout,
                stderr,
                note: printed.note,
            };
            // OpenCode joins both outputs of a command, so all of it is `stdout`.
            Outcome {
                body,
                is_error: exit_code != Some(0),
                truncated: truncated || printed.cut,
            }
        }
        (_, "read") => {
            let text = state.metadata.file_text.map(oc::Text::into_whole);
            let body = ResultBody::Content {
                content: text.unwrap_or(printed.text),
            };
            Outcome {
                body,
                is_error: false,
                truncated,
            }
        }
        _ => {
            let title = state.title.filter(|title| !title.is_empty());
            let body = ResultBody::Output {
                output: printed.text,
                title,
            };
            Outcome {
                body,
                is_error: false,
                truncated: truncated || printed.cut,
            }
        }
    }
}
