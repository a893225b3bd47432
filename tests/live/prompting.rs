//! Further turns of a session, with the real OpenCode.

use std::time::Duration;

use serde_json::{Value, json};

use crate::llm::{Recorded, Scope, Turn};
use crate::support::http::Response;
use crate::support::sse::{Event, Stream};
use crate::world::{World, bash};

pub(crate) fn prompt(world: &World, id: &str, body: &Value) -> Response {
    world.post(&format!("/sessions/{id}/prompt"), &body.to_string())
}

/// A prompt that is taken: its turn, and what became of it.
pub(crate) fn accepted(world: &World, id: &str, body: &Value) -> (u64, String) {
    let answer = prompt(world, id, body);
    assert_eq!(answer.status, 202, "{answer:?}");
    let json = answer.json();
    let status = json["status"].as_str().unwrap().to_owned();
    (json["turn"].as_u64().unwrap(), status)
}

/// The stream of the turn that this prompt is.
pub(crate) fn stream_of(world: &World, id: &str, body: &Value) -> Stream {
    let headers = [("accept", "text/event-stream")];
    let path = format!("/sessions/{id}/prompt");
    let stream = Stream::open(world.address, "POST", &path, &headers, &body.to_string());
    assert_eq!(stream.status, 200, "{}", stream.head);
    stream
}

/// Everything of a session, until it is idle.
pub(crate) fn whole(world: &World, id: &str) -> Vec<Event> {
    world.stream(id, "").rest()
}

/// How each turn ended, in the order of the ends.
pub(crate) fn ends(events: &[Event]) -> Vec<(u64, String)> {
    let terminal = events.iter().filter(|event| event.is_terminal());
    let ends = terminal.map(|event| {
        let how = match event.kind.as_str() {
            "status" => "cancelled",
            "error" => event.data["code"].as_str().unwrap(),
            kind => kind,
        };
        (event.data["turn"].as_u64().unwrap(), how.to_owned())
    });
    ends.collect()
}

fn of_turn(events: &[Event], turn: u64) -> Vec<&Event> {
    let of_it = |event: &&Event| event.data["turn"] == turn;
    events.iter().filter(of_it).collect()
}

/// What the model was told in a call, as one text.
fn told(call: &Recorded) -> String {
    call.body["messages"].to_string()
}

/// A turn that runs until it is cancelled or goes on: its command waits for a file.
pub(crate) fn waits_for(world: &World, file: &str) -> Turn {
    let path = world.file(file);
    Turn::new().tool(
        "bash",
        bash(&format!("until [ -e {path} ]; do sleep 0.05; done")),
    )
}

pub(crate) fn let_go(world: &World, file: &str) {
    std::fs::write(world.file(file), "").unwrap();
}

pub(crate) fn until_tool(world: &World, id: &str) {
    world
        .stream(id, "")
        .until("the command", |event| event.kind == "tool_call");
}

#[test]
fn five_turns_remember_each_other_and_each_has_a_stream_of_its_own() {
    let world = World::start();
    world.run("five", [Turn::new().text("The word of turn 1 is one.")]);
    for turn in 2..=5_u64 {
        // Nothing more comes, until the next turn begins; a replay passes the ends before it.
        let last = world.status("five")["last_event_id"].clone();
        let from = format!("?last_event_id={}", last.as_str().unwrap());
        assert_eq!(world.stream("five", &from).status, 204);
        let words = format!("The word of turn {turn} is here.");
        world.script("five", [Turn::new().text(&words)]);
        let mut body = json!({ "prompt": format!("ask {turn}") });
        if turn == 3 {
            body["system_prompt"] = "Only of turn 3.".into();
        }
        let events = stream_of(&world, "five", &body).rest();
        assert!(
            events.iter().all(|event| event.data["turn"] == turn),
            "{events:#?}"
        );
        assert_eq!(ends(&events), [(turn, "complete".to_owned())]);
        assert_eq!(world.stream("five", &from).rest(), events);
        assert_eq!(events.last().unwrap().data["final_message"], words.as_str());
    }
    let calls = world.llm.requests();
    let has_system = calls
        .iter()
        .map(|call| told(call).contains("Only of turn 3."));
    assert_eq!(
        has_system.collect::<Vec<_>>(),
        [false, false, true, false, false]
    );
    let last = told(calls.last().unwrap());
    for turn in 1..=4 {
        assert!(
            last.contains(&format!("The word of turn {turn} is")),
            "{last}"
        );
    }
    assert_eq!(calls.last().unwrap().key, "five", "the key was kept");
    let events = whole(&world, "five");
    let numbers: Vec<u64> = events.iter().map(Event::seq).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert_eq!(ends(&events).len(), 5);
    let status = world.status("five");
    assert_eq!(
        (&status["turn"], &status["status"]),
        (&json!(5), &json!("completed"))
    );
    assert_eq!(status["model_calls"]["calls"], 5, "of all turns");
    assert_eq!(status["turn_model_calls"]["calls"], 1);
}

