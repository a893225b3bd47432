//! The first message of a WebSocket that was opened without a token: it has to have one.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tungstenite::Message;

use super::close::Close;
use super::connection::{Connection, Fault};
use super::message::{Auth, Incoming, Kind, Reference};
use crate::api::error::ApiError;
use crate::api::extract::parse;
use crate::config::SharedSecrets;

/// How long the token may take; part of the contract.
const AUTH_LIMIT: Duration = Duration::from_secs(5);

/// A stranger gets no more memory than this.
pub(super) const MAX_AUTH: usize = 16 * 1024;

/// Why there is no conversation.
#[derive(Debug)]
pub(super) enum Refusal {
    Gone,
    Close(Close),
    /// The answer to the message, and the close that goes with it.
    Error(Option<Reference>, ApiError),
}

/// Waits for the token. Gives the reference of the message that had it, and what is cancelled when it is not accepted any
/// more.
pub(super) async fn authenticated<IO: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<IO>,
    secrets: &SharedSecrets,
    stop: &CancellationToken,
) -> Result<(Option<Reference>, CancellationToken), Refusal> {
    let first = async {
        loop {
            let received = std::future::poll_fn(|cx| {
                // Pongs.
                drop(connection.poll_flush(cx));
                connection.poll_receive(cx)
            });
            match received.await {
                Ok(Message::Text(text)) => return Ok(text),
                Ok(Message::Binary(_)) => return Err(Refusal::Close(Close::binary())),
                Ok(_) => {}
                Err(Fault::Wrong(reason)) if reason == Close::too_large() => {
                    return Err(Refusal::Close(Close::auth_too_large()));
                }
                Err(Fault::Wrong(reason)) => return Err(Refusal::Close(reason)),
                Err(Fault::Gone | Fault::Stalled) => return Err(Refusal::Gone),
            }
        }
    };
    let text = tokio::select! {
        text = timeout(AUTH_LIMIT, first) => {
            text.unwrap_or(Err(Refusal::Close(Close::no_token())))?
        }
        () = stop.cancelled() => return Err(Refusal::Close(Close::going_away())),
    };
    let incoming =
        Incoming::read(text.as_bytes()).map_err(|wrong| Refusal::Error(wrong.0, wrong.1))?;
    let reference = incoming.reference;
    if incoming.kind != Kind::Auth {
        let error = ApiError::unauthorized("the first message is none with a token");
        return Err(Refusal::Error(reference, error));
    }
    let accepted = parse::<Auth>(text.as_bytes()).and_then(|auth| {
        if !secrets.required() {
            return Ok(CancellationToken::new());
        }
        let revoked = secrets.accept(auth.token.as_bytes());
        revoked.ok_or_else(|| ApiError::unauthorized("the token sent is not accepted"))
    });
    match accepted {
        Ok(revoked) => Ok((reference, revoked)),
        Err(error) => Err(Refusal::Error(reference, error)),
    }
}
