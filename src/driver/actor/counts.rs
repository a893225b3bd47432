//! What the turn costs, while it runs: for clients, and on disk for the next start of the sidecar.

use super::state::Actor;
use crate::gateway::Grant;

// === impl Actor ===

impl Actor {
    /// Shows what the turn costs and which files it changed.
    pub(super) fn show_usage(&self) {
        let (files, _) = self.turn.translator.files(self.running_turn.alone());
        self.show_counts();
        self.turn_handle
            .update(|status| status.files_modified = files);
    }

    fn show_counts(&self) {
        let usage = self.turn.translator.usage();
        let calls = self.turn.grant.as_ref().map(Grant::usage);
        self.turn_handle.update(|status| {
            if let Some(calls) = calls {
                status.calls = calls;
            }
            status.usage = usage;
        });
    }

    /// The gateway counts calls that bring nothing new, and sees no results of tools.
    pub(super) fn note_progress(&mut self) {
        if self.results.has_new(&self.turn.translator.events)
            && let Some(grant) = &self.turn.grant
        {
            grant.progressed();
        }
    }

    /// A call began or ended: clients see it at once. A budget counts over restarts, so a call is written to disk
    /// as it begins, and what it cost with the next tick.
    pub(super) fn note_counts(&mut self) {
        self.show_counts();
        self.counts_changed = true;
        if self.turn_handle.session.status().calls.calls > self.calls_kept {
            self.keep_counts();
        }
    }

    pub(super) fn keep_counts(&mut self) {
        if std::mem::take(&mut self.counts_changed) {
            let session = &self.turn_handle.session;
            self.calls_kept = session.status().calls.calls;
            session.log.record(session.row(), false);
        }
    }
}
