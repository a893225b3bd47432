//! Text as JavaScript means it.
//!
//! A JavaScript string may hold half a character: a lone UTF-16 surrogate. OpenCode sends them, as
//! `\ud83d`, when a model's stream cuts an emoji in two or when a window of 30 000 code units begins
//! inside one (both recorded). A strict parser would refuse the whole event. [`Text`] keeps the halves
//! at its two ends, so that two pieces join to the character they were, and shows any other as U+FFFD.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A piece of text whose first and last character may be half of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    /// The second half of a character the piece before began.
    low: Option<u16>,
    body: String,
    /// The first half of a character the piece after may end.
    high: Option<u16>,
}

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

// === impl Text ===

impl Text {
    /// All of it by itself; a half at an end becomes U+FFFD.
    pub(crate) fn into_whole(self) -> String {
        let mut whole = self.body;
        if self.low.is_some() {
            whole.insert(0, REPLACEMENT);
        }
        if self.high.is_some() {
            whole.push(REPLACEMENT);
        }
        whole
    }

    /// What follows a piece that ended in `pending`; leaves the half this one ends in.
    ///
    /// Copies only when a half has to be joined.
    pub(crate) fn continue_from(self, pending: &mut Option<u16>) -> String {
        if self.is_empty() {
            return String::new();
        }
        let first = match (pending.take(), self.low) {
            (Some(high), Some(low)) => Some(join(high, low)),
            (Some(_), None) | (None, Some(_)) => Some(REPLACEMENT),
            (None, None) => None,
        };
        *pending = self.high;
        let mut text = self.body;
        if let Some(first) = first {
            text.insert(0, first);
        }
        text
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_empty() && self.low.is_none() && self.high.is_none()
    }

    fn from_utf8(body: impl Into<String>) -> Self {
        Self {
            low: None,
            body: body.into(),
            high: None,
        }
    }

    /// From WTF-8, which is UTF-8 that may hold lone surrogates as three bytes `ED A0..BF xx`.
    fn from_wtf8(mut bytes: &[u8]) -> Self {
        let mut text = Self {
            low: None,
            body: String::with_capacity(bytes.len()),
            high: None,
        };
        loop {
            let error = match str::from_utf8(bytes) {
                Ok(rest) => {
                    text.body.push_str(rest);
                    return text;
                }
                Err(error) => error,
            };
            let (valid, rest) = bytes.split_at(error.valid_up_to());
            text.body
                .push_str(str::from_utf8(valid).unwrap_or_default());
            let [0xED, b @ 0xA0..=0xBF, c, after @ ..] = rest else {
                text.body.push(REPLACEMENT);
                bytes = rest
                    .get(error.error_len().unwrap_or(rest.len())..)
                    .unwrap_or_default();
                continue;
            };
            let half = 0xD000 | (u16::from(b & 0x3F) << 6) | u16::from(c & 0x3F);
            match half {
                0xDC00.. if text.body.is_empty() && text.low.is_none() => text.low = Some(half),
                ..0xDC00 if after.is_empty() => text.high = Some(half),
                _ => text.body.push(REPLACEMENT),
            }
            bytes = after;
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from_utf8(text)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes, because only then does serde_json let a lone surrogate pass.
        deserializer.deserialize_byte_buf(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text::from_utf8(text))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
        Ok(match str::from_utf8(bytes) {
            Ok(text) => Text::from_utf8(text),
            Err(_) => Text::from_wtf8(bytes),
        })
    }
}

fn join(high: u16, low: u16) -> char {
    char::decode_utf16([high, low])
        .next()
        .and_then(Result::ok)
        .unwrap_or(REPLACEMENT)
}

/// A string that may hold halves of characters, as a field of ours: each half becomes U+FFFD.
pub(super) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Text::deserialize(deserializer).map(Text::into_whole)
}

pub(crate) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let text = Option::<Text>::deserialize(deserializer)?;
    Ok(text.map(Text::into_whole))
}

pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<Text>::deserialize(deserializer)?;
    Ok(texts.into_iter().map(Text::into_whole).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(json: &str) -> Text {
        serde_json::from_str(json).unwrap()
    }

    /// What a client sees when these pieces arrive one after the other.
    fn joined(pieces: &[&str]) -> String {
        let mut pending = None;
        let mut all = String::new();
        for piece in pieces {
            all += &parse(piece).continue_from(&mut pending);
        }
        if pending.is_some() {
            all.push(REPLACEMENT);
        }
        all
    }

    #[test]
    fn plain_and_escaped_text_is_itself() {
        assert_eq!(
            parse(r#""a\n日\u00e9\ud83d\ude00""#).into_whole(),
            "a\n日é😀"
        );
        assert!(parse(r#""""#).is_empty());
    }

    #[test]
    fn a_character_cut_in_two_joins_again() {
        assert_eq!(joined(&[r#""a\ud83d""#, r#""\ude00b""#]), "a😀b");
        assert_eq!(
            joined(&[r#""\ud83d""#, r#""\ude00\ud83d""#, r#""\ude00""#]),
            "😀😀"
        );
    }

    #[test]
    fn a_half_without_its_other_half_is_replaced() {
        assert_eq!(joined(&[r#""a\ud83d""#, r#""b""#]), "a\u{fffd}b");
        assert_eq!(joined(&[r#""\ude00b""#]), "\u{fffd}b");
        assert_eq!(joined(&[r#""a\ud83d""#]), "a\u{fffd}");
        assert_eq!(parse(r#""x\ud83dy""#).into_whole(), "x\u{fffd}y");
    }

    proptest! {
        #[test]
        fn any_cut_of_utf16_gives_the_lossy_whole(
            units in prop::collection::vec(prop_oneof![0x61_u16..0x63, 0xD83D_u16..0xD83F, 0xDE00_u16..0xDE02, Just(0x65E5_u16)], 0..20),
            cuts in prop::collection::vec(1_usize..4, 1..20),
        ) {
            let quote = |units: &[u16]| {
                let escaped = units.iter().fold(String::new(), |text, unit| text + &format!("\\u{unit:04x}"));
                format!("\"{escaped}\"")
            };
            let (mut rest, mut pieces) = (&units[..], Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(quote(piece));
                rest = after;
            }
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(joined(&pieces), String::from_utf16_lossy(&units));
        }
    }
}
