//! Whether the agent ever had the prompt of a turn that is gone on with.

use crate::opencode::types::Role;
use crate::opencode::{CallError, Client};
use crate::session::Unsent;

/// Nothing in the conversation is newer than what was there before the prompt was handed over; or there is only its message,
/// which OpenCode stores before the words that are in it. `newest` is the newest message of `remote_id` and its subagents.
pub(super) async fn was_never_had(
    client: &Client,
    remote_id: &str,
    unsent: &Unsent,
    newest: Option<&str>,
) -> Result<bool, CallError> {
    let Some(handed_over) = &unsent.handed_over else {
        return Ok(true);
    };
    if newest == handed_over.before.as_deref() {
        return Ok(true);
    }
    let page = client.message_page(remote_id, 1, None).await?;
    Ok(page.messages.last().is_some_and(|message| {
        message.role == Role::User
            && message.parts.is_empty()
            && Some(&*message.id) > handed_over.before.as_deref()
    }))
}
