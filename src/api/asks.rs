//! `/sessions/{id}/permissions` and `/sessions/{id}/questions`: what the agent asks, and the answers.

mod request;
pub(super) mod response;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;

use super::error::{ApiError, ErrorCode, error_responses};
use super::extract::{BodyBytes, Id, Ids};
use super::lookup::session;
use super::{Shared, state};
use crate::audit;
use crate::event::AnsweredBy;
use crate::session::{Answer, AnswerError, AskKind, AskOutcome, Session};

use self::request::{PermissionAnswer, QuestionAnswer};
use self::response::{AnswerResponse, PermissionsResponse, QuestionsResponse};

/// An answer is handed on in milliseconds; a child that hangs has five seconds for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

error_responses!(AskErrors: InvalidRequest, NotFound, Gone, JournalUnavailable);
error_responses!(AnswerErrors:
    InvalidRequest,
    NotFound,
    Gone,
    Conflict,
    AlreadyAnswered,
    PayloadTooLarge,
    EngineUnavailable,
    JournalUnavailable,
);

/// The permissions that the agent waits for.
#[utoipa::path(
    get,
    path = "/sessions/{id}/permissions",
    operation_id = "list_permissions",
    params(("id" = String, Path, description = "the `session_id`")),
    responses((status = 200, description = "those that are open, oldest first", body = PermissionsResponse), AskErrors)
)]
pub(super) async fn permissions(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<PermissionsResponse>, ApiError> {
    let session = session(&state, &id).await?;
    Ok(Json(PermissionsResponse::new(&session)))
}

/// Answer a permission. The first answer holds; a later one is told which it was.
#[utoipa::path(
    post,
    path = "/sessions/{id}/permissions/{request_id}",
    operation_id = "answer_permission",
    params(
        ("id" = String, Path, description = "the `session_id`"),
        ("request_id" = String, Path, description = "that of the event or the list"),
    ),
    request_body = PermissionAnswer,
    responses((status = 200, description = "the agent has the answer", body = AnswerResponse), AnswerErrors)
)]
pub(super) async fn post_permission(
    State(state): Shared,
    Ids(id, request_id): Ids,
    BodyBytes(body): BodyBytes,
) -> Result<Json<AnswerResponse>, ApiError> {
    answer_permission(&state, &id, &request_id, &body)
        .await
        .map(Json)
}

/// The questions that the agent waits for.
#[utoipa::path(
    get,
    path = "/sessions/{id}/questions",
    operation_id = "list_questions",
    params(("id" = String, Path, description = "the `session_id`")),
    responses((status = 200, description = "those that are open, oldest first", body = QuestionsResponse), AskErrors)
)]
pub(super) async fn questions(
    State(state): Shared,
    Id(id): Id,
) -> Result<Json<QuestionsResponse>, ApiError> {
    let session = session(&state, &id).await?;
    Ok(Json(QuestionsResponse::new(&session)))
}

/// Answer the questions of one request, or reject them. The first answer holds; a later one is told which it was.
#[utoipa::path(
    post,
    path = "/sessions/{id}/questions/{request_id}",
    operation_id = "answer_question",
    params(
        ("id" = String, Path, description = "the `session_id`"),
        ("request_id" = String, Path, description = "that of the event or the list"),
    ),
    request_body = QuestionAnswer,
    responses((status = 200, description = "the agent has the answer", body = AnswerResponse), AnswerErrors)
)]
pub(super) async fn post_question(
    State(state): Shared,
    Ids(id, request_id): Ids,
    BodyBytes(body): BodyBytes,
) -> Result<Json<AnswerResponse>, ApiError> {
    answer_question(&state, &id, &request_id, &body)
        .await
        .map(Json)
}

/// Answers a permission with a JSON body, whichever way it came.
pub(super) async fn answer_permission(
    state: &state::State,
    session_id: &str,
    request_id: &str,
    body: &[u8],
) -> Result<AnswerResponse, ApiError> {
    let answer = request::permission(body, state.rules.max_prompt)?;
    give(state, session_id, request_id, answer).await
}

/// Answers a question with a JSON body, whichever way it came.
pub(super) async fn answer_question(
    state: &state::State,
    session_id: &str,
    request_id: &str,
    body: &[u8],
) -> Result<AnswerResponse, ApiError> {
    let answer = request::question(body, state.rules.max_prompt)?;
    give(state, session_id, request_id, answer).await
}

async fn give(
    state: &state::State,
    session_id: &str,
    request_id: &str,
    answer: Answer,
) -> Result<AnswerResponse, ApiError> {
    let session: Arc<Session> = session(state, session_id).await?;
    let giving = session.answer(request_id, answer.clone());
    match tokio::time::timeout(ANSWER_TIMEOUT, giving).await {
        Ok(Ok(())) => {
            let by = AnsweredBy::Client;
            let (kind, reply) = match &answer {
                Answer::Permission { reply, .. } => ("permission", reply.as_str()),
                Answer::Questions(_) => ("question", "answered"),
                Answer::QuestionsRejected => ("question", "reject"),
            };
            audit::answered(session_id, request_id, kind, reply, by.as_str());
            Ok(AnswerResponse::new(request_id, &answer, by))
        }
        Ok(Err(error)) => Err(refused(request_id, answer.kind(), error)),
        Err(_) => Err(not_taken()),
    }
}

fn refused(request_id: &str, kind: AskKind, error: AnswerError) -> ApiError {
    match error {
        AnswerError::Unknown => ApiError::new(
            ErrorCode::NotFound,
            match kind {
                AskKind::Permission => "the agent of this session has asked for no such permission",
                AskKind::Question => "the agent of this session has asked no such question",
            },
        ),
        AnswerError::Ended(AskOutcome::Answered { answer, by }) => {
            ApiError::already_answered(AnswerResponse::new(request_id, &answer, by))
        }
        AnswerError::Ended(AskOutcome::Withdrawn { reason }) => ApiError::new(
            ErrorCode::Conflict,
            format!("this request has ended without an answer: {reason}"),
        ),
        AnswerError::Invalid(reason) => ApiError::invalid("answers", &reason),
        AnswerError::Unavailable => not_taken(),
    }
}

fn not_taken() -> ApiError {
    let reason = "the engine did not take the answer; look whether the request is still open, and answer it again";
    ApiError::engine_unavailable(reason.into())
}
