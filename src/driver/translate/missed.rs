//! What was missed, in the order a client should read it.

use crate::clock::Timestamp;
use crate::opencode::types as oc;

use super::{Batch, Origin, Translator};

// === impl Translator ===

impl Translator {
    /// Takes the history of what was missed. `messages` have the whole truth of every part and are applied
    /// by the caller behind it, without what is taken out of them here.
    ///
    /// OpenCode may store that a text has ended behind the tool call that followed it, because some
    /// providers say so only at the end of their answer. Live that does no harm: the deltas came before.
    /// Here nobody saw them, so a call waits until the texts before it in its message are told.
    pub(crate) fn apply_missed(
        &mut self,
        history: Vec<oc::HistoryItem>,
        messages: &mut [oc::Message],
        now: Timestamp,
        out: &mut Batch,
    ) {
        for item in history {
            if let oc::Event::Part(oc::Part {
                id,
                message,
                kind: oc::PartKind::Tool(_),
                ..
            }) = &item.event
            {
                for text in texts_before(id, message, messages) {
                    self.take(oc::Event::Part(text), Origin::Recalled, now, out);
                }
            }
            self.apply_history(item, now, out);
        }
    }
}

/// Takes the whole texts out of `message` that were begun before part `id`: ids sort in that order.
fn texts_before(id: &str, message: &str, messages: &mut [oc::Message]) -> Vec<oc::Part> {
    let Some(message) = messages.iter_mut().find(|known| known.info.id == message) else {
        return Vec::new();
    };
    let (texts, others) = std::mem::take(&mut message.parts)
        .into_iter()
        .partition(|part| *part.id < *id && is_whole_text(&part.kind));
    message.parts = others;
    texts
}

const fn is_whole_text(kind: &oc::PartKind) -> bool {
    matches!(
        kind,
        oc::PartKind::Text { ended: true, .. } | oc::PartKind::Reasoning { ended: true, .. }
    )
}