#[test]
fn prompts_wait_in_order_while_a_command_runs_and_one_can_be_withdrawn() {
    let world = World::start();
    world.script(
        "queue",
        [waits_for(&world, "go"), Turn::new().text("First.")],
    );
    world.create("queue");
    until_tool(&world, "queue");
    for (turn, words) in [(2, "second"), (3, "third"), (4, "fourth")] {
        let taken = accepted(&world, "queue", &json!({ "prompt": words }));
        assert_eq!(taken, (turn, "queued".to_owned()));
    }
    let refused = prompt(
        &world,
        "queue",
        &json!({ "prompt": "now", "on_busy": "reject" }),
    );
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("conflict"))
    );
    let queue = world.get("/sessions/queue/queue").json();
    let turns: Vec<&Value> = queue["queue"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["turn"])
        .collect();
    assert_eq!(turns, [2, 3, 4]);
    assert_eq!(world.status("queue")["queue"], queue["queue"]);
    let gone = world.send("DELETE", "/sessions/queue/queue/3", "");
    assert_eq!(gone.status, 200, "{gone:?}");
    world.script(
        "queue",
        [Turn::new().text("Second."), Turn::new().text("Fourth.")],
    );
    let_go(&world, "go");
    // One stream passes the ends of turns as long as prompts wait.
    let events = whole(&world, "queue");
    let complete = |turn| (turn, "complete".to_owned());
    assert_eq!(ends(&events), [complete(1), complete(2), complete(4)]);
    let log = world.log();
    for turn in [1, 2] {
        let [begun, ended] = ["session running", "session ended"].map(|said| {
            let number = format!("\"turn.number\":{turn}");
            let mut lines = log.lines();
            lines.find(|line| line.contains(said) && line.contains(&number))
        });
        assert!(begun.is_some(), "{log}");
        assert!(ended.unwrap().contains("\"state\":\"completed\""), "{log}");
    }
    let third: Vec<&Value> = of_turn(&events, 3)
        .iter()
        .map(|event| &event.data["state"])
        .collect();
    assert_eq!(third, ["queued", "withdrawn"]);
    let calls = world.llm.requests();
    assert!(!calls.iter().any(|call| told(call).contains("third")));
    assert_eq!(
        accepted(&world, "queue", &json!({ "prompt": "x" })).0,
        5,
        "no number twice"
    );
}

#[test]
fn a_prompt_that_interrupts_is_next_while_a_command_runs_and_while_the_model_streams() {
    let world = World::start();
    world.script("tool", [waits_for(&world, "never")]);
    world.create("tool");
    until_tool(&world, "tool");
    accepted(&world, "tool", &json!({ "prompt": "later" }));
    world.script(
        "tool",
        [Turn::new().text("At once."), Turn::new().text("Later.")],
    );
    let urgent = json!({ "prompt": "urgent", "on_busy": "interrupt" });
    let events = stream_of(&world, "tool", &urgent).rest();
    assert_eq!(ends(&events), [(3, "complete".to_owned())]);
    assert_eq!(events.last().unwrap().data["final_message"], "At once.");
    let all = whole(&world, "tool");
    let expected = [(1, "cancelled"), (3, "complete"), (2, "complete")];
    assert_eq!(
        ends(&all),
        expected.map(|(turn, how)| (turn, how.to_owned()))
    );

    world.script(
        "stream",
        [Turn::new()
            .stream(200, Duration::from_millis(100))
            .text(&"many words ".repeat(200))],
    );
    world.create("stream");
    world
        .stream("stream", "")
        .until("words", |event| event.kind == "output");
    let refused = json!({ "prompt": "now", "on_busy": "reject" });
    assert_eq!(prompt(&world, "stream", &refused).status, 409);
    let later = json!({ "prompt": "later" });
    assert_eq!(accepted(&world, "stream", &later), (2, "queued".to_owned()));
    let turns = ["Enough.", "Later."].map(|text| Turn::new().text(text));
    world.script("stream", turns);
    let events = stream_of(&world, "stream", &urgent).rest();
    assert_eq!(events.last().unwrap().data["final_message"], "Enough.");
    assert_eq!(
        ends(&whole(&world, "stream")),
        expected.map(|(turn, how)| (turn, how.to_owned()))
    );
}

