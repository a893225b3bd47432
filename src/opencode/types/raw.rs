//! JSON that is passed on as it came.
//!
//! A lone surrogate in it (see [`Text`](super::Text)) is replaced: strict readers, and our own, refuse one.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// JSON we pass on and do not look into: on one line, and without halves of characters.
pub(crate) type Raw = Box<RawValue>;

pub(super) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
    <&RawValue>::deserialize(deserializer).map(pass_on)
}

pub(super) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Raw>, D::Error> {
    let raw = Option::<&RawValue>::deserialize(deserializer)?;
    Ok(raw.map(pass_on))
}

pub(super) fn pass_on(raw: &RawValue) -> Raw {
    let mut json = Cow::Borrowed(raw.get());
    if json.contains(['\n', '\r']) {
        // Inside a string it would be escaped, so this one only separates.
        json = json.replace(['\n', '\r'], " ").into();
    }
    if let Some(mended) = mend_json(&json) {
        json = mended.into();
    }
    match json {
        Cow::Borrowed(_) => raw.to_owned(),
        Cow::Owned(json) => RawValue::from_string(json).unwrap_or_else(|_| raw.to_owned()),
    }
}

/// JSON whose strings hold no lone surrogate. Almost always there is nothing to do.
fn mend_json(json: &str) -> Option<String> {
    let mut mended: Option<String> = None;
    let (mut done, mut at) = (0, 0);
    let bytes = json.as_bytes();
    while let Some(found) = memchr::memchr(b'\\', bytes.get(at..)?) {
        let start = at + found;
        let Some(unit) = escape(bytes, start) else {
            at = start + 2;
            continue;
        };
        at = start + 6;
        if (0xD800..0xDC00).contains(&unit)
            && escape(bytes, at).is_some_and(|low| (0xDC00..0xE000).contains(&low))
        {
            at += 6;
        } else if (0xD800..0xE000).contains(&unit) {
            let out = mended.get_or_insert_default();
            out.push_str(json.get(done..start)?);
            out.push_str("\\ufffd");
            done = at;
        }
    }
    let mut out = mended?;
    out.push_str(json.get(done..)?);
    Some(out)
}

/// The code unit of a `\uXXXX` at `at`.
fn escape(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::opencode::types::Text;

    #[test]
    fn json_is_mended_only_where_it_must_be() {
        assert_eq!(mend_json(r#"{"a":"\ud83d\ude00 \\ud83d \"\u0041"}"#), None);
        assert_eq!(
            mend_json(r#"["\ud83dx","\ude00"]"#).unwrap(),
            r#"["\ufffdx","\ufffd"]"#
        );
        assert_eq!(
            mend_json(r#""\ud83d\ud83d\ude00""#).unwrap(),
            r#""\ufffd\ud83d\ude00""#
        );
        assert_eq!(mend_json("\"\\"), None);
    }

    proptest! {
        #[test]
        fn mended_json_reads_as_the_lossy_text(
            units in prop::collection::vec(prop_oneof![0x61_u16..0x63, 0xD83D_u16..0xD83F, 0xDE00_u16..0xDE02, Just(0x65E5_u16)], 0..20),
        ) {
            let escaped = units.iter().fold(String::new(), |text, unit| text + &format!("\\u{unit:04x}"));
            let whole = format!("\"{escaped}\"");
            let mended = mend_json(&whole).unwrap_or_else(|| whole.clone());
            prop_assert_eq!(
                serde_json::from_str::<String>(&mended).unwrap(),
                serde_json::from_str::<Text>(&whole).unwrap().into_whole()
            );
        }
    }
}
