//! What the agent asks a person: leave to run a tool, and questions.
//!
//! Each has one event when it is asked and one when it has ended. A permission that a rule of the session gave has
//! only the second.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use strum::IntoStaticStr;
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
        #[serde(flatten)]
        #[schema(inline)]
        request: PermissionRequest,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
        /// When the default answer is given if nobody has answered.
        deadline: Timestamp,
    },
    Answered {
        reply: Reply,
        /// What the agent was told with a rejection.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        by: AnsweredBy,
        /// The rejected request with which the agent gave up this one.
        #[serde(skip_serializing_if = "Option::is_none")]
        with: Option<String>,
        /// What a rule of the session answered, of which there is no event before.
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        #[schema(inline)]
        request: Option<PermissionRequest>,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
    },
    /// It ended without an answer.
    Withdrawn { reason: String },
}

/// What the agent wants to do.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct PermissionRequest {
    pub(crate) permission: String,
    pub(crate) patterns: Vec<String>,
    /// What the answer `always` allows for the rest of the session.
    pub(crate) always: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub(crate) metadata: Option<Arc<RawValue>>,
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
        deadline: Timestamp,
    },
    Answered {
        /// For each question the options that were chosen, or words of the user's own.
        answers: Vec<Vec<String>>,
        by: AnsweredBy,
    },
    Rejected {
        by: AnsweredBy,
    },
    /// It ended without an answer.
    Withdrawn {
        reason: String,
    },
}

/// The answer to a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
#[schema(as = PermissionReply)]
pub(crate) enum Reply {
    /// This time.
    Once,
    /// This time, and from then on in this session whatever `always` of the request covers.
    Always,
    Reject,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(crate) enum AnsweredBy {
    Client,
    /// Nobody did in time, so the default answer was given.
    Timeout,
    /// An earlier `always`, or a session that never asks.
    Rule,
}

// === impl PermissionStep ===

impl PermissionStep {
    /// Who answered it, or `withdrawn`; nothing while it waits.
    pub(crate) const fn outcome(&self) -> Option<&'static str> {
        match self {
            Self::Asked { .. } => None,
            Self::Answered { by, .. } => Some(by.as_str()),
            Self::Withdrawn { .. } => Some("withdrawn"),
        }
    }
}

// === impl QuestionStep ===

impl QuestionStep {
    /// Who answered it, or `withdrawn`; nothing while it waits.
    pub(crate) const fn outcome(&self) -> Option<&'static str> {
        match self {
            Self::Asked { .. } => None,
            Self::Answered { by, .. } | Self::Rejected { by } => Some(by.as_str()),
            Self::Withdrawn { .. } => Some("withdrawn"),
        }
    }
}

// === impl Reply ===

impl Reply {
    pub(crate) const fn as_str(self) -> &'static str {
        self.into_str()
    }
}

// === impl AnsweredBy ===

impl AnsweredBy {
    pub(crate) const fn as_str(self) -> &'static str {
        self.into_str()
    }
}
