//! The bodies of answers, checked.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::error::ApiError;
use crate::api::extract::parse;
use crate::event::Reply;
use crate::session::Answer;

/// Questions of one request, and answers to one question. OpenCode has no limit; a person has.
const MAX_ANSWERS: usize = 100;

#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub(in crate::api) struct PermissionAnswer {
    reply: ReplyWord,
    /// With `reject`: what the agent is to do instead. It then goes on; without, it stops.
    #[serde(default)]
    message: Option<String>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PermissionReply)]
enum ReplyWord {
    /// This time.
    Once,
    /// This time, and from then on in this session whatever `always` of the request covers.
    Always,
    Reject,
}

/// Either of the two fields.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub(in crate::api) struct QuestionAnswer {
    /// For each question the labels that were chosen, or words of the user's own; an empty list is no answer.
    #[serde(default)]
    answers: Option<Vec<Vec<String>>>,
    #[serde(default)]
    reject: Option<bool>,
}

pub(super) fn permission(body: &[u8], max_text: usize) -> Result<Answer, ApiError> {
    let PermissionAnswer { reply, message } = parse(body)?;
    let message = message.filter(|message| !message.trim().is_empty());
    let reply = match reply {
        ReplyWord::Once => Reply::Once,
        ReplyWord::Always => Reply::Always,
        ReplyWord::Reject => Reply::Reject,
    };
    if let Some(message) = &message {
        if reply != Reply::Reject {
            let reason = "goes with a rejection only; send it as a prompt instead";
            return Err(ApiError::invalid("message", reason));
        }
        short("message", message, max_text)?;
    }
    Ok(Answer::Permission { reply, message })
}

pub(super) fn question(body: &[u8], max_text: usize) -> Result<Answer, ApiError> {
    let QuestionAnswer { answers, reject } = parse(body)?;
    match (answers, reject.unwrap_or_default()) {
        (None, true) => Ok(Answer::QuestionsRejected),
        (Some(answers), false) => {
            let most = answers.iter().map(Vec::len).max().unwrap_or_default();
            if answers.len().max(most) > MAX_ANSWERS {
                let reason = format!("has more than {MAX_ANSWERS} entries");
                return Err(ApiError::invalid("answers", &reason));
            }
            for text in answers.iter().flatten() {
                short("answers", text, max_text)?;
            }
            Ok(Answer::Questions(answers))
        }
        (None, false) => Err(ApiError::invalid("answers", "is missing")),
        (Some(_), true) => Err(ApiError::invalid(
            "reject",
            "cannot go with answers; leave one of the two out",
        )),
    }
}

fn short(field: &str, text: &str, most: usize) -> Result<(), ApiError> {
    if text.chars().count() <= most {
        return Ok(());
    }
    let reason = format!("has more than {most} characters (MAX_PROMPT_LENGTH)");
    Err(ApiError::invalid(field, &reason))
}
