//! Values that must never be printed.
//!
//! A [`Secret`] has no `Display`, no `Serialize` and a `Debug` that hides it; the text is overwritten
//! when the last clone goes. Whoever needs the text says so with [`Secret::expose`], which is easy to
//! search for.

mod redact;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub(crate) use redact::{KEY_PREFIXES, SHORTEST_KEY, redact};

/// A secret text: a password, a bearer token or a provider key.
#[derive(Clone)]
pub(crate) struct Secret(Arc<Zeroizing<String>>);

// === impl Secret ===

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// 256 fresh random bits as 64 hexadecimal digits.
    #[expect(
        clippy::expect_used,
        reason = "a Linux that cannot give random bytes cannot run us"
    )]
    pub(crate) fn random() -> Self {
        let mut bits = Zeroizing::new([0_u8; 32]);
        getrandom::fill(bits.as_mut_slice()).expect("the kernel gives random bytes");
        let mut text = String::with_capacity(64);
        for byte in bits.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(digit.into(), 16));
            }
        }
        Self::new(text)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `other` is this secret, in a time that depends on neither.
    ///
    /// Both sides are hashed first, so that not even the length shows.
    pub(crate) fn matches(&self, other: &[u8]) -> bool {
        let ours = Sha256::digest(self.0.as_bytes());
        let theirs = Sha256::digest(other);
        ours.as_slice().ct_eq(theirs.as_slice()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_text() {
        assert_eq!(format!("{:?}", Secret::new("sk-1")), "Secret(…)");
    }

    #[test]
    fn two_random_secrets_differ_and_have_256_bits() {
        let (a, b) = (Secret::random(), Secret::random());
        assert_ne!(a.expose(), b.expose());
        assert_eq!(a.expose().len(), 64);
    }

    #[test]
    fn only_the_same_bytes_match() {
        let secret = Secret::new("hunter2");
        assert!(secret.matches(b"hunter2"));
        for wrong in ["", "hunter", "hunter22", "Hunter2"] {
            assert!(!secret.matches(wrong.as_bytes()), "{wrong}");
        }
    }
}
