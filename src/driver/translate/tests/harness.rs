//! A turn in which everything is made by hand.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::driver::asks::{self, Asks};
use crate::driver::translate::{End, Settings, Signal, Translator};
use crate::event::Reply;
use crate::opencode::types as oc;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_000_000);

pub(super) struct Harness {
    pub(super) translator: Translator,
}

/// A turn of session `s`, with the user's message `m0` and the model's `m1` known.
pub(super) fn harness() -> Harness {
    let settings = Settings {
        root: "s".into(),
        directory: "/w".into(),
        loop_limit: 2,
    };
    let mut translator = Translator::new(settings, None);
    translator.asks = asking();
    translator.begin_turn(NOW);
    let mut harness = Harness { translator };
    harness.event("message.updated", &json!({ "info": message("m0", "user") }));
    harness.event(
        "message.updated",
        &json!({ "info": message("m1", "assistant") }),
    );
    harness.lines();
    harness
}

/// A session that asks a person.
pub(super) fn asking() -> Asks {
    let settings = asks::Settings {
        may_ask: true,
        timeout: Duration::from_mins(5),
        default: Reply::Reject,
    };
    Asks::new(settings, Vec::new())
}

pub(super) fn message(id: &str, role: &str) -> Value {
    json!({ "id": id, "sessionID": "s", "role": role, "time": { "created": 1 } })
}

pub(super) fn text(id: &str, text: &str, ended: bool) -> Value {
    let time = if ended {
        json!({ "start": 1, "end": 2 })
    } else {
        json!({ "start": 1 })
    };
    json!({ "id": id, "messageID": "m1", "sessionID": "s", "type": "text", "text": text, "time": time })
}

pub(super) fn tool(id: &str, status: &str, input: &Value, metadata: &Value) -> Value {
    json!({ "id": id, "messageID": "m1", "sessionID": "s", "type": "tool", "tool": "bash",
        "callID": format!("call-{id}"),
        "state": { "status": status, "input": input, "metadata": metadata, "time": { "start": 999_000 } } })
}

impl Harness {
    pub(super) fn event(&mut self, kind: &str, properties: &Value) {
        let json = json!({ "payload": { "type": kind, "properties": properties } });
        let event = oc::decode(json.to_string().as_bytes()).unwrap();
        self.translator.apply(event, NOW);
    }

    pub(super) fn part(&mut self, part: &Value) {
        self.event("message.part.updated", &json!({ "part": part, "time": 5 }));
    }

    pub(super) fn delta(&mut self, part: &str, delta: &str) {
        // By hand, for halves of characters.
        let json = format!(
            r#"{{"payload":{{"type":"message.part.delta","properties":{{"sessionID":"s","messageID":"m1","partID":"{part}","field":"text","delta":"{delta}"}}}}}}"#
        );
        let event = oc::decode(json.as_bytes()).unwrap();
        self.translator.apply(event, NOW);
    }

    pub(super) fn list(&mut self, parts: &[Value]) {
        let list = json!([{ "info": message("m1", "assistant"), "parts": parts }]);
        let messages = oc::messages(list.to_string().as_bytes()).unwrap();
        self.translator.apply_missed(Vec::new(), messages, NOW);
    }

    pub(super) fn number(&mut self, seq: u64) {
        let json = json!({ "payload": { "type": "sync", "syncEvent": { "seq": seq, "aggregateID": "s" } } });
        let event = oc::decode(json.to_string().as_bytes()).unwrap();
        self.translator.apply(event, NOW);
    }

    pub(super) fn finish(&mut self) {
        self.translator.finish(End::Cancelled, true, NOW);
    }

    /// What was published since the last call, one line each, without what is always the same.
    pub(super) fn lines(&mut self) -> Vec<String> {
        let events = std::mem::take(&mut self.translator.events);
        let lines = events
            .iter()
            .flat_map(|event| event.encode(1))
            .map(|encoded| {
                let mut value: Value = serde_json::from_str(&encoded.data).unwrap();
                let fields = value.as_object_mut().unwrap();
                fields.remove("turn");
                fields.remove("timestamp");
                fields.remove("type");
                format!("{} {value}", encoded.kind)
            });
        lines.collect()
    }

    pub(super) fn signals(&mut self) -> Vec<Signal> {
        std::mem::take(&mut self.translator.signals)
    }
}

pub(super) fn said(text: &str) -> String {
    format!("output {}", json!({ "source": "assistant", "text": text }))
}
