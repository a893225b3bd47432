//! A whole conversation over one WebSocket, with the real OpenCode, while another looks on.

use serde_json::{Value, json};

use crate::llm::Turn;
use crate::support::sse::Event;
use crate::support::ws::{Received, Socket};
use crate::world::{World, bash};

struct Client {
    socket: Socket,
    events: Vec<Event>,
    /// How many of them [`next`](Self::next) has passed.
    passed: usize,
    answers: Vec<Value>,
}

impl Client {
    fn open(world: &World, id: &str) -> Self {
        let socket = Socket::open(world.sidecar.address, &format!("/sessions/{id}/ws"), &[]);
        assert_eq!(socket.status, 101, "{}", socket.head);
        Self {
            socket,
            events: Vec::new(),
            passed: 0,
            answers: Vec::new(),
        }
    }

    fn read(&mut self) {
        match self.socket.next() {
            Received::Event(event) if event.id.is_some() && event.kind != "heartbeat" => {
                self.events.push(event);
            }
            Received::Event(_) | Received::Ping => {}
            Received::Answer(answer) => self.answers.push(answer),
            other => panic!("{other:?} after {:#?}", self.events),
        }
    }

    fn ask(&mut self, message: &Value) -> Value {
        let before = self.answers.len();
        self.socket.say(message);
        while self.answers.len() == before {
            self.read();
        }
        let answer = self.answers.last().unwrap().clone();
        assert_eq!(answer["ref"], message["ref"], "{answer}");
        answer
    }

    /// The next event that fits. Those before it are passed.
    fn next(&mut self, fits: impl Fn(&Event) -> bool) -> Event {
        loop {
            let found = self.events[self.passed..].iter().position(&fits);
            if let Some(at) = found {
                self.passed += at + 1;
                return self.events[self.passed - 1].clone();
            }
            self.passed = self.events.len();
            self.read();
        }
    }

    /// The next request of this kind that the agent makes.
    fn asked(&mut self, kind: &str) -> String {
        let event = self.next(|event| event.kind == kind && event.data["state"] == "asked");
        event.data["request_id"].as_str().unwrap().to_owned()
    }

    /// A message that is taken.
    fn take(&mut self, message: &Value) -> Value {
        let answer = self.ask(message);
        assert_eq!(answer["type"], "ack", "{message}: {answer}");
        answer["result"].clone()
    }

    /// The last event of a turn.
    fn end_of(&mut self, turn: u32) -> Event {
        loop {
            let is_end = |event: &&Event| event.data["turn"] == turn && event.is_terminal();
            if let Some(end) = self.events.iter().find(is_end) {
                return end.clone();
            }
            self.read();
        }
    }
}

#[test]
fn prompts_and_cancels_over_a_websocket_are_those_of_the_routes() {
    let world = World::start();
    world.script("talk", [Turn::new().text("One."), Turn::new().text("Two.")]);
    world.script(
        "other-key",
        [
            Turn::new().text("Three."),
            Turn::new().text("Four."),
            Turn::new().text("Five, and").hang_here(),
        ],
    );
    world.create("talk");
    let (mut client, mut other) = (Client::open(&world, "talk"), Client::open(&world, "talk"));
    assert_eq!(client.end_of(1).data["final_message"], "One.");

    let prompt =
        json!({"type": "prompt", "ref": "a", "prompt": "and now?", "idempotency_key": "k-1"});
    let taken = client.ask(&prompt);
    assert_eq!(taken["type"], "ack", "{taken}");
    assert_eq!(taken["result"]["turn"], 2);
    let mut again = prompt.clone();
    again["ref"] = json!("b");
    assert_eq!(client.ask(&again)["result"]["turn"], 2, "the same prompt");
    assert_eq!(client.end_of(2).data["final_message"], "Two.");

    // Another model and key, which stay.
    let change = json!({"type": "prompt", "ref": "c", "prompt": "go on", "model_config": { "api_key": "other-key", "model": "another" }});
    assert_eq!(client.take(&change)["turn"], 3);
    assert_eq!(client.end_of(3).data["final_message"], "Three.");
    client.take(&json!({"type": "prompt", "ref": "d", "prompt": "go on"}));
    assert_eq!(client.end_of(4).data["final_message"], "Four.");

    let fifth = client.take(&json!({"type": "prompt", "ref": 3, "prompt": "go on"}));
    assert_eq!(fifth["turn"], 5);
    client.next(|event| event.kind == "output" && event.data["turn"] == 5);
    let calls = world.llm.requests();
    let used: Vec<_> = calls
        .iter()
        .map(|call| (&*call.key, call.model()))
        .collect();
    let (before, after) = (("talk", "model-of-the-test"), ("other-key", "another"));
    assert_eq!(used, [before, before, after, after, after]);
    let told = calls.last().unwrap().body["messages"].to_string();
    for words in ["One.", "Two.", "Three.", "Four."] {
        assert!(told.contains(words), "{told}");
    }
    let queued = client.ask(&json!({"type": "prompt", "ref": 4, "prompt": "and then"}));
    assert_eq!(queued["result"]["status"], "queued", "{queued}");
    let refused =
        client.ask(&json!({"type": "prompt", "ref": 5, "prompt": "no", "on_busy": "reject"}));
    assert_eq!(
        (&refused["type"], &refused["status"]),
        (&json!("error"), &json!(409))
    );
    let wrong = client.ask(&json!({"type": "prompt", "ref": 6, "prompt": ""}));
    assert_eq!(wrong["details"]["field"], "prompt", "{wrong}");
    // The other one may end it as well.
    let ended = other.ask(&json!({"type": "cancel", "ref": 7}));
    assert_eq!(ended["result"]["status"], "cancelled", "{ended}");
    assert_eq!(client.end_of(5).data["status"], "cancelled");
    other.end_of(5);
    let stream = world.sidecar.stream("talk", "").rest();
    let upto = |client: &Client| client.events.len();
    assert_eq!(stream.get(..upto(&client)).unwrap(), client.events);
    assert_eq!(stream.get(..upto(&other)).unwrap(), other.events);
}

