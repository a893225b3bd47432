//! Decodes the bytes of an event stream into frames.
//!
//! Pure and incremental: however the network cuts the bytes, the frames are the same. Only `data:`
//! lines count; OpenCode sends nothing else (no `id:`, no `event:`), and comments and other fields are
//! skipped. Lines end in LF or CRLF. A lone CR does not end a line: JSON cannot hold one unescaped.
//!
//! Bounded: one event holds at most `max_event` bytes. A longer one is dropped while it passes and
//! reported as [`Frame::Oversize`], and the next event decodes as if nothing had happened.

use memchr::memchr;

/// The most one event may hold. Events of 10.2 MB have been seen (a written file appears
/// in the tool's input, in its metadata and in the diff), so three times that. There is one decoder
/// per child, and it gives the memory back, so the bound costs nothing until it is needed.
pub(crate) const MAX_EVENT: usize = 32 << 20;

/// What the buffer may keep after a large event.
const KEEP: usize = 256 << 10;

/// One event of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// The `data` of an event; several `data:` lines are joined with LF.
    Data(&'a [u8]),
    /// An event of this many bytes was too long and is gone.
    Oversize { bytes: u64 },
}

/// Decodes one stream. Feed it with [`push`](Self::push), then drain it with [`next`](Self::next).
#[derive(Debug)]
pub(crate) struct Decoder {
    max_event: usize,
    /// Unread bytes start at `head`; all before belongs to frames already handed out.
    buffer: Vec<u8>,
    head: usize,
    /// No LF in `head..scanned`: a long line that arrives in pieces is searched once.
    scanned: usize,
    /// The data of the event so far, with the LF between its lines.
    joined: Vec<u8>,
    lines: usize,
    /// Bytes of the event that is being dropped.
    oversize: Option<u64>,
    /// Whether the line being read belongs to a dropped event and lost its start.
    inside_line: bool,
    start_of_stream: bool,
}

// === impl Decoder ===

impl Decoder {
    pub(crate) fn new(max_event: usize) -> Self {
        Self {
            max_event,
            buffer: Vec::new(),
            head: 0,
            scanned: 0,
            joined: Vec::new(),
            lines: 0,
            oversize: None,
            inside_line: false,
            start_of_stream: true,
        }
    }

    /// Takes what the network gave. Call [`next`](Self::next) until it is empty before pushing more:
    /// the bound holds for what one event leaves behind, plus one such piece.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.head);
        self.scanned -= self.head;
        self.head = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event, if all its bytes are here.
    pub(crate) fn next(&mut self) -> Option<Frame<'_>> {
        if self.lines == 0 && self.joined.capacity() > KEEP {
            self.joined = Vec::new();
        }
        loop {
            let Some(found) = memchr(b'\n', &self.buffer[self.scanned..]) else {
                self.scanned = self.buffer.len();
                self.drop_oversize_line();
                return None;
            };
            let (start, end) = (self.head, self.scanned + found);
            self.head = end + 1;
            self.scanned = self.head;
            let continued = std::mem::take(&mut self.inside_line);
            if let Some(bytes) = &mut self.oversize {
                let line = &self.buffer[start..end];
                *bytes += line.len() as u64 + 1;
                if !continued && matches!(line, [] | [b'\r']) {
                    let bytes = *bytes;
                    self.oversize = None;
                    return Some(Frame::Oversize { bytes });
                }
                continue;
            }
            if let Some(frame) = self.line(start, end) {
                return Some(self.show(frame));
            }
        }
    }

    /// Handles one whole line, and says where the event's data is when the line ended it.
    fn line(&mut self, start: usize, end: usize) -> Option<Place> {
        let mut line = &self.buffer[start..end];
        if std::mem::take(&mut self.start_of_stream) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        line = line.strip_suffix(b"\r").unwrap_or(line);
        let line_end = if self.buffer[..end].ends_with(b"\r") {
            end - 1
        } else {
            end
        };
        if line.is_empty() {
            return match std::mem::take(&mut self.lines) {
                0 => None,
                _ => Some(Place::Joined),
            };
        }
        let value = match line.strip_prefix(b"data") {
            Some([]) => &[],
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => value,
            _ => return None,
        };
        if self.lines == 0 {
            self.joined.clear();
            // The usual event is one line and its blank line is here too: no copy.
            if let Some(skip) = blank_line(&self.buffer[self.head..]) {
                let (at, length) = (line_end - value.len(), value.len());
                self.head += skip;
                self.scanned = self.head;
                return Some(Place::Buffer { at, length });
            }
        } else {
            self.joined.push(b'\n');
        }
        if self.joined.len() + value.len() > self.max_event {
            self.oversize = Some((self.joined.len() + value.len()) as u64);
            self.joined = Vec::new();
            self.lines = 0;
            return None;
        }
        self.joined.extend_from_slice(value);
        self.lines += 1;
        None
    }

    fn show(&self, place: Place) -> Frame<'_> {
        let data = match place {
            Place::Joined => &self.joined[..],
            Place::Buffer { at, length } => &self.buffer[at..at + length],
        };
        if data.len() > self.max_event {
            return Frame::Oversize {
                bytes: data.len() as u64,
            };
        }
        Frame::Data(data)
    }

    /// Drops a line without end that is too long, or belongs to an event that was.
    fn drop_oversize_line(&mut self) {
        let waiting = self.buffer.len() - self.head;
        if self.oversize.is_none() && waiting + self.joined.len() <= self.max_event {
            return;
        }
        // "\r" alone may be the first half of the blank line that ends the event.
        if waiting == 0 || (!self.inside_line && self.buffer[self.head..] == *b"\r") {
            return;
        }
        *self.oversize.get_or_insert(self.joined.len() as u64) += waiting as u64;
        self.joined = Vec::new();
        self.lines = 0;
        self.inside_line = true;
        self.head = self.buffer.len();
    }
}

