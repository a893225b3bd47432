//! Which tools a turn has called, and how often the newest call was made in a row.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::session::diagnosis::{RepeatedCall, ToolCounts};

/// So many names are counted. A model may make up any number of them.
const MAX_NAMES: usize = 64;

/// A call of `tool` is the `times`-th in a row with the same arguments; at `limit` the turn ends, unless that is 0.
pub(super) fn count(counts: &mut ToolCounts, tool: &Arc<str>, times: u32, limit: u32) {
    counts.repeated = Some(RepeatedCall {
        tool: tool.to_string(),
        times,
        limit: (limit > 0).then_some(limit),
    });
    let calls: &mut BTreeMap<String, u32> = &mut counts.calls;
    if let Some(count) = calls.get_mut(&**tool) {
        *count += 1;
    } else if calls.len() < MAX_NAMES {
        calls.insert(tool.to_string(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_up_to_a_bound_and_the_newest_call_is_told() {
        let mut counts = ToolCounts::default();
        for times in 1..=3 {
            count(&mut counts, &"bash".into(), times, 10);
        }
        for nth in 0..100 {
            count(&mut counts, &format!("made-up-{nth}").into(), 1, 0);
        }
        count(&mut counts, &"bash".into(), 1, 0);
        assert_eq!((counts.calls["bash"], counts.calls.len()), (4, MAX_NAMES));
        let newest = counts.repeated.unwrap();
        assert_eq!(
            (&*newest.tool, newest.times, newest.limit),
            ("bash", 1, None)
        );
    }
}
