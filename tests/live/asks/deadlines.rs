//! What happens while nobody answers, and when the time is over.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{ask_bash, asked, begin, reply, run, story, task, text};
use crate::world::World;

#[test]
fn nobody_answers_in_time_in_the_root_and_in_a_subagent() {
    let world = World::with(|options| options.env("ASK_TIMEOUT", "1s"));
    let mut stream = begin(&world, "root", &ask_bash(), [run("echo x > x.txt")]);
    let events = stream.rest();
    assert_eq!(story(&events), ["asked", "answered reject timeout"]);
    assert_eq!(events.last().unwrap().data["finish_reason"], "rejected");
    let turns = [task(), run("echo y > y.txt"), text("on")];
    let mut stream = begin(&world, "child", &ask_bash(), turns);
    let events = stream.rest();
    assert_eq!(story(&events), ["asked", "answered reject timeout"]);
    assert_eq!(events.last().unwrap().data["final_message"], "on");
    for file in ["x.txt", "y.txt"] {
        assert!(!world.sidecar.workspace().join(file).exists());
    }
    // The session's own time is longer than that of the setting.
    let mut fields = ask_bash();
    fields["ask_timeout_secs"] = 600.into();
    let mut stream = begin(&world, "patient", &fields, [run("echo z"), text("done")]);
    let (request, event) = asked(&mut stream);
    let since = |name: &str| event.data[name].as_str().unwrap().to_owned();
    assert!(since("deadline") > since("timestamp"));
    std::thread::sleep(Duration::from_millis(1500));
    let given = reply(
        &world.sidecar,
        "patient",
        &request,
        &json!({ "reply": "once" }),
    );
    assert_eq!(given.status, 200, "{given:?}");
    assert_eq!(stream.rest().last().unwrap().kind, "complete");
}

#[test]
fn the_default_answer_may_be_yes() {
    let world = World::with(|options| {
        options
            .env("ASK_TIMEOUT", "500ms")
            .env("ASK_DEFAULT", "once")
    });
    let turns = [run("echo x > x.txt"), text("done")];
    let events = begin(&world, "yes", &ask_bash(), turns).rest();
    assert_eq!(story(&events), ["asked", "answered once timeout"]);
    assert!(world.sidecar.workspace().join("x.txt").exists());
}

#[test]
fn the_turns_clock_stands_still_while_a_person_is_waited_for() {
    let world = World::with(|options| {
        options
            .env("SESSION_TIMEOUT", "4s")
            .env("STALL_AFTER", "1s")
    });
    let turns = [run("echo x"), text("done")];
    let mut stream = begin(&world, "slow", &ask_bash(), turns);
    let (request, _) = asked(&mut stream);
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(5));
    assert!(began.elapsed() > Duration::from_secs(4));
    reply(
        &world.sidecar,
        "slow",
        &request,
        &json!({ "reply": "once" }),
    );
    let rest = stream.rest();
    assert_eq!(rest.last().unwrap().kind, "complete", "{rest:#?}");
    let stalled = rest.iter().any(|event| event.data["phase"] == "stalled");
    assert!(!stalled, "{rest:#?}");
}