/// Where the data of a finished event lies.
#[derive(Clone, Copy)]
enum Place {
    Joined,
    Buffer { at: usize, length: usize },
}

/// The length of the blank line `bytes` begin with.
fn blank_line(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(max: usize, pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, u64>> {
        let mut decoder = Decoder::new(max);
        let mut frames = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while let Some(frame) = decoder.next() {
                frames.push(match frame {
                    Frame::Data(data) => Ok(data.to_vec()),
                    Frame::Oversize { bytes } => Err(bytes),
                });
            }
        }
        frames
    }

    fn text(stream: &str) -> Vec<String> {
        let frames = decode(MAX_EVENT, &[stream.as_bytes()]);
        frames
            .into_iter()
            .map(|frame| String::from_utf8(frame.unwrap()).unwrap())
            .collect()
    }

    #[test]
    fn only_data_lines_make_events() {
        let stream =
            "\u{feff}data: a\n\n: comment\n\nid: 7\nevent: x\ndata:b\r\n\r\nretry: 1\n\ndata\n\n";
        assert_eq!(text(stream), ["a", "b", ""]);
    }

    #[test]
    fn several_data_lines_are_joined_and_one_space_is_eaten() {
        assert_eq!(text("data: a\ndata:  b\n: c\ndata:\n\n"), ["a\n b\n"]);
    }

    #[test]
    fn an_event_without_its_blank_line_is_not_an_event_yet() {
        assert_eq!(text("data: a\n"), Vec::<String>::new());
    }

    #[test]
    fn a_too_long_event_is_reported_and_the_next_one_decodes() {
        let long = format!("data: {}\n\ndata: ok\n\n", "x".repeat(100));
        for size in [1, 7, 50, 200] {
            let pieces: Vec<&[u8]> = long.as_bytes().chunks(size).collect();
            let frames = decode(40, &pieces);
            assert_eq!(frames.len(), 2, "{size}");
            assert!(
                frames[0].as_ref().is_err_and(|&bytes| bytes >= 100),
                "{size}"
            );
            assert_eq!(frames[1], Ok(b"ok".to_vec()), "{size}");
        }
    }

    #[test]
    fn many_short_lines_cannot_pass_the_bound_either() {
        let long = format!("{}\ndata: ok\n\n", "data: 0123456789\n".repeat(10));
        let frames = decode(40, &[long.as_bytes()]);
        assert!(frames[0].is_err());
        assert_eq!(frames[1..], [Ok(b"ok".to_vec())]);
    }

    #[test]
    fn the_memory_of_a_large_event_is_given_back() {
        let mut decoder = Decoder::new(MAX_EVENT);
        decoder.push(format!("data: {}\n\n", "x".repeat(4 << 20)).as_bytes());
        assert!(matches!(decoder.next(), Some(Frame::Data(data)) if data.len() == 4 << 20));
        assert_eq!(decoder.next(), None);
        decoder.push(b"data: a\n\n");
        assert!(decoder.buffer.capacity() <= KEEP);
    }

    proptest! {
        #[test]
        fn any_split_decodes_the_same(
            lines in prop::collection::vec("(data: ?[ -~]{0,12}|[ -~]{0,8}|)(\r\n|\n)", 0..20),
            cuts in prop::collection::vec(1_usize..9, 1..60),
        ) {
            let stream = lines.concat();
            let whole = decode(MAX_EVENT, &[stream.as_bytes()]);
            let (mut rest, mut pieces) = (stream.as_bytes(), Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(decode(MAX_EVENT, &pieces), whole);
        }

        #[test]
        fn the_decoder_never_holds_more_than_the_bound_and_one_piece(
            stream in prop::collection::vec(prop::sample::select(vec![b'\n', b'\r', b'd', b'a', b't', b':']), 0..400),
        ) {
            let mut decoder = Decoder::new(16);
            for piece in stream.chunks(8) {
                decoder.push(piece);
                while let Some(frame) = decoder.next() {
                    if let Frame::Data(data) = frame { prop_assert!(data.len() <= 16); }
                }
                prop_assert!(decoder.buffer.len() - decoder.head <= 24);
            }
        }
    }
}
