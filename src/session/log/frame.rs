//! One event as the bytes every reader gets, and back. Pure.
//!
//! A frame is encoded once, when it is appended: `event: k`, `id: e-s`, `data: {…}`, and a blank line.

use memchr::memmem;

use super::id::EventId;

/// Appends the frame to `out`.
///
/// `data` is one line of JSON. A line break would end the field, so it becomes a space: in JSON it can only be between two
/// tokens, where a space means the same.
pub(super) fn encode(out: &mut Vec<u8>, kind: &str, id: EventId, data: &str) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\nid: ");
    out.extend_from_slice(id.epoch.as_str().as_bytes());
    out.push(b'-');
    out.extend_from_slice(itoa::Buffer::new().format(id.seq).as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let start = out.len();
    out.extend_from_slice(data.as_bytes());
    for byte in out.iter_mut().skip(start) {
        // Without an early exit, so that the compiler vectorises the loop.
        *byte = if matches!(*byte, b'\n' | b'\r') {
            b' '
        } else {
            *byte
        };
    }
    out.extend_from_slice(b"\n\n");
}

/// The most bytes [`encode`] adds to those of `kind` and `data`.
pub(super) const OVERHEAD: usize = "event: \nid: 0123456789-18446744073709551615\ndata: \n\n".len();

/// Of each of these frames the type, the id, and the data. What is no frame is left out.
pub(in crate::session) fn each(frames: &[u8]) -> impl Iterator<Item = (&str, &str, &[u8])> {
    let mut rest = frames;
    let next = move || {
        let (frame, after) = split(rest, b"\n\n")?;
        rest = after;
        Some(parts(frame))
    };
    std::iter::from_fn(next).flatten()
}

fn parts(frame: &[u8]) -> Option<(&str, &str, &[u8])> {
    let frame = frame.strip_prefix(b"event: ")?;
    let (kind, frame) = split(frame, b"\nid: ")?;
    let (id, data) = split(frame, b"\ndata: ")?;
    Some((str::from_utf8(kind).ok()?, str::from_utf8(id).ok()?, data))
}

fn split<'a>(bytes: &'a [u8], by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memmem::find(bytes, by)?;
    Some((&bytes[..at], &bytes[at + by.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::log::id::Epoch;

    fn frame(kind: &str, seq: u64, data: &str) -> String {
        let mut out = Vec::new();
        encode(
            &mut out,
            kind,
            Epoch::parse("abcdefghij").unwrap().at(seq),
            data,
        );
        assert!(out.len() <= OVERHEAD + kind.len() + data.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_frame_is_the_four_lines_of_the_contract() {
        assert_eq!(
            frame("output", 17, r#"{"text":"grüß"}"#),
            "event: output\nid: abcdefghij-17\ndata: {\"text\":\"grüß\"}\n\n"
        );
    }

    #[test]
    fn every_number_is_written_as_rust_writes_it() {
        for seq in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert!(frame("k", seq, "{}").contains(&format!("\nid: abcdefghij-{seq}\n")));
        }
    }

    #[test]
    fn a_line_break_in_the_data_cannot_forge_a_line() {
        assert_eq!(
            frame("k", 1, "{\n\"a\":\r\n1}\n\nevent: error"),
            "event: k\nid: abcdefghij-1\ndata: { \"a\":  1}  event: error\n\n"
        );
    }
}
