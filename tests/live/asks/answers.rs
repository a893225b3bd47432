//! A permission that somebody answers.

use serde_json::json;

use super::{ask_bash, asked, begin, permissions, reply, results, run, status, story, task, text};
use crate::llm::Turn;
use crate::world::{World, bash};

#[test]
fn a_permission_is_asked_for_answered_once_and_asked_for_again() {
    let world = World::start();
    let turns = [
        run("echo first > a.txt"),
        run("echo second > b.txt"),
        text("done"),
    ];
    let mut stream = begin(&world, "once", &ask_bash(), turns);
    let (request, event) = asked(&mut stream);
    assert_eq!(event.data["permission"], "bash");
    assert_eq!(event.data["patterns"], json!(["echo first > a.txt"]));
    assert_eq!(event.data["always"], json!(["echo *"]));
    assert!(event.data["agent"].is_null());
    assert!(event.data["deadline"].is_string());

    let status_now = status(&world.sidecar, "once");
    assert_eq!(status_now["status"], "waiting_input");
    assert_eq!(status_now["asks"][0]["request_id"], *request);
    assert_eq!(status_now["asks"][0]["kind"], "permission");
    let listed = permissions(&world.sidecar, "once");
    assert_eq!(
        listed["permissions"][0]["patterns"],
        json!(["echo first > a.txt"])
    );
    assert!(!world.sidecar.workspace().join("a.txt").exists());

    let given = reply(
        &world.sidecar,
        "once",
        &request,
        &json!({ "reply": "once" }),
    );
    assert_eq!(given.status, 200, "{given:?}");
    assert_eq!(given.json()["by"], "client");
    let (second, _) = asked(&mut stream);
    assert_ne!(request, second);
    reply(&world.sidecar, "once", &second, &json!({ "reply": "once" }));
    let rest = stream.rest();
    assert_eq!(rest.last().unwrap().kind, "complete");
    assert!(world.sidecar.workspace().join("b.txt").exists());
    let all = world.follow("once");
    assert_eq!(
        story(&all.0),
        [
            "asked",
            "answered once client",
            "asked",
            "answered once client"
        ]
    );
    let states: Vec<&str> = all
        .0
        .iter()
        .filter(|event| event.kind == "status")
        .filter_map(|event| event.data["status"].as_str())
        .collect();
    assert!(states.contains(&"waiting_input") && states.last() == Some(&"completed"));

    // Both come too late, and are told what was answered.
    let late = reply(
        &world.sidecar,
        "once",
        &request,
        &json!({ "reply": "reject" }),
    );
    assert_eq!(late.status, 409, "{late:?}");
    assert_eq!(late.json()["code"], "already_answered");
    assert_eq!(late.json()["answer"]["reply"], "once");
    let unknown = reply(
        &world.sidecar,
        "once",
        "per_nope",
        &json!({ "reply": "once" }),
    );
    assert_eq!(unknown.status, 404);
    assert_eq!(status(&world.sidecar, "once")["asks"], json!([]));
}

#[test]
fn always_holds_for_this_session_and_its_subagents_and_for_no_other() {
    let world = World::start();
    let turns = [
        run("echo one"),
        run("echo two"),
        task(),
        run("echo three"),
        text("part done"),
        text("done"),
    ];
    let mut stream = begin(&world, "always", &ask_bash(), turns);
    let (request, _) = asked(&mut stream);
    let given = reply(
        &world.sidecar,
        "always",
        &request,
        &json!({ "reply": "always" }),
    );
    assert_eq!(given.status, 200, "{given:?}");
    let rest = stream.rest();
    assert_eq!(rest.last().unwrap().kind, "complete", "{rest:#?}");
    assert_eq!(
        story(&rest),
        [
            "answered always client",
            "answered once rule",
            "answered once rule"
        ]
    );
    let by_rule = rest
        .iter()
        .rfind(|event| event.data["by"] == "rule")
        .unwrap();
    assert_eq!(by_rule.data["patterns"], json!(["echo three"]));
    assert_eq!(by_rule.data["agent"]["name"], "general");
    assert_eq!(
        permissions(&world.sidecar, "always")["always"],
        json!([{ "permission": "bash", "pattern": "echo *", "action": "allow" }])
    );

    // Given to a subagent, it holds for the agent that called it.
    let turns = [
        task(),
        run("echo five"),
        text("part done"),
        run("echo six"),
        text("done"),
    ];
    let mut below = begin(&world, "below", &ask_bash(), turns);
    let (request, event) = asked(&mut below);
    assert_eq!(event.data["agent"]["name"], "general");
    reply(
        &world.sidecar,
        "below",
        &request,
        &json!({ "reply": "always" }),
    );
    let rest = below.rest();
    assert_eq!(
        story(&rest),
        ["answered always client", "answered once rule"]
    );
    assert_eq!(rest.last().unwrap().data["final_message"], "done");

    let mut other = begin(
        &world,
        "other",
        &ask_bash(),
        [run("echo four"), text("done")],
    );
    let (request, _) = asked(&mut other);
    reply(
        &world.sidecar,
        "other",
        &request,
        &json!({ "reply": "once" }),
    );
    assert_eq!(other.rest().last().unwrap().kind, "complete");
}

