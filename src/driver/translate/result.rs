//! The shape of a tool's result, by tool.

use super::output_diff::FinalOutput;
use crate::event::ResultBody;
use crate::opencode::types as oc;

/// The tool that OpenCode puts in the place of one that does not exist.
pub(super) const INVALID: &str = "invalid";

/// What came of a tool call.
#[derive(Debug)]
pub(in crate::driver) struct Outcome {
    pub(in crate::driver) body: ResultBody,
    pub(in crate::driver) is_error: bool,
    /// The tool's output was longer than what is here.
    pub(in crate::driver) truncated: bool,
}

// === impl Outcome ===

impl Outcome {
    pub(super) const fn failed(body: ResultBody) -> Self {
        Self {
            body,
            is_error: true,
            truncated: false,
        }
    }
}

/// What came of a call of `tool` that is stored with `state`, in which it has ended.
pub(in crate::driver) fn stored_outcome(tool: &str, mut state: oc::ToolState) -> Outcome {
    let output = state.output.take().map(oc::Text::into_whole);
    let output = FinalOutput::read(&output.unwrap_or_default());
    outcome(tool, state, output)
}

/// What came of a call of `tool` that ended in `state` and printed `output`.
pub(super) fn outcome(tool: &str, state: oc::ToolState, output: FinalOutput) -> Outcome {
    let metadata = state.metadata;
    if state.status == oc::ToolStatus::Error {
        let error = state.error.map(oc::Text::into_whole).unwrap_or_default();
        return Outcome::failed(ResultBody::Error { error });
    }
    let (body, is_error, cut) = match tool {
        // It "completes" with an explanation.
        INVALID => (ResultBody::Error { error: output.text }, true, false),
        "bash" => {
            // Of a client's own command, which has no title, OpenCode does not say how it exited.
            let is_unknown =
                metadata.exit.is_none() && state.title.as_ref().is_none_or(String::is_empty);
            let is_error = if is_unknown {
                output.note.is_some()
            } else {
                metadata.exit != Some(0)
            };
            let body = ResultBody::Command {
                exit_code: metadata.exit,
                // OpenCode joins both outputs of a command, so all of it is `stdout`.
                stdout: output.text,
                stderr: String::new(),
                note: output.note,
            };
            (body, is_error, output.cut)
        }
        "read" => {
            let text = metadata.file_text.map(oc::Text::into_whole);
            let content = text.unwrap_or(output.text);
            (ResultBody::Content { content }, false, false)
        }
        _ => {
            let body = ResultBody::Output {
                output: output.text,
                title: state.title.filter(|title| !title.is_empty()),
            };
            (body, false, output.cut)
        }
    };
    Outcome {
        body,
        is_error,
        truncated: metadata.truncated || cut,
    }
}
