//! A whole conversation over one WebSocket, with the real OpenCode, while another looks on.

use serde_json::{Value, json};

use crate::llm::Turn;
use crate::support::sse::Event;
use crate::support::ws::{Received, Socket};
use crate::world::{World, bash};

struct Client {
    socket: Socket,
    events: Vec<Event>,
    answers: Vec<Value>,
}

impl Client {
    fn open(world: &World, id: &str) -> Self {
        let socket = Socket::open(world.sidecar.address, &format!("/sessions/{id}/ws"), &[]);
        assert_eq!(socket.status, 101, "{}", socket.head);
        Self {
            socket,
            events: Vec::new(),
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

    /// The next request of this kind that the agent has made.
    fn asked(&mut self, kind: &str) -> String {
        let is_asked = |event: &&Event| event.kind == kind && event.data["state"] == "asked";
        loop {
            if let Some(event) = self.events.iter().find(is_asked) {
                return event.data["request_id"].as_str().unwrap().to_owned();
            }
            self.read();
        }
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
    world.script(
        "talk",
        [
            Turn::new().text("One."),
            Turn::new().text("Two."),
            Turn::new().text("Three, and").hang_here(),
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

    let third = client.ask(&json!({"type": "prompt", "ref": 3, "prompt": "go on"}));
    assert_eq!(third["result"]["turn"], 3);
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
    assert_eq!(client.end_of(3).data["status"], "cancelled");
    other.end_of(3);
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
