//! The frames of `GET …/stream`: `event:`, `id:` and `data:` lines, with an empty line at the end. Pure, and
//! the same however the network cuts the bytes.

use crate::cli::exit::Problem;

/// A frame of ours has at most 256 KiB of data.
const MAX_FRAME: usize = 4 << 20;

/// One frame. A comment, or a frame that only moves the cursor, has no data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) event: String,
    pub(super) id: Option<String>,
    pub(super) data: Option<String>,
}

/// Makes frames of bytes.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: Vec<u8>,
    frame: Frame,
    /// The last line was no empty one.
    open: bool,
}

// === impl Decoder ===

impl Decoder {
    /// The frames that these bytes complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, Problem> {
        self.buffer.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut start = 0;
        while let Some(end) = memchr::memchr(b'\n', &self.buffer[start..]) {
            let line = String::from_utf8_lossy(&self.buffer[start..start + end]).into_owned();
            start += end + 1;
            self.line(line.trim_end_matches('\r'), &mut frames);
        }
        self.buffer.drain(..start);
        if self.buffer.len() > MAX_FRAME {
            return Err(Problem::failed(
                "an event of the stream is too long to be one of ours",
            ));
        }
        Ok(frames)
    }

    fn line(&mut self, line: &str, frames: &mut Vec<Frame>) {
        if line.is_empty() {
            if std::mem::take(&mut self.open) {
                frames.push(std::mem::take(&mut self.frame));
            }
            return;
        }
        self.open = true;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.frame.event),
            "id" => self.frame.id = Some(value.to_owned()),
            "data" => match &mut self.frame.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.frame.data = Some(value.to_owned()),
            },
            // Comments, `retry:`, and what is not known.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ": ok\nretry: 1000\n\nevent: output\nid: e-1\ndata: {\"a\":1}\n\nid: e-2\n\nevent: heartbeat\r\ndata: {}\r\n\r\n";

    #[test]
    fn frames_are_the_same_wherever_the_bytes_are_cut() {
        let whole = Decoder::default().push(TEXT.as_bytes()).unwrap();
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[1].event, "output");
        assert_eq!(whole[1].id.as_deref(), Some("e-1"));
        assert_eq!(whole[1].data.as_deref(), Some("{\"a\":1}"));
        assert_eq!(
            whole[2],
            Frame {
                id: Some("e-2".into()),
                ..Frame::default()
            }
        );
        for at in 0..TEXT.len() {
            let mut decoder = Decoder::default();
            let mut frames = decoder.push(&TEXT.as_bytes()[..at]).unwrap();
            frames.extend(decoder.push(&TEXT.as_bytes()[at..]).unwrap());
            assert_eq!(frames, whole, "{at}");
        }
    }

    #[test]
    fn what_never_ends_is_refused() {
        assert!(Decoder::default().push(&vec![b'x'; MAX_FRAME + 1]).is_err());
    }
}