#[test]
fn what_the_agent_asks_is_answered_over_a_websocket_once() {
    let world = World::start();
    let options =
        json!([{ "label": "A", "description": "a" }, { "label": "B", "description": "b" }]);
    let question =
        json!({ "questions": [{ "question": "Which?", "header": "Letter", "options": options }] });
    world.script(
        "asked",
        [
            Turn::new().tool("bash", bash("echo one")),
            Turn::new().tool("question", question),
            Turn::new().text("Done."),
        ],
    );
    world.create_with("asked", |body| {
        body["model_config"]["permission_mode"] = json!("ask");
        body["model_config"]["questions"] = json!(true);
    });
    let (mut client, mut other) = (Client::open(&world, "asked"), Client::open(&world, "asked"));
    let request = client.asked("permission");
    let once = json!({"type": "permission", "ref": 1, "request_id": request, "reply": "once"});
    let taken = client.ask(&once);
    assert_eq!(taken["type"], "ack", "{taken}");
    let late = other
        .ask(&json!({"type": "permission", "ref": 2, "request_id": request, "reply": "reject"}));
    assert_eq!(
        (&late["status"], &late["code"]),
        (&json!(409), &json!("already_answered"))
    );

    let request = client.asked("question");
    let wrong =
        client.ask(&json!({"type": "question", "ref": 3, "request_id": request, "answers": 7}));
    assert_eq!(wrong["status"], 400, "{wrong}");
    let unnamed = client.ask(&json!({"type": "question", "ref": 4, "answers": [["A"]]}));
    assert_eq!(unnamed["details"]["field"], "request_id", "{unnamed}");
    let taken = client
        .ask(&json!({"type": "question", "ref": 5, "request_id": request, "answers": [["A"]]}));
    assert_eq!(taken["type"], "ack", "{taken}");
    assert_eq!(client.end_of(1).data["final_message"], "Done.");
}