#[test]
fn a_subagent_asks_where_the_session_wants_it_and_only_there() {
    let world = World::start();
    let turns = || [task(), run("echo sub"), text("part done"), text("done")];
    let mut asking = begin(&world, "asking", &ask_bash(), turns());
    let mut free = begin(&world, "free", &json!({}), turns());
    let events = free.rest();
    assert_eq!(
        story(&events),
        [""; 0],
        "nobody is asked in the other session"
    );
    let (request, event) = asked(&mut asking);
    assert_eq!(event.data["agent"]["name"], "general");
    assert_eq!(event.data["patterns"], json!(["echo sub"]));
    let status_now = status(&world.sidecar, "asking");
    assert_eq!(status_now["asks"][0]["agent"]["name"], "general");
    // Rejected: the subagent ends, and the agent that called it goes on with what the script has next.
    reply(
        &world.sidecar,
        "asking",
        &request,
        &json!({ "reply": "reject" }),
    );
    let rest = asking.rest();
    let last = rest.last().unwrap();
    assert_eq!(
        (&*last.kind, &last.data["final_message"]),
        ("complete", &json!("part done"))
    );
    let failed = results(&rest);
    assert!(
        failed.iter().all(|result| result["is_error"] == true),
        "{failed:?}"
    );
}

#[test]
fn a_rejection_ends_the_turn_and_one_with_a_message_does_not() {
    let world = World::start();
    let both = Turn::new()
        .tool("bash", bash("echo a > a.txt"))
        .tool("bash", bash("echo b > b.txt"));
    let mut stream = begin(&world, "stop", &ask_bash(), [both]);
    let (first, _) = asked(&mut stream);
    asked(&mut stream);
    reply(
        &world.sidecar,
        "stop",
        &first,
        &json!({ "reply": "reject" }),
    );
    let rest = stream.rest();
    assert_eq!(
        story(&rest),
        ["answered reject client", "answered reject client"]
    );
    let with = rest
        .iter()
        .rfind(|event| event.kind == "permission")
        .unwrap();
    assert_eq!(with.data["with"], *first);
    let last = rest.last().unwrap();
    assert_eq!(
        (&*last.kind, &last.data["finish_reason"]),
        ("complete", &json!("rejected"))
    );
    assert!(!world.sidecar.workspace().join("a.txt").exists());
    assert!(!world.sidecar.workspace().join("b.txt").exists());

    let turns = [run("echo c > c.txt"), text("then not")];
    let mut stream = begin(&world, "tell", &ask_bash(), turns);
    let (request, _) = asked(&mut stream);
    let told = json!({ "reply": "reject", "message": "write it to d.txt" });
    assert_eq!(reply(&world.sidecar, "tell", &request, &told).status, 200);
    let rest = stream.rest();
    assert_eq!(rest.last().unwrap().data["final_message"], "then not");
    let error = results(&rest)[0]["result"]["error"].as_str().unwrap();
    assert!(error.contains("write it to d.txt"), "{error}");
    let answered = rest
        .iter()
        .find(|event| event.kind == "permission")
        .unwrap();
    assert_eq!(answered.data["message"], "write it to d.txt");
}

#[test]
fn of_two_who_answer_at_once_one_is_first() {
    let world = World::start();
    for round in 0..5 {
        let id = format!("race-{round}");
        let mut stream = begin(&world, &id, &ask_bash(), [run("echo x"), text("done")]);
        let (request, _) = asked(&mut stream);
        let (world, id, request) = (&world, &*id, &*request);
        let (one, two) = std::thread::scope(|scope| {
            let answer = |word: &'static str| {
                scope.spawn(move || {
                    let body = json!({ "reply": word, "message": null });
                    reply(&world.sidecar, id, request, &body)
                })
            };
            let (one, two) = (answer("once"), answer("reject"));
            (one.join().unwrap(), two.join().unwrap())
        });
        let (first, second, reply_given) = match (one.status, two.status) {
            (200, 409) => (one, two, "once"),
            (409, 200) => (two, one, "reject"),
            other => panic!("{other:?}: {one:?} {two:?}"),
        };
        assert_eq!(first.json()["reply"], reply_given);
        assert_eq!(second.json()["code"], "already_answered");
        assert_eq!(second.json()["answer"]["reply"], reply_given);
        assert_eq!(
            story(&stream.rest()),
            [format!("answered {reply_given} client")]
        );
    }
}
