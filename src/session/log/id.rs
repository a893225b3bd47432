//! The name of an event: `<epoch>-<seq>`.
//!
//! The epoch says which log, the number which event of it. Numbers are 1, 2, 3, … without holes; 0 is
//! the place before the first event.

use std::fmt;
use std::str;

/// Which log an event belongs to: 10 random characters `[0-9a-z]`.
///
/// A restart keeps it together with the log; only losing the log changes it. So an id never names two
/// different events.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Epoch([u8; Self::LEN]);

/// One event of one log, or the place before the first one (`seq` 0).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventId {
    pub(crate) epoch: Epoch,
    pub(crate) seq: u64,
}

// === impl Epoch ===

impl Epoch {
    const LEN: usize = 10;
    const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

    /// A fresh epoch: 51 random bits.
    #[expect(
        clippy::expect_used,
        reason = "a Linux that cannot give random bytes cannot run us"
    )]
    pub(crate) fn random() -> Self {
        let mut epoch = [0; Self::LEN];
        let mut filled = 0;
        while filled < Self::LEN {
            let mut bits = [0_u8; 2 * Self::LEN];
            getrandom::fill(&mut bits).expect("the kernel gives random bytes");
            // 252 is 7 times 36: what lies above would favour the first letters.
            for byte in bits.iter().filter(|byte| **byte < 252) {
                if let Some(place) = epoch.get_mut(filled) {
                    *place = Self::ALPHABET[usize::from(byte % 36)];
                    filled += 1;
                }
            }
        }
        Self(epoch)
    }

    /// The epoch this text is, if it is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let epoch = text.as_bytes().try_into().ok().map(Self)?;
        epoch
            .0
            .iter()
            .all(|byte| Self::ALPHABET.contains(byte))
            .then_some(epoch)
    }

    pub(crate) fn as_str(&self) -> &str {
        // Both constructors let only ASCII in.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(crate) const fn at(self, seq: u64) -> EventId {
        EventId { epoch: self, seq }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl EventId ===

impl EventId {
    /// Reads `<epoch>-<seq>`.
    ///
    /// A number too large for us is read as the largest one: it is certainly past every head, which is
    /// all there is to say about it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (epoch, digits) = text.split_once('-')?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Epoch::parse(epoch)?.at(digits.parse().unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_ten_letters_or_digits_and_another_one_each_time() {
        let (a, b) = (Epoch::random(), Epoch::random());
        assert_ne!(a, b);
        assert_eq!(Epoch::parse(a.as_str()), Some(a));
        assert_eq!(a.as_str().len(), 10);
    }

    #[test]
    fn an_id_reads_back_as_itself() {
        let id = Epoch::random().at(42);
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn a_number_too_large_is_the_largest() {
        let id = EventId::parse("abcdefghij-99999999999999999999999").unwrap();
        assert_eq!(id.seq, u64::MAX);
    }

    #[test]
    fn what_is_not_an_id_is_not_read_as_one() {
        for text in [
            "",
            "-",
            "7",
            "abcdefghij",
            "abcdefghij-",
            "-1",
            "abcdefghi-1",
            "abcdefghijk-1",
            "ABCDEFGHIJ-1",
            "abcdefghij-+1",
            "abcdefghij--1",
            "abcdefghij-1 ",
            "abcdefghij-1-2",
            "abcdefghé-1",
            "abcdefghij-١",
        ] {
            assert_eq!(EventId::parse(text), None, "{text:?}");
        }
    }
}
