//! Where in which trace something happens, as W3C Trace Context has it.

use sha2::{Digest as _, Sha256};

use crate::text::hex;

pub(crate) type TraceId = [u8; 16];
pub(crate) type SpanId = [u8; 8];

/// One span of one trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    /// Whether it is recorded. What is not is handed on all the same, so that others do not record it either.
    pub(super) sampled: bool,
}

/// The span of a turn, and the one that it is a part of: what is kept of it on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanAndParent {
    pub(crate) context: TraceContext,
    pub(super) parent: Option<SpanId>,
}

/// The flag of the header that says so.
const SAMPLED: u8 = 1;

// === impl TraceContext ===

impl TraceContext {
    /// A span without a parent. Nothing without random bytes.
    pub(super) fn root(sampled: impl FnOnce(&TraceId) -> bool) -> Option<Self> {
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        getrandom::fill(&mut trace).ok()?;
        getrandom::fill(&mut span).ok()?;
        let sampled = sampled(&trace);
        Some(Self {
            trace,
            span,
            sampled,
        })
    }

    /// A further span of the same trace.
    pub(super) fn child(&self) -> Option<Self> {
        let mut span = [0; 8];
        getrandom::fill(&mut span).ok()?;
        Some(Self { span, ..*self })
    }

    /// A span of the same trace whose id everybody can make who knows its name: our plugin makes that of a tool call.
    pub(super) fn named(&self, kind: &str, name: &str) -> Self {
        let mut hasher = Sha256::new();
        for part in [&*hex(&self.trace), kind, name] {
            hasher.update(part);
            hasher.update([0]);
        }
        let digest = hasher.finalize();
        let mut span = [0; 8];
        span.copy_from_slice(&digest[..8]);
        Self { span, ..*self }
    }

    /// Reads a `traceparent`. What is none is ignored, as the standard wants it.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let mut fields = header.trim().split('-');
        let mut field = || fields.next();
        let (version, trace, span, flags) = (field()?, field()?, field()?, field()?);
        let (version, flags) = (unhex::<1>(version)?[0], unhex::<1>(flags)?[0]);
        // A later version may have more fields, and none has this number.
        if version == 0xff || (version == 0 && fields.next().is_some()) {
            return None;
        }
        let (trace, span) = (unhex::<16>(trace)?, unhex::<8>(span)?);
        (trace != [0; 16] && span != [0; 8]).then_some(Self {
            trace,
            span,
            sampled: flags & SAMPLED != 0,
        })
    }

    /// As a `traceparent`.
    pub(crate) fn header(&self) -> String {
        let flags = u8::from(self.sampled) * SAMPLED;
        format!("00-{}-{}-{flags:02x}", self.trace_id(), self.span_id())
    }

    pub(crate) fn trace_id(&self) -> String {
        hex(&self.trace)
    }

    pub(crate) fn span_id(&self) -> String {
        hex(&self.span)
    }

    pub(crate) const fn is_sampled(&self) -> bool {
        self.sampled
    }
}

// === impl SpanAndParent ===

impl SpanAndParent {
    /// A `traceparent`, and behind a blank the parent's span.
    pub(crate) fn to_text(self) -> String {
        let parent = self.parent.map(|parent| format!(" {}", hex(&parent)));
        self.context.header() + &parent.unwrap_or_default()
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (header, parent) = text.split_once(' ').unzip();
        Some(Self {
            context: TraceContext::parse(header.unwrap_or(text))?,
            parent: parent.and_then(unhex),
        })
    }
}

/// Lower case only, as the standard wants it.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let context = TraceContext::parse(HEADER).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.header(), HEADER);
        let child = context.child().unwrap();
        assert_eq!(child.trace, context.trace);
        assert_ne!(child.span, context.span);
        let later =
            TraceContext::parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-x");
        assert!(!later.unwrap().is_sampled());
    }

    #[test]
    fn a_span_with_its_parent_survives_the_disk() {
        let context = TraceContext::parse(HEADER).unwrap();
        for parent in [None, Some([7; 8])] {
            let span = SpanAndParent { context, parent };
            assert_eq!(SpanAndParent::parse(&span.to_text()), Some(span));
        }
        assert_eq!(SpanAndParent::parse("nothing"), None);
    }

    #[test]
    fn what_is_no_traceparent_is_ignored() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_id_of_a_named_span_is_that_of_the_plugin() {
        // `printf '4bf9…4736\0tool\0call_1\0' | sha256sum`
        let context = TraceContext::parse(HEADER).unwrap();
        let tool = context.named("tool", "call_1");
        assert_eq!(tool.span_id(), "69ec1bf28d280142");
        assert_ne!(context.named("agent", "call_1").span, tool.span);
    }
}
