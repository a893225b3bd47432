//! Transcripts a person can read: long texts and ids are shortened, always the same way.

use std::collections::HashMap;

use serde_json::Value;

/// Long texts by their ends and their length.
pub(super) fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > 400 => {
            let (start, _) = text.split_at(text.floor_char_boundary(80));
            let (_, end) = text.split_at(text.ceil_char_boundary(text.len() - 60));
            *text = format!("{start}[{} bytes]{end}", text.len());
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

/// OpenCode's ids by kind and order of appearance.
pub(super) fn name_ids(text: &str) -> String {
    let mut names: HashMap<String, String> = HashMap::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = ["ses_", "msg_", "prt_", "per_", "que_"]
        .iter()
        .filter_map(|prefix| rest.find(prefix))
        .min()
    {
        let (before, id) = rest.split_at(at);
        let end = id
            .get(4..)
            .unwrap()
            .find(|c: char| !c.is_ascii_alphanumeric())
            .map_or(id.len(), |end| end + 4);
        let (id, after) = id.split_at(end);
        out.push_str(before);
        if id.len() < 20 {
            out.push_str(id);
        } else {
            let name = names.entry(id.to_owned()).or_insert_with(|| {
                let count = counts.entry(id.get(..3).unwrap()).or_default();
                *count += 1;
                format!("{}{count}", id.get(..4).unwrap())
            });
            out.push_str(name);
        }
        rest = after;
    }
    out + rest
}
