//! Going on with a turn whose prompt the agent may never have had.

use super::Registry;
use crate::session::prompt::Prompt;
use crate::session::prompt_row;
use crate::session::record::Session;
use crate::session::request::{CreateError, Request, Task};
use crate::session::unsent::{HandedOver, Unsent};

// === impl Registry ===

impl Registry {
    /// The prompt of the session's last turn, if `request` says nothing itself and the agent may not have had that prompt.
    pub(super) async fn unsent(
        &self,
        session: &Session,
        request: &Request,
    ) -> Result<Option<Unsent>, CreateError> {
        let status = session.status();
        let goes_on = request.task == Task::Prompt && request.prompt.is_empty();
        if !goes_on || !status.state.is_final() {
            return Ok(None);
        }
        let handed_over = HandedOver {
            before: status.before.clone(),
        };
        let origin = &session.origin;
        // A fork has the prompt of the original.
        if status.turn == 1
            && origin.forked_from.is_none()
            && let Some(words) = &origin.prompt
        {
            return Ok(Some(Unsent {
                turn: 1,
                prompt: Prompt::text(words.clone()),
                system_prompt: None,
                handed_over: Some(handed_over),
            }));
        }
        let Some(journal) = &self.shared.journal else {
            return Ok(None);
        };
        let rows = journal.waiting_prompts(session.number).await;
        let rows = rows.map_err(|error| CreateError::JournalUnavailable(error.to_string()))?;
        let of_turn = rows.into_iter().filter(|row| row.turn == status.turn);
        Ok(of_turn
            .filter_map(|row| prompt_row::unsent(&row, &handed_over))
            .next_back())
    }
}