#[test]
fn every_answer_to_what_the_agent_asks_is_given_over_a_websocket() {
    let world = World::start();
    let run = |command: &str| Turn::new().tool("bash", bash(command));
    let task =
        json!({ "description": "a part", "prompt": "do a part", "subagent_type": "general" });
    let question = json!({ "questions": [{ "question": "Which?", "header": "Letter", "options": [{ "label": "A", "description": "a" }] }] });
    let done = || Turn::new().text("Done.");
    world.script("answers", [run("echo one"), run("echo two"), done()]);
    world.create_with("answers", |body| {
        body["model_config"]["permission_mode"] = json!("ask");
        body["model_config"]["ask_tools"] = json!(["bash"]);
        body["model_config"]["questions"] = json!(true);
    });
    let mut client = Client::open(&world, "answers");
    let permission = |request: String, rest: Value| {
        let mut message = json!({ "type": "permission", "ref": 1, "request_id": request });
        message
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        message
    };
    let prompt = |model_config: Value| json!({ "type": "prompt", "ref": 2, "prompt": "go on", "model_config": model_config });

    // Always: the second command is decided by a rule.
    let request = client.asked("permission");
    client.take(&permission(request, json!({ "reply": "always" })));
    client.next(|event| event.kind == "permission" && event.data["by"] == "rule");
    assert_eq!(client.end_of(1).kind, "complete");

    // No, and why: the agent goes on. No without a word: it stops.
    world.script("answers", [run("date"), run("date")]);
    client.take(&prompt(json!({})));
    let request = client.asked("permission");
    client.take(&permission(
        request,
        json!({ "reply": "reject", "message": "not now" }),
    ));
    let request = client.asked("permission");
    client.take(&permission(request, json!({ "reply": "reject" })));
    assert_eq!(client.end_of(2).data["finish_reason"], "rejected");

    // A subagent.
    world.script(
        "answers",
        [
            Turn::new().tool("task", task),
            run("date"),
            Turn::new().text("Part."),
            done(),
        ],
    );
    client.take(&prompt(json!({})));
    let asked = client.next(|event| event.kind == "permission" && event.data["state"] == "asked");
    assert_eq!(asked.data["agent"]["name"], "general");
    let request = asked.data["request_id"].as_str().unwrap().to_owned();
    client.take(&permission(request, json!({ "reply": "once" })));
    assert_eq!(client.end_of(3).kind, "complete");

    // A question that is rejected, and one that nobody answers.
    let ask = || Turn::new().tool("question", question.clone());
    world.script("answers", [ask()]);
    client.take(&prompt(json!({})));
    let request = client.asked("question");
    client.take(&json!({ "type": "question", "ref": 3, "request_id": request, "reject": true }));
    assert_eq!(client.end_of(4).data["finish_reason"], "rejected");
    world.script("answers", [ask()]);
    client.take(&prompt(json!({ "ask_timeout_secs": 1 })));
    let late = client.next(|event| {
        event.kind == "question" && event.data["state"] == "rejected" && event.data["turn"] == 5
    });
    assert_eq!(late.data["by"], "timeout");
    client.end_of(5);

    // Nobody answers a permission either; and a command that a rule refuses is not asked for.
    world.script("answers", [run("date")]);
    client.take(&prompt(json!({})));
    let late = client.next(|event| {
        event.kind == "permission" && event.data["state"] == "answered" && event.data["turn"] == 6
    });
    assert_eq!(
        (&late.data["by"], &late.data["reply"]),
        (&json!("timeout"), &json!("reject"))
    );
    client.end_of(6);
    world.script("answers", [run("rm -f x"), done()]);
    let deny = json!([{ "permission": "bash", "pattern": "rm *", "action": "deny" }]);
    client.take(&prompt(json!({ "permission_mode": deny })));
    let result = client.next(|event| event.kind == "tool_result" && event.data["turn"] == 7);
    assert_eq!(result.data["is_error"], true, "{result:?}");
    client.end_of(7);
    let asked = client
        .events
        .iter()
        .any(|event| event.data["turn"] == 7 && event.kind == "permission");
    assert!(!asked);
}

#[test]
fn while_the_model_streams_a_websocket_queues_steers_interrupts_and_is_refused() {
    let world = World::start();
    let slow = Turn::new()
        .stream(300, std::time::Duration::from_millis(100))
        .text(&"slow ".repeat(300));
    world.script("busy", [slow]);
    world.create("busy");
    let mut client = Client::open(&world, "busy");
    client.next(|event| event.kind == "output");
    let prompt = |words: &str, on_busy: &str| json!({ "type": "prompt", "ref": words, "prompt": words, "on_busy": on_busy });
    let queued = client.take(&prompt("later", "queue"));
    assert_eq!(
        (&queued["turn"], &queued["status"]),
        (&json!(2), &json!("queued"))
    );
    assert_eq!(client.ask(&prompt("no", "reject"))["code"], "conflict");
    let steered = client.take(&prompt("and the otter", "steer"));
    assert_eq!(
        (&steered["turn"], &steered["status"]),
        (&json!(1), &json!("steered"))
    );
    client.next(|event| event.kind == "prompt" && event.data["state"] == "steered");
    world.script(
        "busy",
        [Turn::new().text("At once."), Turn::new().text("Later.")],
    );
    assert_eq!(client.take(&prompt("urgent", "interrupt"))["turn"], 3);
    assert_eq!(client.end_of(1).data["status"], "cancelled");
    assert_eq!(client.end_of(3).data["final_message"], "At once.");
    assert_eq!(client.end_of(2).data["final_message"], "Later.");
}
