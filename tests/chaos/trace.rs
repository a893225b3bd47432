//! What a client saw, kept as it came over the wire.

use serde_json::Value;

/// A block of an event stream that means something: an event, or an id alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) id: Option<String>,
    /// Empty for a block that only moves the cursor.
    pub(crate) kind: String,
    pub(crate) data: Value,
    /// With the blank line at its end.
    pub(crate) raw: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The body came to its end.
    Clean,
    /// The other side went.
    Broken,
    /// We cut it.
    Cut,
}

/// One answer to one request.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The cursor it was asked with.
    pub(crate) asked: Option<String>,
    pub(crate) status: u16,
    pub(crate) frames: Vec<Frame>,
    pub(crate) end: End,
}

/// All connections of one client, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    pub(crate) name: String,
    /// Whether it asked for the model's thoughts, which others are not shown.
    pub(crate) reasoning: bool,
    pub(crate) connections: Vec<Connection>,
    /// Why it never came to the end of the session.
    pub(crate) stuck: Option<String>,
}

/// A body in chunks, in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Body {
    wire: Vec<u8>,
    text: Vec<u8>,
    /// Bytes of the chunk that is being read, its line break included.
    left: usize,
    pub(crate) ended: bool,
}

// === impl Frame ===

impl Frame {
    /// Nothing for comments and `retry:`.
    pub(crate) fn parse(raw: &[u8]) -> Result<Option<Self>, String> {
        let text = std::str::from_utf8(raw).map_err(|error| format!("{error}: {raw:?}"))?;
        let (mut id, mut kind, mut data) = (None, String::new(), None);
        for line in text.lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("id", value) => id = Some(value.to_owned()),
                ("event", value) => value.clone_into(&mut kind),
                ("data", value) if data.is_none() => {
                    let value = serde_json::from_str(value);
                    data = Some(value.map_err(|error| format!("{error}: {text}"))?);
                }
                ("" | "retry", _) => {}
                _ => return Err(format!("no block of the contract: {text:?}")),
            }
        }
        Ok((id.is_some() || data.is_some()).then(|| Self {
            id,
            kind,
            data: data.unwrap_or_default(),
            raw: raw.to_owned(),
        }))
    }

    /// Epoch and number.
    pub(crate) fn place(&self) -> Option<(&str, u64)> {
        place(self.id.as_deref()?)
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.data[field].as_str().unwrap_or_default()
    }

    pub(crate) fn is_terminal(&self) -> bool {
        match self.kind.as_str() {
            "complete" => true,
            "error" => self.data["fatal"] == true,
            "status" => self.data["status"] == "cancelled",
            _ => false,
        }
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.kind == "output" && self.data["source"] == "reasoning"
    }
}

pub(crate) fn place(id: &str) -> Option<(&str, u64)> {
    let (epoch, number) = id.split_once('-')?;
    Some((epoch, number.parse().ok()?))
}

/// Whole blocks at the start of `text`, which are taken out of it.
pub(crate) fn blocks(text: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
        found.push(text.drain(..end + 2).collect());
    }
    found
}

// === impl Body ===

impl Body {
    /// Takes bytes of the wire; gives the blocks that are whole with them.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        self.wire.extend_from_slice(bytes);
        loop {
            // A chunk may be as large as a page of the disk: what is here of it counts at once.
            let here = self.left.min(self.wire.len());
            let text = here.min(self.left.saturating_sub(2));
            self.text.extend(&self.wire[..text]);
            self.wire.drain(..here);
            self.left -= here;
            let Some(end) = self.wire.windows(2).position(|two| two == b"\r\n") else {
                break;
            };
            if self.left > 0 || self.ended {
                break;
            }
            let line = String::from_utf8_lossy(&self.wire[..end]).into_owned();
            let size = usize::from_str_radix(&line, 16)
                .map_err(|error| format!("{error}: a chunk of size {line:?}"))?;
            self.wire.drain(..end + 2);
            self.left = size + 2;
            self.ended = size == 0;
        }
        Ok(blocks(&mut self.text))
    }

    /// Bytes of a block that is not whole.
    pub(crate) fn has_remains(&self) -> bool {
        !self.text.is_empty()
    }
}

#[test]
fn a_body_in_single_bytes_is_the_same_body() {
    let frame = "event: output\nid: aaaaaaaaaa-1\ndata: {\"text\":\"x\"}\n\n";
    let wire = format!("6\r\n: ok\n\n\r\n{:x}\r\n{frame}\r\n0\r\n\r\n", frame.len());
    let mut body = Body::default();
    let blocks: Vec<Vec<u8>> = wire
        .bytes()
        .flat_map(|byte| body.feed(&[byte]).unwrap())
        .collect();
    assert!(body.ended && !body.has_remains());
    assert_eq!(blocks.len(), 2);
    let mut cut = Body::default();
    let frames = cut.feed(&wire.as_bytes()[..wire.len() - 6]).unwrap();
    assert_eq!(frames.len(), 2, "a frame counts before its chunk has ended");
    assert_eq!(Frame::parse(&blocks[0]), Ok(None));
    let parsed = Frame::parse(&blocks[1]).unwrap().unwrap();
    assert_eq!(parsed.place(), Some(("aaaaaaaaaa", 1)));
    assert_eq!(parsed.raw, frame.as_bytes());
}
