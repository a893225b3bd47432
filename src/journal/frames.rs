//! The ends of SSE frames, and the epoch in their ids. Pure.
//!
//! A frame is `event: k\nid: <epoch>-<seq>\ndata: {…}\n\n`: it ends with a blank line and has none inside.

use std::sync::LazyLock;

use memchr::memmem::{Finder, find};

/// What stands before the epoch. A line of data begins with `data: `, so this is found nowhere else.
const ID: &[u8] = b"\nid: ";

static BLANK_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n\n"));

/// Where the first `count` frames end; the end of all if there are fewer.
pub(super) fn end_of(frames: &[u8], count: u64) -> usize {
    let mut ends = ends(frames);
    match count.checked_sub(1) {
        None => 0,
        Some(before) => usize::try_from(before)
            .ok()
            .and_then(|before| ends.nth(before))
            .unwrap_or(frames.len()),
    }
}

/// Writes `epoch` over that of every frame, if the first one has another. Both have the same length.
pub(super) fn set_epoch(frames: &mut [u8], epoch: &str) {
    if epoch_of(frames).is_none_or(|old| old == epoch.as_bytes()) {
        return;
    }
    let mut start = 0;
    while let Some(frame) = frames.get_mut(start..).filter(|rest| !rest.is_empty()) {
        let end = end_of(frame, 1);
        if let Some(at) = find(&frame[..end], ID)
            && let Some(old) = frame.get_mut(at + ID.len()..at + ID.len() + epoch.len())
        {
            old.copy_from_slice(epoch.as_bytes());
        }
        start += end;
    }
}

fn epoch_of(frames: &[u8]) -> Option<&[u8]> {
    let id = frames.get(find(frames, ID)? + ID.len()..)?;
    id.get(..memchr::memchr(b'-', id)?)
}

fn ends(frames: &[u8]) -> impl Iterator<Item = usize> {
    BLANK_LINE.find_iter(frames).map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(epoch: &str, seq: u64) -> String {
        format!("event: output\nid: {epoch}-{seq}\ndata: {{\"text\":\"\\nid: x\"}}\n\n")
    }

    fn frames(epoch: &str) -> String {
        (8..=12).map(|seq| frame(epoch, seq)).collect()
    }

    #[test]
    fn any_number_of_frames_ends_at_a_border() {
        let all = frames("abcdefghij");
        let one = frame("abcdefghij", 8).len();
        assert_eq!(end_of(all.as_bytes(), 0), 0);
        assert_eq!(end_of(all.as_bytes(), 1), one);
        assert_eq!(end_of(all.as_bytes(), 2), 2 * one);
        assert_eq!(end_of(all.as_bytes(), 5), all.len());
        assert_eq!(end_of(all.as_bytes(), 6), all.len());
        assert_eq!(end_of(b"", 3), 0);
    }

    #[test]
    fn every_frame_gets_the_epoch_and_nothing_else_changes() {
        let mut changed = frames("abcdefghij").into_bytes();
        set_epoch(&mut changed, "0123456789");
        assert_eq!(String::from_utf8(changed).unwrap(), frames("0123456789"));
    }

    #[test]
    fn what_is_no_frame_is_left_alone() {
        for odd in [
            "",
            "\n\n",
            "event: x\n\n",
            "event: x\nid: ",
            "event: x\nid: a-1",
        ] {
            let mut bytes = odd.as_bytes().to_vec();
            set_epoch(&mut bytes, "0123456789");
            assert_eq!(bytes.len(), odd.len());
        }
    }
}
