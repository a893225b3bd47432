//! The outermost parts of a JSON text as they are written, without building it. Pure.
//!
//! serde borrows them: a scanner of our own was longer, and a call's body is read only once.

use std::fmt;

use serde::de::{Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// No request has so many outermost fields or tools; more would only cost memory.
const MAX_PARTS: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a JSON object, or has more than {MAX_PARTS} fields or tools")]
pub(super) struct NotAnObject;

/// The members of an object in their order: each name, with its quotes, and its value. A name may come twice.
pub(super) fn members(text: &[u8]) -> Result<Vec<(&RawValue, &RawValue)>, NotAnObject> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let members = json.deserialize_map(Members).map_err(|_| NotAnObject)?;
    json.end().map_err(|_| NotAnObject)?;
    Ok(members)
}

/// The elements of an array; none if it is no array.
pub(super) fn elements(array: &RawValue) -> Result<Vec<&RawValue>, NotAnObject> {
    if !array.get().starts_with('[') {
        return Ok(Vec::new());
    }
    let mut json = serde_json::Deserializer::from_str(array.get());
    json.deserialize_seq(Elements).map_err(|_| NotAnObject)
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(&'de RawValue, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
            if members.len() > MAX_PARTS {
                return Err(A::Error::custom("too many fields"));
            }
        }
        Ok(members)
    }
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = array.next_element()? {
            elements.push(element);
            if elements.len() > MAX_PARTS {
                return Err(A::Error::custom("too many elements"));
            }
        }
        Ok(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let found = members(text.as_bytes()).unwrap();
        found
            .iter()
            .map(|(name, _)| serde_json::from_str(name.get()).unwrap())
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
            "{1:2}",
        ] {
            assert!(members(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_without_end_are_refused() {
        let many: Vec<String> = (0..=MAX_PARTS).map(|n| format!("\"{n}\":0")).collect();
        let text = format!("{{{}}}", many.join(","));
        assert!(members(text.as_bytes()).is_err());
        let many = format!("[{}0]", "0,".repeat(MAX_PARTS));
        let many = RawValue::from_string(many).unwrap();
        assert!(elements(&many).is_err());
    }
}
