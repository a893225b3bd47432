//! What the child says: events are translated, signals are acted on, and what came of both is published.

use std::time::Duration;

use tokio::time::Instant;

use super::state::Actor;
use crate::clock::Timestamp;
use crate::driver::demux::Item;
use crate::driver::publish::publish;
use crate::driver::translate::{End, Signal};
use crate::driver::{end_reasons, refused_calls, resync};
use crate::event::{Body, Event};
use crate::session::Health;

/// Events that are taken at once: enough to merge small texts, too few to hold anything else up.
const MAX_AT_ONCE: usize = 512;

// === impl Actor ===

impl Actor {
    /// Takes what is in the queue, up to a point.
    pub(super) fn on_item(&mut self, first: Item) -> Option<End> {
        let now = Timestamp::now();
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(item) = next {
            match item {
                Item::Event(event) => self.turn.translator.apply(*event, now),
                Item::Lost => {
                    self.feed_lost.get_or_insert(now);
                    self.turn.translator.feed_lost();
                }
                Item::Back => {
                    self.begin_resync();
                    break;
                }
            }
            taken += 1;
            next = if taken < MAX_AT_ONCE {
                self.turn.subscription.items_rx.try_recv().ok()
            } else {
                None
            };
        }
        self.note_activity();
        self.apply_signals()
    }

    pub(super) fn apply_signals(&mut self) -> Option<End> {
        let mut end = None;
        for signal in std::mem::take(&mut self.turn.translator.signals) {
            match signal {
                Signal::Idle | Signal::Failed | Signal::Disposed => {
                    self.asked = 0;
                    self.check_for_end(Duration::ZERO);
                }
                Signal::SubagentStarted { session, parent } => {
                    self.context.gateway.adopt(&session, &parent);
                    // The feed does this too, but one learnt from the history was never in the feed.
                    self.context.demux.adopt(&session, &parent);
                }
                Signal::ToolRepeated { tool, times } => {
                    end = end.or(self.stop(end_reasons::tool_loop(&tool, times)));
                }
                Signal::SequenceGap { session, after } => {
                    tracing::warn!(
                        session.remote_id = session,
                        after,
                        "events were missed; asking for them"
                    );
                    self.begin_resync();
                }
                Signal::SessionDeleted => end = Some(end_reasons::session_deleted()),
                Signal::AskWaits { request } => self.wait_for_answer(request),
                Signal::AskDecided { request } => self.send_decided(request),
                Signal::AskOrphaned { request, kind } => {
                    let connection = self.turn.connection.clone();
                    let workspace = self.context.config.workspace.clone();
                    self.background_calls.push(Box::pin(async move {
                        resync::clear_ask(&connection, &request, kind, &workspace).await;
                    }));
                }
                Signal::TextDiverged { part } => tracing::warn!(
                    part,
                    "the final text of a part differs from what was streamed of it"
                ),
            }
        }
        end
    }

    /// Publishes what the translator has, and keeps what clients see of the turn in step with it.
    pub(super) fn publish(&mut self) {
        // Before the events: whoever sees one finds the request in the status.
        self.show_asks();
        let translator = &mut self.turn.translator;
        if let Some(grant) = &self.turn.grant {
            refused_calls::add_arguments(&mut translator.events, |id| grant.tool_arguments(id));
        }
        let is_result = |event: &Event| matches!(event.body, Body::ToolResult(_));
        let may_have_written = translator.events.iter().any(is_result);
        publish(&self.turn_handle, &mut translator.events);
        let usage = translator.usage();
        if may_have_written || self.turn_handle.session.status().usage != usage {
            let (files, _) = translator.files(self.running_turn.alone());
            self.turn_handle.update(|status| {
                status.usage = usage;
                status.files_modified = files;
            });
        }
    }

    pub(super) fn note_health(&mut self, health: &Health) {
        let reason = match health {
            Health::Degraded(reason) => Some(reason.clone()),
            Health::Opening | Health::Well => None,
        };
        self.turn.translator.set_degraded(reason, Timestamp::now());
    }

    pub(super) fn note_activity(&mut self) {
        self.last_activity_at = Instant::now();
        if self.stalled.take().is_some() {
            self.turn.translator.set_stalled(None, Timestamp::now());
        }
    }
}
