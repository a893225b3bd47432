//! Small pieces of text that wait together become one event, before it gets an id.

use super::body::{Body, Event};

// === impl Event ===

impl Event {
    /// Appends `next` if a reader cannot tell the difference, else gives it back.
    ///
    /// Both must be text of the same part and source, and the result at most `max` bytes. The later note
    /// holds for both.
    pub(crate) fn merge(&mut self, next: Self, max: usize) -> Option<Self> {
        let of_one = self.agent == next.agent && self.part() == next.part();
        let (Body::Output(text), Body::Output(more)) = (&mut self.body, &next.body) else {
            return Some(next);
        };
        let same = of_one
            && text.channel == more.channel
            && text.source == more.source
            && text.call_id == more.call_id;
        // A gap must stay where it is: before the first character of its event.
        if !same || more.truncated || text.text.len() + more.text.len() > max {
            return Some(next);
        }
        text.text.push_str(&more.text);
        self.note = next.note;
        None
    }

    fn part(&self) -> Option<&str> {
        self.note.as_ref().map(|note| &*note.part)
    }
}
