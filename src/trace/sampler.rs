//! Which traces are recorded: `OTEL_TRACES_SAMPLER`.

use super::context::{TraceContext, TraceId};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampler {
    /// Whether a trace that came from outside is recorded if it is there.
    pub(super) parent_based: bool,
    /// The share of the others that is.
    pub(super) ratio: f64,
}

// === impl Sampler ===

impl Sampler {
    /// What is recorded unless something else is asked for.
    pub(super) const ALL: Self = Self {
        parent_based: true,
        ratio: 1.0,
    };

    /// By its name of the specification, with the argument of those that take one.
    pub(super) fn parse(name: &str, argument: Option<f64>) -> Option<Self> {
        let (name, parent_based) = match name.strip_prefix("parentbased_") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let ratio = match name {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => argument.unwrap_or(1.0),
            _ => return None,
        };
        Some(Self {
            parent_based,
            ratio,
        })
    }

    pub(super) fn samples(&self, parent: Option<&TraceContext>, trace: &TraceId) -> bool {
        match parent {
            Some(parent) if self.parent_based => parent.sampled,
            _ => self.is_within(trace),
        }
    }

    /// By the random part of the id, so that every service decides alike.
    fn is_within(&self, trace: &TraceId) -> bool {
        if self.ratio >= 1.0 {
            return true;
        }
        let mut low = [0; 8];
        low.copy_from_slice(&trace[8..]);
        // 53 bits are what a float holds.
        let random = u64::from_be_bytes(low) >> 11;
        #[expect(
            clippy::cast_precision_loss,
            reason = "the shift left as many bits as a float holds"
        )]
        let share = random as f64 / (1_u64 << 53) as f64;
        share < self.ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_decides_where_it_may_and_chance_elsewhere() {
        let parent = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let parent = parent.as_ref();
        let off = Sampler::parse("parentbased_always_off", None).unwrap();
        assert!(off.samples(parent, &[9; 16]) && !off.samples(None, &[9; 16]));
        let off = Sampler::parse("always_off", None).unwrap();
        assert!(!off.samples(parent, &[9; 16]));
        assert!(Sampler::ALL.samples(None, &[255; 16]));
        assert_eq!(Sampler::parse("sometimes", None), None);

        let tenth = Sampler::parse("traceidratio", Some(0.1)).unwrap();
        let sampled = (0..10_000_u64).filter(|n| {
            let mut trace = [0; 16];
            trace[8..].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            tenth.samples(None, &trace)
        });
        assert!((900..1100).contains(&sampled.count()));
    }
}
