//! Calls that were asked for while a session is followed. They run beside everything else: a sidecar that does not
//! answer must not keep keys and signals from being heard.

use std::pin::Pin;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::cli::answering::Answer;
use crate::cli::client::Client;
use crate::cli::exit::Problem;

/// The calls that run: one for each request that is answered, and one that stops the turn.
pub(super) struct Calls<'a> {
    client: &'a Client,
    session: &'a str,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + 'a>>>,
}

/// How one ended.
pub(super) enum Done {
    Stopped(Result<(), Problem>),
    Answered(Result<(), Problem>),
}

// === impl Calls ===

impl<'a> Calls<'a> {
    pub(super) fn new(client: &'a Client, session: &'a str) -> Self {
        Self {
            client,
            session,
            running: FuturesUnordered::new(),
        }
    }

    pub(super) fn stop(&self) {
        let (client, session) = (self.client, self.session);
        let call = async move { Done::Stopped(client.stop(session).await.map(drop)) };
        self.running.push(Box::pin(call));
    }

    pub(super) fn answer(&self, answer: Answer) {
        let (client, session) = (self.client, self.session);
        let call = async move { Done::Answered(answer.send(client, session).await) };
        self.running.push(Box::pin(call));
    }

    /// The next one that ends. Waits for ever where none runs.
    pub(super) async fn next(&mut self) -> Done {
        match self.running.next().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }
}
