//! The calls about what the agent asks a person: which requests are open, and their answers.

use std::path::Path;

use serde::Serialize;

use super::client::Client;
use super::error::CallError;
use super::types::{self, PermissionAsked, QuestionAsked};

impl Client {
    /// The permissions that are waited for in `directory`, in any session.
    pub(crate) async fn permissions(
        &self,
        directory: &Path,
    ) -> Result<Vec<PermissionAsked>, CallError> {
        let call = self.get("read the open permissions", "/permission");
        let call = call.in_directory(directory).large();
        call.read(types::permissions).await
    }

    /// The questions that are waited for in `directory`, in any session.
    pub(crate) async fn questions(
        &self,
        directory: &Path,
    ) -> Result<Vec<QuestionAsked>, CallError> {
        let call = self.get("read the open questions", "/question");
        let call = call.in_directory(directory).large();
        call.read(types::questions).await
    }

    /// Answers a permission. `reply` is `once` or `reject`; OpenCode's `always` would hold for all sessions. A request is
    /// known in its directory only, like a question.
    pub(crate) async fn answer_permission(
        &self,
        directory: &Path,
        request: &str,
        reply: &str,
        message: Option<&str>,
    ) -> Result<(), CallError> {
        #[derive(Serialize)]
        struct Body<'a> {
            reply: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<&'a str>,
        }
        let path = format!("/permission/{request}/reply");
        self.post("answer a permission", &path, &Body { reply, message })
            .in_directory(directory)
            .done()
            .await
    }

    pub(crate) async fn answer_question(
        &self,
        directory: &Path,
        request: &str,
        answers: &[Vec<String>],
    ) -> Result<(), CallError> {
        let path = format!("/question/{request}/reply");
        let body = serde_json::json!({ "answers": answers });
        let call = self.post("answer a question", &path, &body);
        call.in_directory(directory).done().await
    }

    /// Dismisses a question.
    pub(crate) async fn reject_question(
        &self,
        directory: &Path,
        request: &str,
    ) -> Result<(), CallError> {
        let path = format!("/question/{request}/reject");
        let body = serde_json::json!({});
        let call = self.post("reject a question", &path, &body);
        call.in_directory(directory).done().await
    }
}