#[test]
fn while_the_model_streams_a_prompt_waits_and_one_that_does_not_want_to_is_refused() {
    let world = World::start();
    let words = "slow words ".repeat(20);
    let slow = Turn::new()
        .stream(20, Duration::from_millis(100))
        .text(&words);
    world.script("stream", [slow, Turn::new().text("Second.")]);
    world.create("stream");
    world
        .stream("stream", "")
        .until("words", |event| event.kind == "output");
    let taken = accepted(&world, "stream", &json!({ "prompt": "later" }));
    assert_eq!(taken, (2, "queued".to_owned()));
    let now = json!({ "prompt": "the badger", "on_busy": "reject" });
    let refused = prompt(&world, "stream", &now);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("conflict"))
    );
    let events = whole(&world, "stream");
    let complete = |turn| (turn, "complete".to_owned());
    assert_eq!(ends(&events), [complete(1), complete(2)]);
    let first = of_turn(&events, 1).pop().unwrap();
    assert_eq!(first.data["final_message"], words.as_str());
    assert!(!told(world.llm.requests().last().unwrap()).contains("badger"));
}

/// Wherever in a turn it comes: it is answered in the turn that it is said to be part of.
#[test]
fn what_the_agent_is_told_as_a_turn_ends_is_answered_in_that_turn_or_the_next() {
    const ROUNDS: u64 = 8;
    let world = World::start();
    world.script(
        "edge",
        (0..4 * ROUNDS).map(|n| Turn::new().text(&format!("Answer {n}."))),
    );
    world.create("edge");
    let mut steered = Vec::new();
    for round in 0..ROUNDS {
        let mut stream = stream_of(&world, "edge", &json!({ "prompt": "begin" }));
        stream.until("words", |event| event.kind == "output");
        std::thread::sleep(Duration::from_millis(round * 4));
        let words = format!("steer-{round}.");
        let (turn, status) = accepted(
            &world,
            "edge",
            &json!({ "prompt": words, "on_busy": "steer" }),
        );
        if status == "steered" {
            steered.push((turn, words));
        }
    }
    let events = whole(&world, "edge");
    assert!(
        ends(&events).iter().all(|(_, how)| how == "complete"),
        "{events:#?}"
    );
    let last = told(world.llm.requests().last().unwrap());
    for round in 0..ROUNDS {
        assert_eq!(
            last.matches(&format!("steer-{round}.")).count(),
            1,
            "{last}"
        );
    }
    let messages = world.get("/sessions/edge/messages?limit=100").json();
    let messages = messages["messages"].as_array().unwrap();
    for (turn, words) in &steered {
        let noted = of_turn(&events, *turn);
        let note = noted.iter().position(|event| event.data["text"] == **words);
        assert!(
            note.is_some_and(|at| at + 1 < noted.len()),
            "before the end of its turn: {noted:#?}"
        );
        // The newest message comes first.
        let at = messages
            .iter()
            .position(|message| message["text"] == **words)
            .unwrap();
        let answered = messages[..at]
            .iter()
            .any(|message| message["role"] == "assistant" && message["turn"] == *turn);
        assert!(answered, "{words} of turn {turn}: {messages:#?}");
    }
}

