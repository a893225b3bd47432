//! Prompts that a client sends again under the same key.

use std::sync::Arc;

use tokio::sync::watch;

use super::Registry;
use crate::session::accepted::{Acceptance, Accepted, AcceptedPrompt};
use crate::session::log::TurnSpan;
use crate::session::outcome::Outcome;
use crate::session::prompt_row::{self, KeyedPrompt};
use crate::session::record::Session;
use crate::session::request::{CreateError, Idempotency, Request};

/// What came of a prompt, and the result of its turn's beginning if it began at once.
type Repeated = (Accepted, Option<watch::Receiver<Outcome>>);

// === impl Registry ===

impl Registry {
    /// The turn of a request that came before under the same key and has begun. For what is looked up before a new request is
    /// taken, and may have changed since then: it must not refuse one that is repeated.
    pub(crate) async fn begun_before(
        &self,
        session: &Session,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<Accepted>, CreateError> {
        session.settled().await;
        self.load_key(session, idempotency).await?;
        let known = repeated(session, idempotency)?.map(|(accepted, _)| accepted);
        Ok(known.filter(|accepted| accepted.acceptance != Acceptance::Queued))
    }

    /// Takes into memory what is on disk of this key.
    pub(super) async fn load_key(
        &self,
        session: &Session,
        idempotency: Option<&Idempotency>,
    ) -> Result<(), CreateError> {
        let (Some(journal), Some(idempotency)) = (&self.shared.journal, idempotency) else {
            return Ok(());
        };
        let is_decided = {
            let accepted = session.accepted.lock();
            let key = &idempotency.key;
            accepted.find(key).is_some() || accepted.is_forgotten(key) || accepted.is_unsure(key)
        };
        if is_decided {
            return Ok(());
        }
        let found = journal
            .prompt_by_key(session.number, &idempotency.key)
            .await;
        let found = found.map_err(|error| CreateError::JournalUnavailable(error.to_string()))?;
        if let Some(prompt) = found.and_then(prompt_row::keyed) {
            let span = span(session, &prompt);
            let mut accepted = session.accepted.lock();
            // Unless it came again meanwhile.
            let key = &idempotency.key;
            if accepted.find(key).is_none() && !accepted.is_forgotten(key) {
                accepted.add(AcceptedPrompt {
                    prompt,
                    span,
                    outcome_rx: None,
                });
            }
        }
        Ok(())
    }
}

/// Where the events of a prompt of an earlier process lie.
fn span(session: &Session, prompt: &KeyedPrompt) -> Arc<TurnSpan> {
    let waiting = session.queue.lock().span(prompt.turn);
    if let Some(waiting) = waiting {
        return waiting;
    }
    if session.status().turn == prompt.turn {
        return Arc::clone(&session.span.lock());
    }
    Arc::new(TurnSpan::beginning_after(prompt.from))
}

/// Keeps in mind what came under a key.
pub(super) fn remember(
    session: &Session,
    request: &Request,
    accepted: &Accepted,
    outcome_rx: Option<watch::Receiver<Outcome>>,
) {
    if let Some(keyed) = keyed(request, accepted, outcome_rx) {
        session.accepted.lock().add(keyed);
    }
}

/// How a prompt is recognised if it comes again; nothing if it has no key.
pub(super) fn keyed(
    request: &Request,
    accepted: &Accepted,
    outcome_rx: Option<watch::Receiver<Outcome>>,
) -> Option<AcceptedPrompt> {
    let prompt = KeyedPrompt {
        idempotency: request.idempotency.clone()?,
        turn: accepted.turn,
        steered: accepted.acceptance == Acceptance::Steered,
        withdrawn: false,
        from: accepted.from.seq,
    };
    Some(AcceptedPrompt {
        prompt,
        span: Arc::clone(&accepted.span),
        outcome_rx,
    })
}

/// What came before under the same key, if there is one.
pub(super) fn repeated(
    session: &Session,
    idempotency: Option<&Idempotency>,
) -> Result<Option<Repeated>, CreateError> {
    let Some(wanted) = idempotency else {
        return Ok(None);
    };
    let known = {
        let accepted = session.accepted.lock();
        if accepted.is_unsure(&wanted.key) {
            return Err(CreateError::SteerLookedUp);
        }
        accepted.find(&wanted.key).cloned()
    };
    let Some(known) = known else {
        return Ok(None);
    };
    if known.prompt.idempotency != *wanted {
        return Err(CreateError::KeyReused);
    }
    if known.prompt.withdrawn {
        return Err(CreateError::Withdrawn);
    }
    let acceptance = if known.prompt.steered {
        Acceptance::Steered
    } else if session.queue.lock().waits(known.prompt.turn) {
        Acceptance::Queued
    } else {
        Acceptance::Running
    };
    let accepted = Accepted {
        turn: known.prompt.turn,
        acceptance,
        from: session.log.id(known.prompt.from),
        span: Arc::clone(&known.span),
    };
    Ok(Some((accepted, known.outcome_rx)))
}
