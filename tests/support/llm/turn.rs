//! What the scripted model says in one call.

use std::fmt::{self, Debug, Formatter};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::call::Recorded;

/// Makes an answer of the call and its number.
type Answer = Box<dyn Fn(&Recorded, u32) -> Turn + Send + Sync>;

/// Makes the answer to a call of the call itself and its number among those that it answers.
pub(super) struct Responder {
    answer: Answer,
    answered: u32,
}

/// A part of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Text(String),
    Reasoning(String),
    Tool {
        name: String,
        arguments: String,
        /// How many pieces the arguments come in, with the pause of [`Stream`](Self::Stream) before each.
        pieces: usize,
    },
    /// The same text again and again, made as it is sent: for large streams.
    Flood {
        text: String,
        times: usize,
    },
    /// The texts that follow come in so many chunks, with a pause before each.
    Stream {
        chunks: usize,
        delay: Duration,
    },
    Wait(Duration),
    /// Bytes as they are, between two events.
    Raw(Bytes),
    /// The connection breaks.
    Drop,
    /// Nothing more comes.
    Hang,
    /// One byte at a time, for ever, and never the end of a line.
    Drip(Duration),
}

/// How the answer is packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Packing {
    #[default]
    Stream,
    Gzip,
    /// An answer with this status and body instead of a stream.
    Plain(u16, Bytes),
}

/// One call's answer: a stream of parts, or a fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    pub(super) parts: Vec<Part>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) usage: Option<Usage>,
    pub(super) packing: Packing,
    pub(super) hangs: bool,
    pub(super) error_text: Option<String>,
}

/// The counts it reports. `input` holds `cached`, `output` holds `reasoning`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cached: u64,
    pub(super) reasoning: u64,
}

// === impl Responder ===

impl Responder {
    pub(super) fn new(answer: impl Fn(&Recorded, u32) -> Turn + Send + Sync + 'static) -> Self {
        Self {
            answer: Box::new(answer),
            answered: 0,
        }
    }

    pub(super) fn answer(&mut self, call: &Recorded) -> Turn {
        self.answered += 1;
        (self.answer)(call, self.answered)
    }
}

impl Debug for Responder {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("answered", &self.answered)
            .finish_non_exhaustive()
    }
}

// === impl Turn ===

impl Turn {
    /// An answer that reports 100 input and 20 output tokens.
    pub(crate) fn new() -> Self {
        Self::default().usage(100, 20, 0, 0)
    }

    /// A refusal in the dialect's shape.
    pub(crate) fn error(status: u16, message: &str) -> Self {
        let packing = Packing::Plain(status, Bytes::new());
        Self {
            packing,
            error_text: Some(message.to_owned()),
            ..Self::default()
        }
    }

    /// Any status with any body, as they are.
    pub(crate) fn plain(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            packing: Packing::Plain(status, body.into()),
            ..Self::default()
        }
    }

    /// A stream of these bytes, right or wrong.
    pub(crate) fn wire(bytes: impl Into<Bytes>) -> Self {
        Self::plain(200, bytes).header("content-type", "text/event-stream")
    }

    /// A redirect.
    pub(crate) fn redirect(location: &str) -> Self {
        Self::plain(307, "").header("location", location)
    }

    /// Nothing comes back, not even a status.
    pub(crate) fn hang_before_headers() -> Self {
        Self {
            hangs: true,
            ..Self::default()
        }
    }

    #[must_use]
    pub(crate) fn text(self, text: &str) -> Self {
        self.part(Part::Text(text.to_owned()))
    }

    #[must_use]
    pub(crate) fn reasoning(self, text: &str) -> Self {
        self.part(Part::Reasoning(text.to_owned()))
    }

    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers write json!({…}) here"
    )]
    pub(crate) fn tool(self, name: &str, arguments: Value) -> Self {
        self.tool_in_pieces(name, &arguments.to_string(), 1)
    }

    /// A tool call with arguments that need not be JSON.
    #[must_use]
    pub(crate) fn tool_raw(self, name: &str, arguments: &str) -> Self {
        self.tool_in_pieces(name, arguments, 1)
    }

    /// A tool call whose arguments come in pieces.
    #[must_use]
    pub(crate) fn tool_in_pieces(self, name: &str, arguments: &str, pieces: usize) -> Self {
        self.part(Part::Tool {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            pieces,
        })
    }

    /// The texts that follow come in `chunks` pieces (cut between characters), `delay` before each.
    #[must_use]
    pub(crate) fn stream(self, chunks: usize, delay: Duration) -> Self {
        self.part(Part::Stream { chunks, delay })
    }

    #[must_use]
    pub(crate) fn flood(self, text: &str, times: usize) -> Self {
        self.part(Part::Flood {
            text: text.to_owned(),
            times,
        })
    }

    #[must_use]
    pub(crate) fn wait(self, delay: Duration) -> Self {
        self.part(Part::Wait(delay))
    }

    #[must_use]
    pub(crate) fn raw(self, bytes: impl Into<Bytes>) -> Self {
        self.part(Part::Raw(bytes.into()))
    }

    /// The connection breaks here.
    #[must_use]
    pub(crate) fn drop_here(self) -> Self {
        self.part(Part::Drop)
    }

    /// Nothing more comes from here on.
    #[must_use]
    pub(crate) fn hang_here(self) -> Self {
        self.part(Part::Hang)
    }

    #[must_use]
    pub(crate) fn drip_here(self, every: Duration) -> Self {
        self.part(Part::Drip(every))
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub(crate) fn usage(mut self, input: u64, output: u64, cached: u64, reasoning: u64) -> Self {
        self.usage = Some(Usage {
            input,
            output,
            cached,
            reasoning,
        });
        self
    }

    /// A server that does not count.
    #[must_use]
    pub(crate) fn without_usage(mut self) -> Self {
        self.usage = None;
        self
    }

    /// The stream is sent compressed, asked for or not.
    #[must_use]
    pub(crate) fn gzip(mut self) -> Self {
        self.packing = Packing::Gzip;
        self
    }

    pub(super) const fn hangs_before_headers(&self) -> bool {
        self.hangs
    }

    fn part(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }
}
