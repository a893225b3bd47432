use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

fn rewritten(body: &Bytes, dialect: Dialect, changes: &Changes<'_>) -> Value {
    let out = rewrite(body, dialect, changes).unwrap().to_vec();
    serde_json::from_slice(&out)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn owned_fields_are_set_and_others_keep_their_bytes() {
    let body = Bytes::from(
        r#"{ "model":"auto-32k", "messages" : [ {"role":"user","content":"é\u00e9 \/ 1.0"} ],"temperature":1, "max_tokens": 32000,"n":1.50 }"#,
    );
    let changes = Changes {
        model: "gpt \"4\"",
        temperature: Some(0.7),
        max_tokens: Some(99),
        ..Changes::default()
    };
    let out = rewrite(&body, Dialect::Chat, &changes).unwrap().to_vec();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"model":"gpt \"4\"","temperature":0.7,"max_tokens":99,"messages" : [ {"role":"user","content":"é\u00e9 \/ 1.0"} ],"n":1.50}"#
    );
}

#[test]
fn what_a_session_does_not_set_stays_as_the_child_asked() {
    let body = bytes(&json!({ "model": "a", "temperature": 0.25, "max_output_tokens": 7 }));
    let out = rewritten(
        &body,
        Dialect::Responses,
        &Changes {
            model: "b",
            ..Changes::default()
        },
    );
    assert_eq!(
        out,
        json!({ "model": "b", "temperature": 0.25, "max_output_tokens": 7 })
    );
}

#[test]
fn each_dialect_has_its_own_limit() {
    let body = bytes(&json!({ "model": "a" }));
    let changes = Changes {
        model: "m",
        max_tokens: Some(5),
        ..Changes::default()
    };
    for (dialect, name) in [
        (Dialect::Chat, "max_tokens"),
        (Dialect::Responses, "max_output_tokens"),
        (Dialect::Messages, "max_tokens"),
    ] {
        assert_eq!(rewritten(&body, dialect, &changes)[name], 5);
    }
}

#[test]
fn the_newer_name_takes_over_the_limit_whoever_set_it() {
    let refusal = b"'max_tokens' is not supported: use 'max_completion_tokens'";
    let unsupported = Unsupported::default()
        .learn(Dialect::Chat, refusal)
        .unwrap();
    let body = bytes(&json!({ "model": "a", "max_tokens": 100 }));
    let kept = rewritten(
        &body,
        Dialect::Chat,
        &Changes {
            model: "m",
            unsupported,
            ..Changes::default()
        },
    );
    assert_eq!(kept, json!({ "model": "m", "max_completion_tokens": 100 }));
    let set = Changes {
        model: "m",
        max_tokens: Some(7),
        unsupported,
        ..Changes::default()
    };
    assert_eq!(
        rewritten(&body, Dialect::Chat, &set),
        json!({ "model": "m", "max_completion_tokens": 7 })
    );
}

#[test]
fn anthropic_gets_no_temperature_above_its_highest() {
    let changes = Changes {
        model: "m",
        temperature: Some(1.6),
        ..Changes::default()
    };
    let body = bytes(&json!({}));
    assert_eq!(
        rewritten(&body, Dialect::Messages, &changes)["temperature"],
        1
    );
    assert_eq!(
        rewritten(&body, Dialect::Chat, &changes)["temperature"],
        1.6
    );
}

#[test]
fn a_parameter_learnt_to_be_unknown_is_left_out() {
    let learnt = Unsupported::default()
        .learn(Dialect::Chat, b"temperature is not supported")
        .unwrap();
    let body = bytes(&json!({ "model": "a", "temperature": 1, "top_p": 1 }));
    let changes = Changes {
        model: "m",
        temperature: Some(0.5),
        unsupported: learnt,
        ..Changes::default()
    };
    assert_eq!(
        rewritten(&body, Dialect::Chat, &changes),
        json!({ "model": "m", "top_p": 1 })
    );
}

