//! The demo model, over the gateway's listener.

use super::*;

const OFFERED: [&str; 3] = ["bash", "write", "read"];

async fn start(config: Config) -> (Rig, Grant) {
    let rig = Rig::with(config).await;
    let upstream = Upstream::resolve("demo", None, false, true).unwrap();
    let grant = rig
        .handle
        .register(route_with(Dialect::Chat, "http://x.test/v1", |model| {
            (model.upstream, model.key) = (upstream, None);
        }));
    (rig, grant)
}

async fn ask(rig: &Rig, messages: Value) -> Answered {
    let tools: Vec<_> = OFFERED
        .iter()
        .map(|name| json!({ "type": "function", "function": { "name": name } }))
        .collect();
    let body = json!({ "model": "m", "messages": messages, "tools": tools });
    rig.send(rig.request(Dialect::Chat, "ses_a").body(body.to_string()))
        .await
}

/// What a stream says: its text and its tool calls.
fn said(answered: &Answered) -> (String, Vec<String>) {
    let (mut text, mut tools) = (String::new(), Vec::new());
    for line in answered
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|line| *line != "[DONE]")
    {
        let chunk: Value = serde_json::from_str(line).unwrap();
        let delta = &chunk["choices"][0]["delta"];
        text += delta["content"].as_str().unwrap_or_default();
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            tools.push(call["function"]["name"].as_str().unwrap().to_owned());
        }
    }
    (text, tools)
}

#[tokio::test]
async fn without_a_script_it_says_what_it_is_and_works_through_its_tools() {
    let (rig, grant) = start(config()).await;
    let user = json!({ "role": "user", "content": [{ "type": "text", "text": "do something" }] });
    let mut messages = vec![
        json!({ "role": "user", "content": "an earlier turn" }),
        json!({ "role": "assistant", "content": "x" }),
        user,
    ];
    let mut tools = Vec::new();
    let first = loop {
        let answered = ask(&rig, Value::from(messages.clone())).await;
        assert_eq!(answered.status, 200);
        let (text, called) = said(&answered);
        if called.is_empty() {
            assert_eq!(tools, OFFERED);
            break messages[3]["content"].as_str().unwrap().to_owned();
        }
        messages.push(json!({ "role": "assistant", "content": text }));
        messages.push(json!({ "role": "tool", "content": "done" }));
        tools.extend(called);
    };
    assert!(first.starts_with("This is a demo:"), "{first}");
    assert_eq!((grant.usage().calls, grant.unmetered_calls()), (4, 0));
    assert!(grant.tokens().input > 0 && grant.tokens().output > 0);
}

#[tokio::test]
async fn a_script_s_faults_happen_once_each() {
    let (rig, grant) = start(Config {
        idle_timeout: SHORT,
        ..config()
    })
    .await;
    let script = "```script\nerror 429 2 slow down\nerror 500 0 broken\ntext one\ndrop\ntext two\nhang\ntext three\n```";
    let messages = json!([{ "role": "user", "content": script }]);
    let limited = ask(&rig, messages.clone()).await;
    assert_eq!(
        (
            limited.status,
            limited.headers["retry-after"].to_str().unwrap()
        ),
        (429, "2")
    );
    assert_eq!(ask(&rig, messages.clone()).await.status, 500);
    let dropped = ask(&rig, messages.clone()).await;
    assert!(dropped.broken && said(&dropped).0 == "one");
    let hung = ask(&rig, messages.clone()).await;
    assert!(!hung.broken && hung.body.contains("provider_stalled"));
    let whole = ask(&rig, messages).await;
    assert_eq!(said(&whole).0, "onetwothree");
    assert_eq!((grant.usage().calls, grant.usage().retries), (5, 4));
}

#[tokio::test]
async fn a_title_takes_no_step_of_the_script() {
    let (rig, _grant) = start(config()).await;
    let script = "```script\nerror 500 0 broken\n```";
    let system = json!({ "role": "system", "content": "You are a title generator." });
    let titled = ask(&rig, json!([system, { "role": "user", "content": script }])).await;
    assert_eq!((titled.status, said(&titled).0.as_str()), (200, "Demo"));
}
