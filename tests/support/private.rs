//! What a sidecar may tell nobody but its clients.

use std::collections::BTreeSet;

use serde_json::Value;

/// The prompt and the key of a request, where they are long enough to be found by accident nowhere.
pub(super) fn texts(body: &str) -> Vec<String> {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let key = &body["model_config"]["api_key"];
    // A world's key is its session's id, which is told everywhere.
    let key = Some(key).filter(|key| **key != body["session_id"]);
    let told = [Some(&body["prompt"]), key].into_iter().flatten();
    told.filter_map(Value::as_str)
        .filter(|text| text.len() >= 10)
        .map(str::to_owned)
        .collect()
}

/// Panics where what a sidecar says of itself has any of them.
pub(super) fn assert_untold(private: &BTreeSet<String>, told: &[(&str, String)]) {
    for text in private {
        for (what, said) in told {
            assert!(!said.contains(text), "{text:?} is in the {what}:\n{said}");
        }
    }
}
