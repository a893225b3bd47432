//! What the turn costs, while it runs: for whoever asks, and for the next life of the sidecar.

use super::Actor;
use crate::gateway::Grant;

// === impl Actor ===

impl Actor {
    pub(super) fn remember_usage(&self) {
        let (files, _) = self.translator.files(self.running_turn.alone());
        self.show_counts();
        self.turn_handle
            .update(|status| status.files_modified = files);
    }

    fn show_counts(&self) {
        let usage = self.translator.usage();
        let calls = self.grant.as_ref().map(Grant::usage);
        self.turn_handle.update(|status| {
            if let Some(calls) = calls {
                status.calls = calls;
            }
            status.usage = usage;
        });
    }

    /// The gateway counts calls that bring nothing new, and sees no results of tools.
    pub(super) fn note_progress(&mut self) {
        if self.results.bring_news(&self.batch.events)
            && let Some(grant) = &self.grant
        {
            grant.progressed();
        }
    }

    /// A call began or ended: whoever asks sees it at once. A budget counts over restarts, so a call is
    /// put on disk as it begins, and what it cost when there is time.
    pub(super) fn note_counts(&mut self) {
        self.show_counts();
        self.counts_changed = true;
        if self.turn_handle.session.status().calls.calls > self.calls_kept {
            self.keep_counts();
        }
    }

    pub(super) fn keep_counts(&mut self) {
        if std::mem::take(&mut self.counts_changed) {
            self.calls_kept = self.turn_handle.session.status().calls.calls;
            self.turn_handle
                .session
                .log
                .record(self.turn_handle.session.row(), false);
        }
    }
}
