//! What the agent asks the user.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// A tool may not run until somebody says so.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Permission {
    pub(crate) request_id: String,
    #[serde(flatten)]
    #[schema(inline)]
    pub(crate) step: PermissionStep,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum PermissionStep {
    Asked {
        permission: String,
        patterns: Vec<String>,
        /// What the answer `always` would allow from then on.
        always: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<serde_json::Value>)]
        metadata: Option<Arc<RawValue>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
        /// When it is rejected if nobody has answered.
        deadline: Option<Timestamp>,
    },
    Answered {
        reply: String,
    },
}

/// The agent asks the user.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Question {
    pub(crate) request_id: String,
    #[serde(flatten)]
    #[schema(inline)]
    pub(crate) step: QuestionStep,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum QuestionStep {
    Asked {
        #[schema(value_type = serde_json::Value)]
        questions: Arc<RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
        /// When it is rejected if nobody has answered.
        deadline: Option<Timestamp>,
    },
    Answered,
    Rejected,
}
