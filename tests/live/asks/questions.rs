//! Questions of the agent to the user.

use serde_json::json;

use super::{answer, begin, next, question, results, status, story, task, text};
use crate::world::World;

#[test]
fn questions_are_answered_rejected_and_run_out_of_time() {
    let world = World::start();
    let fields = json!({ "questions": true });
    let mut stream = begin(
        &world,
        "answered",
        &fields,
        [question(), text("so it is A")],
    );
    let event = next(&mut stream, "question", "asked");
    assert_eq!(event.data["questions"][0]["options"][1]["label"], "B");
    let request = event.data["request_id"].as_str().unwrap();
    assert_eq!(
        status(&world.sidecar, "answered")["status"],
        "waiting_input"
    );
    let listed = world.sidecar.get("/sessions/answered/questions").json();
    assert_eq!(listed["questions"][0]["request_id"], request);
    let none = answer(
        &world.sidecar,
        "answered",
        request,
        &json!({ "answers": [] }),
    );
    assert_eq!(
        (none.status, none.json()["code"].clone()),
        (400, json!("invalid_request"))
    );
    let given = answer(
        &world.sidecar,
        "answered",
        request,
        &json!({ "answers": [["A", "or my own"]] }),
    );
    assert_eq!(given.status, 200, "{given:?}");
    let late = answer(
        &world.sidecar,
        "answered",
        request,
        &json!({ "reject": true }),
    );
    assert_eq!(
        (late.status, late.json()["code"].clone()),
        (409, json!("already_answered"))
    );
    assert_eq!(
        late.json()["answer"]["answers"],
        json!([["A", "or my own"]])
    );
    let rest = stream.rest();
    let answered = rest.iter().find(|event| event.kind == "question").unwrap();
    assert_eq!(answered.data["answers"], json!([["A", "or my own"]]));
    let output = results(&rest)[0]["result"]["output"].as_str().unwrap();
    assert!(output.contains("or my own"), "{output}");

    let mut stream = begin(&world, "rejected", &fields, [question()]);
    let event = next(&mut stream, "question", "asked");
    let request = event.data["request_id"].as_str().unwrap();
    let given = answer(
        &world.sidecar,
        "rejected",
        request,
        &json!({ "reject": true }),
    );
    assert_eq!(given.status, 200, "{given:?}");
    let rest = stream.rest();
    assert_eq!(story(&rest), ["rejected client"]);
    assert_eq!(rest.last().unwrap().kind, "complete", "{rest:#?}");
    assert_eq!(rest.last().unwrap().data["finish_reason"], "rejected");

    let late = json!({ "questions": true, "ask_timeout_secs": 1 });
    let events = begin(&world, "late", &late, [question()]).rest();
    assert_eq!(story(&events), ["asked", "rejected timeout"]);

    // Nobody said that it may ask.
    let events = begin(&world, "silent", &json!({}), [question(), text("done")]).rest();
    assert_eq!(story(&events), [""; 0]);
    let offered = |key: &str| -> Vec<bool> {
        let calls = world.llm.requests().into_iter();
        let calls = calls.filter(|call| call.key == key);
        calls
            .map(|call| call.tools().contains(&"question".into()))
            .collect()
    };
    assert_eq!(offered("silent"), [false, false]);

    // A subagent asks its agent, not the user.
    begin(
        &world,
        "below",
        &fields,
        [task(), text("part"), text("done")],
    )
    .rest();
    assert_eq!(offered("below"), [true, false, true]);
}
