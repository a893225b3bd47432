//! Finds where the parts of a JSON text begin and end, without building it.
//!
//! It knows strings, nesting and separators, and no more: a number or a word it does not check. What it
//! accepts may still be refused by the provider; what it refuses is no JSON. Pure, never recursive.

use std::borrow::Cow;
use std::ops::Range;

/// One member of an object: the key with its quotes, and the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub(super) enum ScanError {
    #[error("the body is not a JSON object (byte {0})")]
    NotJson(usize),
    #[error("the body has more than {MAX_PARTS} fields")]
    TooMany,
}

/// No request has so many outermost fields or tools; more would only cost memory.
const MAX_PARTS: usize = 4096;

/// The members of the object that `text` is.
pub(super) fn members(text: &[u8]) -> Result<Vec<Member>, ScanError> {
    let mut found = Vec::new();
    let mut at = expect(text, skip_space(text, 0), b'{')?;
    at = skip_space(text, at);
    if text.get(at) == Some(&b'}') {
        return end(text, at + 1).map(|()| found);
    }
    loop {
        let key = at..skip_string(text, at)?;
        at = expect(text, skip_space(text, key.end), b':')?;
        at = skip_space(text, at);
        let value = at..skip_value(text, at)?;
        at = skip_space(text, value.end);
        push(&mut found, Member { key, value })?;
        match text.get(at) {
            Some(b',') => at = skip_space(text, at + 1),
            Some(b'}') => return end(text, at + 1).map(|()| found),
            _ => return Err(ScanError::NotJson(at)),
        }
    }
}

/// The elements of the array at `range`; `None` if it is no array.
pub(super) fn elements(
    text: &[u8],
    range: &Range<usize>,
) -> Result<Option<Vec<Range<usize>>>, ScanError> {
    if text.get(range.start) != Some(&b'[') {
        return Ok(None);
    }
    let mut found = Vec::new();
    let mut at = skip_space(text, range.start + 1);
    if text.get(at) == Some(&b']') {
        return Ok(Some(found));
    }
    loop {
        let element = at..skip_value(text, at)?;
        at = skip_space(text, element.end);
        push(&mut found, element)?;
        match text.get(at) {
            Some(b',') => at = skip_space(text, at + 1),
            Some(b']') => return Ok(Some(found)),
            _ => return Err(ScanError::NotJson(at)),
        }
    }
}

/// The text of the string at `range`, with escapes undone: `"mod\u0065l"` is `model`.
pub(super) fn string<'a>(text: &'a [u8], range: &Range<usize>) -> Result<Cow<'a, str>, ScanError> {
    let raw = text.get(range.clone()).unwrap_or_default();
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains(&b'\\')
        && let Ok(plain) = std::str::from_utf8(inner)
    {
        return Ok(Cow::Borrowed(plain));
    }
    serde_json::from_slice(raw)
        .map(Cow::Owned)
        .map_err(|_| ScanError::NotJson(range.start))
}

fn push<T>(found: &mut Vec<T>, part: T) -> Result<(), ScanError> {
    if found.len() == MAX_PARTS {
        return Err(ScanError::TooMany);
    }
    found.push(part);
    Ok(())
}

fn end(text: &[u8], at: usize) -> Result<(), ScanError> {
    let at = skip_space(text, at);
    if at == text.len() {
        Ok(())
    } else {
        Err(ScanError::NotJson(at))
    }
}

fn expect(text: &[u8], at: usize, byte: u8) -> Result<usize, ScanError> {
    if text.get(at) == Some(&byte) {
        Ok(at + 1)
    } else {
        Err(ScanError::NotJson(at))
    }
}

fn skip_space(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

fn skip_string(text: &[u8], at: usize) -> Result<usize, ScanError> {
    let mut at = expect(text, at, b'"')?;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
            return Err(ScanError::NotJson(text.len()));
        };
        at += found;
        if text.get(at) == Some(&b'"') {
            return Ok(at + 1);
        }
        // A backslash and what it escapes. `\u0022` needs no more: its digits are no quotes.
        at += 2;
    }
}

fn skip_value(text: &[u8], at: usize) -> Result<usize, ScanError> {
    match text.get(at) {
        Some(b'"') => skip_string(text, at),
        Some(b'{' | b'[') => skip_nested(text, at),
        _ => skip_scalar(text, at),
    }
}

fn skip_nested(text: &[u8], mut at: usize) -> Result<usize, ScanError> {
    let mut depth = 0_usize;
    loop {
        match text.get(at) {
            Some(b'"') => {
                at = skip_string(text, at)?;
                continue;
            }
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') => depth -= 1,
            Some(_) => {}
            None => return Err(ScanError::NotJson(at)),
        }
        at += 1;
        if depth == 0 {
            return Ok(at);
        }
    }
}

fn skip_scalar(text: &[u8], start: usize) -> Result<usize, ScanError> {
    let mut at = start;
    while let Some(byte) = text.get(at) {
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')) {
            break;
        }
        at += 1;
    }
    if at == start {
        Err(ScanError::NotJson(at))
    } else {
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let found = members(text.as_bytes()).unwrap();
        found
            .iter()
            .map(|m| string(text.as_bytes(), &m.key).unwrap().into_owned())
            .collect()
    }

    #[test]
    fn members_are_found_whatever_stands_in_them() {
        assert_eq!(names("{}"), [""; 0]);
        assert_eq!(
            names(r#" { "a" : 1 , "b":"}\"]", "c":[{"d":"{"},[]] , "e\u0065":null } "#),
            ["a", "b", "c", "ee"]
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in [
            "",
            "[]",
            "1",
            "{",
            "{}x",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":"\"#,
            r#"{"a":[}"#,
            "{,}",
        ] {
            assert!(members(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_without_end_are_refused() {
        let many: Vec<String> = (0..=MAX_PARTS).map(|n| format!("\"{n}\":0")).collect();
        let text = format!("{{{}}}", many.join(","));
        assert_eq!(members(text.as_bytes()), Err(ScanError::TooMany));
    }
}
