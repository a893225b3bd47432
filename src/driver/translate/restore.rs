//! A turn that another process began to tell.
//!
//! What it told is in its notes: of a text how many bytes, of a call whether its end was told as well. All
//! else comes from what OpenCode stored, so that nothing is told twice and nothing is left out.

use crate::clock::Timestamp;
use crate::opencode::types as oc;

use super::text::TextPart;
use super::{Batch, Origin, Part, Settings, Translator};

// === impl Translator ===

impl Translator {
    /// A translator in the middle of a turn. `notes` has the newest [`crate::event::Note`] of each part of
    /// the turn; messages up to `before` are of earlier turns.
    ///
    /// The words of a text told so far are not known: what is beyond their number of bytes in the final
    /// text is the rest. Of a call that was not closed the output is not told again: its result has it.
    pub(crate) fn restore(
        settings: Settings,
        mut notes: Vec<(String, u64)>,
        before: Option<String>,
        began: Timestamp,
    ) -> Self {
        let mut translator = Self::new(settings);
        translator.turn.began = Some(began);
        translator.before = before;
        // Ids sort in the order the parts were made, and so do the names that begin with them.
        notes.sort_unstable();
        for (part, value) in notes {
            if !translator.recall_tool(&part, value, began) {
                let text = TextPart::told(&part, value);
                translator.parts.insert(part, Part::Text(Box::new(text)));
            }
        }
        translator
    }

    /// A session that OpenCode says is there. It is ours if its parent is.
    pub(crate) fn apply_session(&mut self, info: oc::SessionInfo, now: Timestamp, out: &mut Batch) {
        let event = oc::Event::SessionCreated(info);
        self.take(event, Origin::Recalled, now, out);
    }
}
