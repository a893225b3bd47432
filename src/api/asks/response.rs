//! What clients get to read about the requests of an agent.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::event::{Agent, AnsweredBy, PermissionRequest, Reply};
use crate::permission::Rule;
use crate::session::{Answer, Ask, AskKind, Session, Subject};

/// 200 of `GET /sessions/{id}/permissions`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PermissionList)]
pub(in crate::api) struct PermissionsResponse {
    session_id: String,
    permissions: Vec<OpenPermission>,
    /// What the answer `always` has allowed in this session.
    always: Vec<Rule>,
}

/// 200 of `GET /sessions/{id}/questions`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuestionList)]
pub(in crate::api) struct QuestionsResponse {
    session_id: String,
    questions: Vec<OpenQuestion>,
}

#[derive(Debug, Serialize, ToSchema)]
struct OpenPermission {
    request_id: String,
    #[serde(flatten)]
    #[schema(inline)]
    request: PermissionRequest,
    #[serde(flatten)]
    #[schema(inline)]
    common: Common,
}

#[derive(Debug, Serialize, ToSchema)]
struct OpenQuestion {
    request_id: String,
    #[schema(value_type = serde_json::Value)]
    questions: Arc<RawValue>,
    #[serde(flatten)]
    #[schema(inline)]
    common: Common,
}

#[derive(Debug, Serialize, ToSchema)]
struct Common {
    call_id: Option<String>,
    /// The subagent that asks; null for the session's own agent.
    agent: Option<Agent>,
    asked_at: Timestamp,
    /// When the default answer is given.
    deadline: Timestamp,
}

/// A request in `/status`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenRequest)]
pub(in crate::api) struct AskSummary {
    request_id: String,
    kind: KindWord,
    /// What a permission is about; null for a question.
    permission: Option<String>,
    #[serde(flatten)]
    #[schema(inline)]
    common: Common,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum KindWord {
    Permission,
    Question,
}

/// An answer that was given.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = GivenAnswer)]
pub(in crate::api) struct AnswerResponse {
    request_id: String,
    by: AnsweredBy,
    /// To a permission.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<Reply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// To questions.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Vec<Vec<String>>>,
    /// Questions were rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    reject: Option<bool>,
}

// === impl PermissionsResponse ===

impl PermissionsResponse {
    pub(super) fn new(session: &Session) -> Self {
        let asks = session.status().asks.clone();
        let open = asks.open.iter().filter_map(|ask| match &ask.subject {
            Subject::Permission(request) => Some(OpenPermission {
                request_id: ask.request_id.clone(),
                request: request.clone(),
                common: Common::new(ask),
            }),
            Subject::Questions(_) => None,
        });
        Self {
            session_id: session.id.clone(),
            permissions: open.collect(),
            always: asks.always.to_vec(),
        }
    }
}

// === impl QuestionsResponse ===

impl QuestionsResponse {
    pub(super) fn new(session: &Session) -> Self {
        let asks = session.status().asks.clone();
        let open = asks.open.iter().filter_map(|ask| match &ask.subject {
            Subject::Questions(questions) => Some(OpenQuestion {
                request_id: ask.request_id.clone(),
                questions: questions.clone(),
                common: Common::new(ask),
            }),
            Subject::Permission(_) => None,
        });
        Self {
            session_id: session.id.clone(),
            questions: open.collect(),
        }
    }
}

// === impl Common ===

impl Common {
    fn new(ask: &Ask) -> Self {
        Self {
            call_id: ask.call_id.clone(),
            agent: ask.agent.as_deref().cloned(),
            asked_at: ask.asked_at,
            deadline: ask.deadline,
        }
    }
}

// === impl AskSummary ===

impl AskSummary {
    pub(in crate::api) fn new(ask: &Ask) -> Self {
        Self {
            request_id: ask.request_id.clone(),
            kind: match ask.kind() {
                AskKind::Permission => KindWord::Permission,
                AskKind::Question => KindWord::Question,
            },
            permission: match &ask.subject {
                Subject::Permission(request) => Some(request.permission.clone()),
                Subject::Questions(_) => None,
            },
            common: Common::new(ask),
        }
    }
}

// === impl AnswerResponse ===

impl AnswerResponse {
    pub(super) fn new(request_id: &str, answer: &Answer, by: AnsweredBy) -> Self {
        let mut given = Self {
            request_id: request_id.to_owned(),
            by,
            reply: None,
            message: None,
            answers: None,
            reject: None,
        };
        match answer.clone() {
            Answer::Permission { reply, message } => {
                (given.reply, given.message) = (Some(reply), message);
            }
            Answer::Questions(answers) => given.answers = Some(answers),
            Answer::QuestionsRejected => given.reject = Some(true),
        }
        given
    }

    /// It in a few words.
    pub(in crate::api) fn summary(&self) -> String {
        let answer = match (self.reply, &self.answers) {
            (Some(reply), _) => reply.as_str(),
            (None, Some(_)) => "answers",
            (None, None) => Reply::Reject.as_str(),
        };
        format!("{answer} (by {})", self.by.as_str())
    }
}
