//! Merges consecutive pieces of a text into one event.
//!
//! OpenCode pays for each event, however short: it stores and publishes every one, and its collector runs at
//! each wake-up. The merged event is the last of its pieces with the text of all of them, as it was written.
//! This module only collects; when what it has collected goes out is decided in `relay`.

use super::delta::Frame;

#[derive(Debug, Default)]
pub(super) struct Merger {
    enabled: bool,
    /// Of the newest piece.
    frame: Option<Frame>,
    /// Of the pieces in this frame that have not gone out.
    text: Vec<u8>,
    /// Events before it that have not gone out either.
    merged: Vec<u8>,
}

// === impl Merger ===

impl Merger {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            ..Self::default()
        }
    }

    pub(super) const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The text in `event`, if it is one more piece in the same frame.
    pub(super) fn text_of<'a>(&self, event: &'a [u8]) -> Option<&'a [u8]> {
        self.frame.as_ref()?.text_of(event)
    }

    /// Keeps one more piece in the same frame; `false` if it is to go out as it came.
    pub(super) fn add(&mut self, text: &[u8]) -> bool {
        if self.enabled {
            self.text.extend_from_slice(text);
        }
        self.enabled
    }

    /// Keeps a piece that has a frame of its own; `false` if it is to go out as it came.
    pub(super) fn add_framed(&mut self, frame: Frame, text: &[u8]) -> bool {
        let known = self.frame.as_ref();
        if self.enabled && !known.is_some_and(|known| known.continues(&frame)) {
            self.close();
        }
        self.frame = Some(frame);
        self.add(text)
    }

    /// What is kept, before something else goes out.
    pub(super) fn interrupt(&mut self) -> Vec<u8> {
        let kept = self.take();
        self.frame = None;
        kept
    }

    /// What is kept. Further pieces may follow in the same frame.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.close();
        std::mem::take(&mut self.merged)
    }

    pub(super) const fn kept_bytes(&self) -> usize {
        self.text.len() + self.merged.len()
    }

    fn close(&mut self) {
        if let Some(frame) = self.frame.as_ref().filter(|_| !self.text.is_empty()) {
            for part in [&frame.before, &self.text, &frame.after] {
                self.merged.extend_from_slice(part);
            }
            self.text.clear();
        }
    }
}