#[test]
fn model_and_key_change_between_turns_and_stay_until_the_session_is_stopped() {
    let world = World::start();
    world.run("keys", [Turn::new().text("One.")]);
    world
        .llm
        .reply_to(Scope::key("other-key"), Turn::new().text("Two."));
    let change = json!({ "prompt": "b", "model_config": { "api_key": "other-key", "model": "another-model" } });
    stream_of(&world, "keys", &change).rest();
    world
        .llm
        .reply_to(Scope::key("other-key"), Turn::new().text("Three."));
    stream_of(&world, "keys", &json!({ "prompt": "c" })).rest();
    let calls = world.llm.requests();
    let used: Vec<(&str, &str)> = calls
        .iter()
        .map(|call| (&*call.key, call.model()))
        .collect();
    assert_eq!(
        used,
        [
            ("keys", "model-of-the-test"),
            ("other-key", "another-model"),
            ("other-key", "another-model")
        ]
    );
    assert_eq!(world.stop("keys").status, 200);
    let refused = prompt(&world, "keys", &json!({ "prompt": "d" }));
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("credentials_required"))
    );
}

#[test]
fn files_of_the_workspace_and_pictures_reach_the_model_and_others_are_refused() {
    let world = World::start();
    world.run("files", [Turn::new().text("Hello.")]);
    std::fs::write(world.file("note.json"), r#"{"secret_word":"marmot"}"#).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.file("link")).unwrap();
    let with = |part: Value| json!({ "parts": [{ "type": "text", "text": "look" }, part] });
    world.script("files", [Turn::new().text("Seen.")]);
    let events = stream_of(
        &world,
        "files",
        &with(json!({ "type": "file", "path": "note.json" })),
    )
    .rest();
    assert_eq!(ends(&events), [(2, "complete".to_owned())]);
    let words = told(world.llm.requests().last().unwrap());
    assert!(
        words.contains("marmot") && words.contains("note.json"),
        "{words}"
    );
    world.script("files", [Turn::new().text("Seen.")]);
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let picture = json!({ "type": "file", "url": format!("data:image/png;base64,{png}"), "filename": "p.png" });
    let events = stream_of(&world, "files", &with(picture)).rest();
    assert_eq!(ends(&events), [(3, "complete".to_owned())]);
    for (bad, field) in [
        (json!({ "type": "file", "path": "link" }), "parts[1].path"),
        (
            json!({ "type": "file", "path": "/etc/passwd" }),
            "parts[1].path",
        ),
        (
            json!({ "type": "file", "path": "../other" }),
            "parts[1].path",
        ),
        (json!({ "type": "file", "path": "." }), "parts[1].path"),
        (
            json!({ "type": "file", "url": "file:///etc/passwd" }),
            "parts[1].url",
        ),
        (
            json!({ "type": "file", "url": "https://x.test/a.png" }),
            "parts[1].url",
        ),
        (
            json!({ "type": "file", "url": "data:application/zip;base64,AAAA" }),
            "parts[1].mime",
        ),
        (json!({ "type": "file" }), "parts[1].path"),
    ] {
        let refused = prompt(&world, "files", &with(bad));
        assert_eq!(refused.status, 400, "{refused:?}");
        assert_eq!(refused.json()["details"]["field"], field, "{refused:?}");
    }
    let turns = [waits_for(&world, "go"), Turn::new().text("Still well.")];
    world.script("files", turns);
    let cursor =
        prompt(&world, "files", &json!({ "prompt": "and now?" })).json()["last_event_id"].clone();
    let mut stream = world.stream(
        "files",
        &format!("?last_event_id={}", cursor.as_str().unwrap()),
    );

    // What the running turn is told goes the same way.
    std::fs::write(world.file("steer.json"), r#"{"secret_word":"badger"}"#).unwrap();
    let mut steer = with(json!({ "type": "file", "path": "steer.json" }));
    steer["on_busy"] = "steer".into();
    assert_eq!(accepted(&world, "files", &steer), (4, "steered".to_owned()));

    // A file that is a link out of the workspace by the time its turn begins.
    std::fs::write(world.file("late.txt"), "Mine.").unwrap();
    world.script("files", [Turn::new().text("Not seen.")]);
    let late = with(json!({ "type": "file", "path": "late.txt" }));
    assert_eq!(accepted(&world, "files", &late), (5, "queued".to_owned()));
    std::fs::remove_file(world.file("late.txt")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.file("late.txt")).unwrap();
    let_go(&world, "go");
    let expected = [4, 5].map(|turn| (turn, "complete".to_owned()));
    assert_eq!(
        ends(&stream.rest()),
        expected,
        "nothing that was refused stayed"
    );
    let requests = world.llm.requests();
    let words = told(requests.last().unwrap());
    assert!(
        !words.contains("root:") && words.contains("it is outside the workspace"),
        "{words}"
    );
    assert!(
        words.contains("badger") && words.contains("steer.json"),
        "{words}"
    );
}

#[test]
fn a_turn_has_a_time_limit_of_its_own() {
    let world = World::start();
    world.run("short", [Turn::new().text("Hello.")]);
    world.script("short", [waits_for(&world, "never")]);
    let events = stream_of(
        &world,
        "short",
        &json!({ "prompt": "wait", "timeout_secs": 1 }),
    )
    .rest();
    assert_eq!(ends(&events), [(2, "timeout".to_owned())]);
    let words = events.last().unwrap().data["error"].as_str().unwrap();
    assert!(words.contains("timeout_secs"), "{words}");
    let refused = prompt(
        &world,
        "short",
        &json!({ "prompt": "x", "timeout_secs": 999_999 }),
    );
    assert_eq!(refused.json()["details"]["field"], "timeout_secs");
}

#[test]
fn a_prompt_reaches_the_running_turn_at_its_next_call_of_the_model() {
    let world = World::start();
    let steer = |words: &str| json!({ "prompt": words, "on_busy": "steer" });
    world.script(
        "tool",
        [waits_for(&world, "go"), Turn::new().text("Both done.")],
    );
    world.create("tool");
    until_tool(&world, "tool");
    let taken = accepted(&world, "tool", &steer("also say please"));
    assert_eq!(taken, (1, "steered".to_owned()));
    let_go(&world, "go");
    let events = whole(&world, "tool");
    assert_eq!(ends(&events), [(1, "complete".to_owned())]);
    let is_told = |event: &Event| event.kind == "prompt" && event.data["state"] == "steered";
    let told_at = events.iter().position(is_told).unwrap();
    assert_eq!(events[told_at].data["text"], "also say please");
    assert!(told_at + 1 < events.len(), "before the end");
    let calls = world.llm.requests();
    assert_eq!(calls.len(), 2);
    assert!(
        told(&calls[1]).contains("also say please"),
        "{}",
        told(&calls[1])
    );

    // While the last answer streams: that is completed, and one more answer follows in the same turn.
    let words = "slow words ".repeat(30);
    world.script(
        "stream",
        [
            Turn::new()
                .stream(30, Duration::from_millis(100))
                .text(&words),
            Turn::new().text("Answered too."),
        ],
    );
    world.create("stream");
    world
        .stream("stream", "")
        .until("words", |event| event.kind == "output");
    assert_eq!(
        accepted(&world, "stream", &steer("and one more thing")).0,
        1
    );
    let events = whole(&world, "stream");
    assert_eq!(ends(&events), [(1, "complete".to_owned())]);
    assert_eq!(
        events.last().unwrap().data["final_message"],
        "Answered too."
    );

    // When none runs, it is the next turn.
    world.script("stream", [Turn::new().text("A turn of its own.")]);
    assert_eq!(accepted(&world, "stream", &steer("later")).0, 2);
    let events = whole(&world, "stream");
    assert_eq!(ends(&events)[1], (2, "complete".to_owned()));
    let refused = prompt(
        &world,
        "stream",
        &json!({ "prompt": "x", "on_busy": "steer", "timeout_secs": 5 }),
    );
    assert_eq!(refused.json()["details"]["field"], "timeout_secs");
}

#[test]
fn turns_and_what_they_are_told_survive_the_death_of_the_child() {
    let world = World::start();
    world.run("dies", [Turn::new().text("One.")]);
    world.script(
        "dies",
        [waits_for(&world, "never"), Turn::new().text("Went on.")],
    );
    accepted(&world, "dies", &json!({ "prompt": "two" }));
    accepted(&world, "dies", &json!({ "prompt": "three" }));
    world
        .stream("dies", "")
        .until("the command", |event| event.kind == "tool_call");
    accepted(
        &world,
        "dies",
        &json!({ "prompt": "remember the otter", "on_busy": "steer" }),
    );
    // A child that dies before it has stored what it was told is told again, and that takes one more answer.
    let answers = [Turn::new().text("Three."), Turn::new().text("Three.")];
    world.script("dies", answers);
    let pid = rustix::process::Pid::from_raw(world.engine_pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let events = whole(&world, "dies");
    let complete = |turn| (turn, "complete".to_owned());
    assert_eq!(ends(&events), [complete(1), complete(2), complete(3)]);
    let calls = world.llm.requests();
    assert!(
        calls
            .iter()
            .any(|call| told(call).contains("remember the otter"))
    );
    let second = calls
        .iter()
        .filter(|call| call.last_user_text().contains("three"));
    assert_eq!(second.count(), 1, "a prompt that waited is run once");
}

#[test]
fn a_hundred_prompts_at_once_are_one_turn_eight_that_wait_and_refusals() {
    let world = World::start();
    world.run("crowd", [Turn::new().text("Hello.")]);
    world.script("crowd", [waits_for(&world, "go")]);
    world.script(
        "crowd",
        (0..9).map(|n| Turn::new().text(&format!("Answer {n}."))),
    );
    let answers: Vec<Response> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..100)
            .map(|n| {
                let world = &world;
                scope.spawn(move || {
                    prompt(world, "crowd", &json!({ "prompt": format!("number {n}.") }))
                })
            })
            .collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let count = |status: u16| answers.iter().filter(|one| one.status == status).count();
    assert_eq!((count(202), count(429)), (9, 91));
    let refused = answers.iter().find(|one| one.status == 429).unwrap();
    assert_eq!(refused.json()["code"], "queue_full");
    assert!(refused.header("retry-after").is_some());
    let_go(&world, "go");
    let events = whole(&world, "crowd");
    let turns: Vec<u64> = ends(&events).iter().map(|(turn, _)| *turn).collect();
    assert_eq!(turns, (1..=10).collect::<Vec<u64>>(), "in order, each once");
}

#[test]
fn prompts_that_waited_are_held_over_a_restart_and_run_once_when_a_key_comes() {
    let mut world = World::start();
    world.script("held", [waits_for(&world, "never")]);
    world.create("held");
    until_tool(&world, "held");
    accepted(&world, "held", &json!({ "prompt": "second words" }));
    let secret = "key-that-nobody-may-read";
    let other = json!({
        "provider": "openrouter", "model": "other", "api_key": secret,
        "api_endpoint": world.llm.base(),
    });
    accepted(
        &world,
        "held",
        &json!({ "prompt": "third words", "model_config": other }),
    );
    accepted(&world, "held", &json!({ "prompt": "fourth words" }));
    world.send("DELETE", "/sessions/held/queue/4", "");

    world.sidecar.signal(rustix::process::Signal::KILL);
    world.sidecar.restart();
    world.until("ready", |sidecar| sidecar.get("/ready").status == 200);
    world.until("the end of the first turn", |sidecar| {
        sidecar.get("/sessions/held/status").json()["status"] == "failed"
    });
    let queue = world.get("/sessions/held/queue").json();
    let held = |turn: u64| -> Vec<&Value> {
        let entries = queue["queue"].as_array().unwrap().iter();
        entries.filter(|one| one["turn"] == turn).collect()
    };
    for turn in [2, 3] {
        assert_eq!(held(turn)[0]["state"], "held", "{queue}");
        assert_eq!(held(turn)[0]["reason"], "credentials_required", "{queue}");
    }
    assert!(held(4).is_empty(), "it was withdrawn");
    let refused = prompt(&world, "held", &json!({ "prompt": "no key" }));
    assert_eq!(
        refused.json()["code"],
        "credentials_required",
        "{refused:?}"
    );

    world.script(
        "held",
        [Turn::new().text("Second."), Turn::new().text("Fifth.")],
    );
    let mut body = json!({ "prompt": "fifth words" });
    body["model_config"] = world.body("held")["model_config"].clone();
    let events = stream_of(&world, "held", &body).rest();
    assert_eq!(ends(&events), [(5, "complete".to_owned())]);
    let events = whole(&world, "held");
    let expected = [
        (1, "interrupted"),
        (2, "complete"),
        (3, "credentials_required"),
        (5, "complete"),
    ];
    assert_eq!(
        ends(&events),
        expected.map(|(turn, how)| (turn, how.to_owned()))
    );
    let calls = world.llm.requests();
    let second = calls
        .iter()
        .filter(|call| call.last_user_text().contains("second words"));
    assert_eq!(second.count(), 1, "it is run once");

    // The key of a prompt that waited is nowhere.
    let told = [
        world.get("/sessions/held/status").json().to_string(),
        format!("{events:?}"),
        queue.to_string(),
        world.log(),
    ];
    assert!(!told.iter().any(|text| text.contains(secret)));
    let database = std::fs::read_dir(world.data_dir()).unwrap();
    for file in database
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
    {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes
            .windows(secret.len())
            .any(|piece| piece == secret.as_bytes());
        assert!(!found, "{}", file.display());
    }
}

#[test]
fn a_prompt_with_the_same_key_is_the_same_turn_also_after_a_restart() {
    let mut world = World::start();
    world.run("again", [Turn::new().text("One.")]);
    let send = |world: &World, words: &str| {
        let body = json!({ "prompt": words }).to_string();
        let headers = [("idempotency-key", "k-1")];
        crate::support::http::send(
            world.address,
            "POST",
            "/sessions/again/prompt",
            &headers,
            body.as_bytes(),
        )
        .unwrap()
    };
    world.script("again", [Turn::new().text("Two.")]);
    for _ in 0..3 {
        let answer = send(&world, "two");
        assert_eq!(
            (answer.status, &answer.json()["turn"]),
            (202, &json!(2)),
            "{answer:?}"
        );
    }
    assert_eq!(send(&world, "another").status, 422);
    whole(&world, "again");
    world.sidecar.signal(rustix::process::Signal::KILL);
    world.sidecar.restart();
    world.until("ready", |sidecar| sidecar.get("/ready").status == 200);
    let answer = send(&world, "two");
    assert_eq!(
        (answer.status, &answer.json()["turn"]),
        (202, &json!(2)),
        "{answer:?}"
    );
    assert_eq!(send(&world, "another").status, 422);
    assert_eq!(world.llm.requests().len(), 2, "nothing was run twice");
}

#[test]
fn a_further_turn_that_dies_with_the_sidecar_is_resumed_before_the_prompts_that_waited() {
    let mut world = World::start();
    world.run("further", [Turn::new().text("One.")]);
    world.script("further", [waits_for(&world, "never")]);
    let mut running = stream_of(&world, "further", &json!({ "prompt": "second words" }));
    running.until("the command", |event| event.kind == "tool_call");
    let third = json!({ "prompt": "third words" });
    assert_eq!(
        accepted(&world, "further", &third),
        (3, "queued".to_owned())
    );

    world.sidecar.signal(rustix::process::Signal::KILL);
    world.sidecar.restart();
    world.until("ready", |sidecar| sidecar.get("/ready").status == 200);
    world.until("the end of the second turn", |sidecar| {
        sidecar.get("/sessions/further/status").json()["status"] == "failed"
    });
    let status = world.status("further");
    assert_eq!(
        (&status["turn"], &status["queue"][0]["state"]),
        (&json!(2), &json!("held"))
    );
    let events = whole(&world, "further");
    let second = of_turn(&events, 2);
    let result = second.iter().find(|event| event.kind == "tool_result");
    assert_eq!(result.unwrap().data["is_error"], true, "{events:#?}");
    let end = second.iter().find(|event| event.is_terminal()).unwrap();
    assert_eq!(
        (&end.data["code"], &end.data["resumable"]),
        (&json!("interrupted"), &json!(true))
    );
    let keyless = world.post("/sessions/further/resume", "{}");
    assert_eq!(
        keyless.json()["code"],
        "credentials_required",
        "{keyless:?}"
    );

    world.script(
        "further",
        ["Four.", "Three."].map(|text| Turn::new().text(text)),
    );
    let with_key = json!({ "model_config": world.body("further")["model_config"] });
    let resumed = world.post("/sessions/further/resume", &with_key.to_string());
    assert_eq!(
        (resumed.status, &resumed.json()["turn"]),
        (200, &json!(4)),
        "{resumed:?}"
    );
    let events = whole(&world, "further");
    let expected = [
        (1, "complete"),
        (2, "interrupted"),
        (4, "complete"),
        (3, "complete"),
    ];
    assert_eq!(
        ends(&events),
        expected.map(|(turn, how)| (turn, how.to_owned()))
    );
    let requests = world.llm.requests();
    let words = told(requests.last().unwrap());
    for once in ["second words", "third words", "One.", "Four."] {
        assert_eq!(words.matches(once).count(), 1, "{once}: {words}");
    }
}