#[test]
fn a_second_or_disguised_model_cannot_win() {
    let body = Bytes::from(r#"{"model":"a","mod\u0065l":"b","model":"c","x":1}"#);
    let out = rewrite(
        &body,
        Dialect::Chat,
        &Changes {
            model: "m",
            ..Changes::default()
        },
    )
    .unwrap();
    assert_eq!(out.to_vec(), br#"{"model":"m","x":1}"#);
}

#[test]
fn tools_that_are_not_enabled_go_in_every_dialect() {
    let enabled = names(&["bash", "read"]);
    let changes = Changes {
        model: "m",
        enabled_tools: Some(&enabled),
        ..Changes::default()
    };
    let chat = |name: &str| json!({ "type": "function", "function": { "name": name, "parameters": { "name": "bash" } } });
    let body = bytes(
        &json!({ "tools": [chat("bash"), chat("write"), chat("invalid")], "tool_choice": "auto" }),
    );
    let expected =
        json!({ "model": "m", "tools": [chat("bash"), chat("invalid")], "tool_choice": "auto" });
    assert_eq!(rewritten(&body, Dialect::Chat, &changes), expected);

    let responses = |name: &str| json!({ "type": "function", "name": name });
    let body = bytes(
        &json!({ "tools": [responses("write"), responses("read"), { "type": "web_search" }] }),
    );
    assert_eq!(
        rewritten(&body, Dialect::Responses, &changes)["tools"],
        json!([responses("read")])
    );

    let messages = |name: &str| json!({ "name": name, "input_schema": {} });
    let body = bytes(&json!({ "tools": [messages("task"), messages("bash")] }));
    assert_eq!(
        rewritten(&body, Dialect::Messages, &changes)["tools"],
        json!([messages("bash")])
    );
}

#[test]
fn a_choice_of_a_tool_that_went_goes_too() {
    let enabled = names(&["read"]);
    let changes = Changes {
        model: "m",
        enabled_tools: Some(&enabled),
        ..Changes::default()
    };
    let tool = |name: &str| json!({ "name": name });
    for (tools, choice, kept) in [
        (json!([tool("bash")]), json!("auto"), false),
        (json!([tool("bash"), tool("read")]), json!("auto"), true),
        (
            json!([tool("bash"), tool("read")]),
            json!({ "type": "tool", "name": "bash" }),
            false,
        ),
        (
            json!([tool("bash"), tool("read")]),
            json!({ "type": "tool", "name": "read" }),
            true,
        ),
    ] {
        // Before and after: the order of fields says nothing.
        for text in [
            format!(r#"{{"tool_choice":{choice},"tools":{tools}}}"#),
            format!(r#"{{"tools":{tools},"tool_choice":{choice}}}"#),
        ] {
            let out = rewritten(&Bytes::from(text.clone()), Dialect::Messages, &changes);
            assert_eq!(out.get("tool_choice").is_some(), kept, "{text}");
        }
    }
}

#[test]
fn a_reasoning_model_keeps_its_reasoning_where_nothing_is_stored() {
    let changes = Changes {
        model: "o3",
        keep_reasoning: true,
        ..Changes::default()
    };
    let kept = json!(["reasoning.encrypted_content"]);
    let out =
        |body: Value| rewritten(&bytes(&body), Dialect::Responses, &changes)["include"].clone();
    assert_eq!(out(json!({ "store": false })), kept);
    assert_eq!(out(json!({ "store": true })), Value::Null);
    assert_eq!(
        out(json!({ "store": false, "include": ["x"] })),
        json!(["x"])
    );
}

#[test]
fn what_is_no_object_is_refused() {
    for bad in ["", "[]", "null", "{\"a\":", "{\"tools\":[}"] {
        let enabled = names(&[]);
        let changes = Changes {
            model: "m",
            enabled_tools: Some(&enabled),
            ..Changes::default()
        };
        assert!(
            rewrite(&Bytes::from(bad), Dialect::Chat, &changes).is_err(),
            "{bad}"
        );
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..6)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn any_body() -> impl Strategy<Value = Value> {
    let names = prop_oneof![
        Just("model"),
        Just("messages"),
        Just("temperature"),
        Just("max_tokens"),
        Just("max_completion_tokens"),
        Just("max_output_tokens"),
        Just("tools"),
        Just("tool_choice"),
        Just("stream"),
        Just("store"),
        Just("input"),
    ]
    .prop_map(str::to_owned);
    prop::collection::btree_map(prop_oneof![names, ".*".prop_map(|s| s)], any_json(), 0..8)
        .prop_map(|map| map.into_iter().collect())
}

fn any_dialect() -> impl Strategy<Value = Dialect> {
    prop_oneof![
        Just(Dialect::Chat),
        Just(Dialect::Responses),
        Just(Dialect::Messages)
    ]
}

proptest! {
    #[test]
    fn no_field_that_is_not_owned_changes(
        body in any_body(), dialect in any_dialect(), pretty in any::<bool>(),
        temperature in prop::option::of(0.0..2.0_f64), max_tokens in prop::option::of(1..200_000_u32),
        enabled in prop::option::of(Just(names(&["bash"]))),
    ) {
        let text = if pretty { serde_json::to_string_pretty(&body).unwrap() } else { body.to_string() };
        let enabled_tools = enabled.as_deref();
        let changes = Changes { model: "m", temperature, max_tokens, enabled_tools, ..Changes::default() };
        // Tools that are no list may be refused; everything else is taken.
        prop_assume!(enabled_tools.is_none() || body.get("tools").is_none_or(Value::is_array));
        let out = rewrite(&Bytes::from(text.clone()), dialect, &changes).unwrap().to_vec();
        let parsed: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(&parsed["model"], "m");
        let owned = |name: &str| {
            let chosen = enabled_tools.is_some() && ["tools", "tool_choice"].contains(&name);
            name == "model" || (name == "temperature" && temperature.is_some()) || is_limit(dialect, name) || chosen
        };
        // Byte for byte, and in their order.
        let others = |text: &[u8]| -> Vec<Vec<u8>> {
            let text = Bytes::copy_from_slice(text);
            let members = members(&text).unwrap().into_iter();
            let others = members.filter(|(key, _)| !owned(&serde_json::from_str::<String>(key.get()).unwrap()));
            others.map(|(key, value)| slice(&text, key, value).to_vec()).collect()
        };
        prop_assert_eq!(others(text.as_bytes()), others(&out));
    }

    #[test]
    fn nothing_makes_it_panic(
        body in prop::collection::vec(any::<u8>(), 0..200), dialect in any_dialect(),
    ) {
        let enabled = names(&["bash"]);
        let changes = Changes { model: "m", enabled_tools: Some(&enabled), ..Changes::default() };
        let accepted = rewrite(&Bytes::from(body.clone()), dialect, &changes).is_ok();
        let could_be = body.contains(&123);
        prop_assert!(could_be || !accepted);
    }

    #[test]
    fn nothing_json_like_makes_it_panic(body in r#"[\[\]{}:," \\a0]{0,60}"#, dialect in any_dialect()) {
        let enabled = names(&[]);
        let body = format!("{{\"tools\":{body}");
        let changes = Changes { model: "m", enabled_tools: Some(&enabled), ..Changes::default() };
        if let Ok(out) = rewrite(&Bytes::from(body), dialect, &changes) {
            // What was accepted is still an object that can be taken apart.
            prop_assert!(members(&out.to_vec()).is_ok());
        }
    }
}
