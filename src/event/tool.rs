//! Tool calls and their results.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A tool runs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ToolCall {
    #[schema(value_type = String)]
    pub(crate) tool: Arc<str>,
    #[schema(value_type = serde_json::Value)]
    pub(crate) args: Arc<RawValue>,
    #[schema(value_type = String)]
    pub(crate) call_id: Arc<str>,
}

/// A tool has ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ToolResult {
    #[schema(value_type = String)]
    pub(crate) tool: Arc<str>,
    pub(crate) result: ResultBody,
    #[schema(value_type = String)]
    pub(crate) call_id: Arc<str>,
    pub(crate) is_error: bool,
    pub(crate) duration_ms: u64,
    /// The tool's output was longer than what is here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub(crate) truncated: bool,
}

/// What a tool gave. `bash` gives a command's, `read` gives content, a failure of any tool gives an error,
/// and every other tool gives output.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ToolOutcome)]
pub(crate) enum ResultBody {
    Command {
        /// Null when it did not exit by itself; `note` says why.
        exit_code: Option<i64>,
        stdout: String,
        stderr: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    Content {
        content: String,
    },
    Output {
        output: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
    Error {
        error: String,
    },
}
