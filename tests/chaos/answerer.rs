//! A client that answers what the agent asks: at random, twice at times, and not at all at times.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;

use serde_json::{Value, json};

use crate::client::{Asked, Client, PAUSE};
use crate::dice::Dice;

/// The answer that is given to a question.
pub(crate) const CHOSEN: &str = "A";

/// What is replied, as [`Given::reply`] has it, and what the agent is told with it.
type Reply = (&'static str, Option<&'static str>);

/// What came of an answer that a client gave.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) request: String,
    /// The reply to a permission; to a question what was chosen, or `reject`.
    pub(crate) reply: &'static str,
    /// 0: the answer was lost.
    pub(crate) status: u16,
    /// The `answer` of a 409 that says so.
    pub(crate) earlier: Option<String>,
}

/// What was given, as [`Given::reply`] has it: in an event, or in an answer about an earlier answer.
pub(crate) fn reply_of(told: &Value) -> Option<String> {
    let rejected = told["state"] == "rejected" || told["reject"] == true;
    let reply = told["reply"]
        .as_str()
        .or(told["answers"][0][0].as_str())
        .or(rejected.then_some("reject"));
    reply.map(str::to_owned)
}

/// Answers until it is told that the session has ended.
pub(crate) fn answer(client: &Client, mut dice: Dice, ended: &Arc<AtomicBool>) -> Vec<Given> {
    let (mut seen, mut given) = (HashSet::new(), Vec::new());
    while !ended.load(Ordering::Relaxed) {
        for kind in ["permissions", "questions"] {
            for request in listed(client, kind) {
                if seen.insert(request.clone()) {
                    decide(client, &mut dice, (kind, &request), &mut given);
                }
            }
        }
        sleep(PAUSE);
    }
    given
}

/// The requests of this kind that wait.
fn listed(client: &Client, kind: &str) -> Vec<String> {
    let listed = client.get(&format!("/{kind}"));
    let listed = listed.filter(|listed| listed.status == 200);
    let listed = listed.map_or(Value::Null, |listed| listed.json());
    let ids = listed[kind].as_array().into_iter().flatten();
    ids.filter_map(|asked| asked["request_id"].as_str().map(str::to_owned))
        .collect()
}

fn decide(client: &Client, dice: &mut Dice, asked: (&str, &str), given: &mut Vec<Given>) {
    let choices: &[(u64, Option<Reply>)] = if asked.0 == "permissions" {
        &[
            (9, Some(("once", None))),
            (3, Some(("always", None))),
            (1, Some(("reject", None))),
            (3, Some(("reject", Some("Do something else.")))),
            (1, None),
        ]
    } else {
        &[
            (6, Some((CHOSEN, None))),
            (1, Some(("reject", None))),
            (1, None),
        ]
    };
    let Some((reply, message)) = dice.one_of(choices) else {
        return;
    };
    given.push(give(client, asked, reply, message));
    if dice.percent(25) {
        // Somebody else is later, and wants something else.
        let other = match (reply, asked.0) {
            ("reject", "permissions") => "once",
            ("reject", _) => CHOSEN,
            _ => "reject",
        };
        given.push(give(client, asked, other, None));
    }
}

fn give(
    client: &Client,
    (kind, request): (&str, &str),
    reply: &'static str,
    message: Option<&str>,
) -> Given {
    let body = match (kind, reply) {
        ("permissions", _) => json!({ "reply": reply, "message": message }),
        (_, "reject") => json!({ "reject": true }),
        _ => json!({ "answers": [[reply]] }),
    };
    let answer = client.ask(Asked {
        method: "POST",
        path: &client.path(&format!("/{kind}/{request}")),
        key: None,
        body: &body.to_string(),
    });
    let told = answer.as_ref().map(|answer| answer.body.clone());
    let told: Value = serde_json::from_str(&told.unwrap_or_default()).unwrap_or_default();
    Given {
        request: request.to_owned(),
        reply,
        status: answer.map_or(0, |answer| answer.status),
        earlier: reply_of(&told["answer"]),
    }
}
