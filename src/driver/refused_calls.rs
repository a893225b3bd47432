//! The arguments of calls that OpenCode does not carry out.
//!
//! It puts a tool of its own in the place of one that does not exist or is not enabled, and forgets what the
//! model wrote. Whoever reads the stream wants to see what was tried; the gateway saw it pass.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::event::{Body, Event};

/// Puts what was `written` for a call into the event of a call that has no arguments.
pub(super) fn add_arguments(events: &mut [Event], written: impl Fn(&str) -> Option<String>) {
    for event in events {
        let Body::ToolCall(call) = &mut event.body else {
            continue;
        };
        if call.args.get() == "{}"
            && let Some(args) = written(&call.call_id).as_deref().and_then(json)
        {
            call.args = Arc::from(args);
        }
    }
}

/// The arguments as they are, or as a text where they are no JSON.
fn json(text: &str) -> Option<Box<RawValue>> {
    if text.trim().is_empty() {
        return None;
    }
    RawValue::from_string(text.to_owned())
        .or_else(|_| serde_json::value::to_raw_value(text))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::ToolCall;

    fn restored(args: &str, written: Option<&str>) -> String {
        let args = RawValue::from_string(args.to_owned()).unwrap();
        let call = ToolCall {
            tool: "summon".into(),
            args: Arc::from(args),
            call_id: "call_1".into(),
        };
        let mut events = [Event::new(Timestamp::now(), Body::ToolCall(call))];
        add_arguments(&mut events, |id| {
            assert_eq!(id, "call_1");
            written.map(str::to_owned)
        });
        match &events[0].body {
            Body::ToolCall(call) => call.args.get().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_a_call_without_arguments_gets_what_was_written() {
        let written = Some(r#"{"what":"a demon"}"#);
        assert_eq!(restored("{}", written), r#"{"what":"a demon"}"#);
        assert_eq!(
            restored(r#"{"command":"ls"}"#, written),
            r#"{"command":"ls"}"#
        );
        assert_eq!(restored("{}", None), "{}");
        assert_eq!(restored("{}", Some("")), "{}");
        assert_eq!(
            restored("{}", Some("{\"cut")),
            r#""{\"cut""#,
            "no JSON is a text"
        );
    }
}
