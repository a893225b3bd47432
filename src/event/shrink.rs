//! The bound on an event's size: splitting text, and cutting what cannot be split.

use serde_json::{Map, Value};

/// What one string, array or object of a too large event may keep, tried in this order.
const LIMITS: [usize; 6] = [64 << 10, 16 << 10, 4 << 10, 1 << 10, 256, 32];

/// How many bytes `text` has inside JSON quotes.
pub(super) fn escaped_len(text: &str) -> usize {
    text.bytes().map(escaped_byte).sum()
}

/// As `serde_json` writes it.
const fn escaped_byte(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0x00..=0x1F => 6,
        _ => 1,
    }
}

/// Pieces of at most `max` bytes of JSON each, cut between characters. `max` must hold a character.
pub(super) fn split(text: &str, max: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut length) = (0, 0);
    for (at, character) in text.char_indices() {
        let mut utf8 = [0; 4];
        let more = escaped_len(character.encode_utf8(&mut utf8));
        if length + more > max && at > start {
            pieces.extend(text.get(start..at));
            (start, length) = (at, 0);
        }
        length += more;
    }
    pieces.extend(text.get(start..));
    pieces
}

/// The same JSON object with its long strings and lists cut until it fits, marked `truncated`.
pub(super) fn shrink(json: &str, turn: u32, max: usize) -> String {
    let mut value = match serde_json::from_str(json) {
        Ok(Value::Object(value)) => value,
        // Nested deeper than the parser goes.
        _ => Map::new(),
    };
    value.insert("turn".to_owned(), turn.into());
    value.insert("truncated".to_owned(), Value::Bool(true));
    let mut value = Value::Object(value);
    for limit in LIMITS {
        cut(&mut value, limit);
        let json = value.to_string();
        if json.len() <= max {
            return json;
        }
    }
    format!(r#"{{"truncated":true,"turn":{turn}}}"#)
}

/// Cuts the strings, lists and objects in `value` that are longer than `limit`.
pub(crate) fn cut(value: &mut Value, limit: usize) {
    match value {
        Value::String(text) if text.len() > limit => {
            text.truncate(text.floor_char_boundary(limit));
            text.push('…');
        }
        Value::Array(items) => {
            items.truncate(limit / 8);
            for item in items {
                cut(item, limit);
            }
        }
        Value::Object(fields) => {
            while fields.len() > (limit / 8).max(16) {
                let Some(last) = fields.keys().next_back().cloned() else {
                    break;
                };
                fields.remove(&last);
            }
            for field in fields.values_mut() {
                cut(field, limit);
            }
        }
        _ => {}
    }
}
