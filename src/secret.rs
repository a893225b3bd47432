//! Values that must never be printed.
//!
//! A [`Secret`] has no `Display`, no `Serialize` and a `Debug` that hides it; the text is overwritten
//! when the last clone goes. Whoever needs the text says so with [`Secret::expose`], which is easy to
//! search for.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

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

/// Beginnings by which keys of the common providers are known: the one list of them.
pub(crate) const KEY_PREFIXES: [&str; 16] = [
    "sk-",
    "sk_",
    "pk-",
    "rk-",
    "gsk_",
    "xai-",
    "AIza",
    "ya29.",
    "hf_",
    "tgp_",
    "AKIA",
    "eyJ",
    "ghp_",
    "github_pat_",
    "glpat-",
    "r8_",
];

/// Fewer characters than this behind a known beginning are a name or a piece of one, and no key.
pub(crate) const SHORTEST_KEY: usize = 4;

/// Whether `word` begins as keys do, and is long enough to be one.
pub(crate) fn looks_like_a_key(word: &str) -> bool {
    KEY_PREFIXES.iter().any(|prefix| {
        word.strip_prefix(prefix)
            .is_some_and(|rest| rest.len() >= SHORTEST_KEY)
    })
}

/// `text` without the `known` secrets and without what looks like one.
pub(crate) fn scrub(text: &str, known: &[Secret]) -> String {
    let mut clean = text.to_owned();
    for secret in known.iter().filter(|secret| !secret.expose().is_empty()) {
        clean = clean.replace(secret.expose(), REDACTED);
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut result = String::with_capacity(clean.len());
    let mut rest = clean.as_str();
    while let Some(start) = rest.find(is_word) {
        let (before, after) = rest.split_at(start);
        let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
        let (word, next) = after.split_at(end);
        result.push_str(before);
        result.push_str(if looks_like_a_key(word) {
            REDACTED
        } else {
            word
        });
        rest = next;
    }
    result.push_str(rest);
    result
}

const REDACTED: &str = "[redacted]";

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

    #[test]
    fn known_secrets_and_what_looks_like_a_key_are_scrubbed() {
        let known = [Secret::new("hunter2"), Secret::new("")];
        let cases = [
            ("password=hunter2!", "password=[redacted]!"),
            ("key sk-proj-abcdefghijklmnop, ok", "key [redacted], ok"),
            ("Bearer gsk_0123456789abcdef\n", "Bearer [redacted]\n"),
            ("sk-abc stays, äöü stays", "sk-abc stays, äöü stays"),
            ("sk-abcd goes", "[redacted] goes"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(scrub(text, &known), expected);
        }
    }
}
