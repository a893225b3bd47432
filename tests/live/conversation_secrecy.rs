//! A provider key passes through everything that a conversation can do, and is told by nothing of it.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use crate::conversation::with_git_and;
use crate::llm::{Scope, Turn};
use crate::secrecy::assert_nowhere;
use crate::support::http::Response;
use crate::support::sse::{Event, Stream};
use crate::support::ws::{Received, Socket};
use crate::world::{World, bash};

/// Environments, which the agent and a command of the client look at. OpenCode does not read what is quoted, and so does not
/// refuse it for the paths outside of the workspace.
const LOOK: &str = "env; sh -c 'cat /proc/self/environ /proc/$PPID/environ'";

/// Two keys, one of which does not look like one, and all that clients were told.
struct Talk {
    world: World,
    key: String,
    other: String,
    said: String,
    socket: Socket,
    /// Of all sessions.
    everything: Socket,
}

// === impl Talk ===

impl Talk {
    /// With a session that asks, and whose first turn runs until `go` exists.
    fn begin() -> Self {
        let world = with_git_and(|options| options.env("LOG_LEVEL", "trace"));
        let unique = std::process::id();
        let (key, other) = (
            format!("sk-talked-{unique}"),
            format!("quiet-other-{unique}"),
        );
        let question = json!({ "questions": [{ "question": "Which?", "header": "Letter", "options": [{ "label": "A", "description": "a" }] }] });
        let look = format!("{LOOK}; until [ -e go ]; do sleep 0.02; done");
        for turn in [
            Turn::new().tool("bash", bash(&look)),
            Turn::new().tool("question", question),
            Turn::new().text("One."),
        ] {
            world.llm.reply_to(Scope::key(&key), turn);
        }
        let mut body = world.body("talk");
        body["model_config"]["api_key"] = json!(key);
        body["model_config"]["permission_mode"] = json!("ask");
        body["model_config"]["ask_tools"] = json!(["bash"]);
        body["model_config"]["questions"] = json!(true);
        let created = world.post_session(&body);
        let open = |path: &str| Socket::open(world.address, path, &[]);
        let mut talk = Self {
            said: String::new(),
            key,
            other,
            socket: open("/sessions/talk/ws"),
            everything: open("/events/ws?last_event_id=earliest"),
            world,
        };
        talk.hear(&created, 201);
        talk
    }

    fn hear(&mut self, answer: &Response, status: u16) {
        assert_eq!(answer.status, status, "{answer:?}");
        write!(self.said, "{answer:?}").unwrap();
    }

    fn get(&mut self, path: &str) {
        let answer = self.world.get(path);
        self.hear(&answer, 200);
    }

    fn send(&mut self, method: &str, path: &str, body: &Value, status: u16) {
        let answer = self.world.send(method, path, &body.to_string());
        self.hear(&answer, status);
    }

    /// Something of the session.
    fn post(&mut self, path: &str, body: &Value, status: u16) {
        self.send("POST", &format!("/sessions/talk/{path}"), body, status);
    }

    /// The events of session `id` until it is idle.
    fn whole(&mut self, id: &str) -> Vec<Event> {
        let events = self.world.stream(id, "?include=reasoning").rest();
        write!(self.said, "{events:?}").unwrap();
        events
    }

    /// The next request of this kind that the agent makes.
    fn asked(&mut self, kind: &str) -> String {
        let asked = read(
            &mut self.socket,
            &mut self.said,
            |received| matches!(received, Received::Event(event) if event.kind == kind && event.data["state"] == "asked"),
        );
        let Received::Event(event) = asked else {
            unreachable!();
        };
        event.data["request_id"].as_str().unwrap().to_owned()
    }

    /// Prompts that wait, that are withdrawn, told to the running turn, refused; and what the agent asks is answered.
    fn prompts_and_asks(&mut self) {
        let request = self.asked("permission");
        self.get("/sessions/talk/permissions");
        self.get("/sessions/talk/status");
        self.post(
            &format!("permissions/{request}"),
            &json!({ "reply": "once" }),
            200,
        );
        let (other, base) = (self.other.clone(), self.world.llm.base());
        let other_model = json!({ "provider": "custom", "model": "other", "api_key": other, "api_endpoint": base });
        for (prompt, status) in [
            (json!({ "prompt": "two", "model_config": other_model }), 202),
            (
                json!({ "prompt": "three", "model_config": { "api_key": other } }),
                202,
            ),
            (json!({ "prompt": "more", "on_busy": "steer" }), 202),
            (
                json!({ "prompt": "x", "model_config": { "api_key": [other], "model": 7 } }),
                400,
            ),
        ] {
            self.post("prompt", &prompt, status);
        }
        self.get("/sessions/talk/queue");
        self.send("DELETE", "/sessions/talk/queue/3", &json!({}), 200);
        self.socket.say(&json!({ "type": "prompt", "ref": 1, "prompt": "x", "model_config": { "api_key": format!("{other} {other}") } }));
        read(&mut self.socket, &mut self.said, is_answer);
        fs::write(self.world.file("go"), "").unwrap();
        let request = self.asked("question");
        self.get("/sessions/talk/questions");
        // The provider quotes the key of the second turn.
        let quoted = Turn::error(401, &format!("Incorrect API key provided: {other}"));
        self.world.llm.reply_to(Scope::key(&other), quoted);
        self.post(
            &format!("questions/{request}"),
            &json!({ "answers": [["A"]] }),
            200,
        );
        let events = self.whole("talk");
        assert_eq!(events.last().unwrap().data["code"], "provider_auth");
        let looked = format!("{events:?}");
        assert!(looked.contains("SIDECAR_SESSION="), "it looked: {looked}");
    }

    /// What is read of a conversation, and what changes it between turns.
    fn reads_and_changes(&mut self) {
        for view in [
            "messages?include=reasoning",
            "children",
            "todos",
            "diff",
            "status",
            "queue",
        ] {
            self.get(&format!("/sessions/talk/{view}"));
        }
        let labels = json!({ "title": "talk", "metadata": { "a": "b" } });
        self.send("PATCH", "/sessions/talk", &labels, 200);
        self.post("fork", &json!({ "session_id": "copy" }), 201);
        self.post("revert", &json!({ "turn": 2 }), 200);
        self.post("unrevert", &json!({}), 200);
    }

    /// Turns that are no prompts.
    fn tasks(&mut self) {
        let (key, base) = (self.key.clone(), self.world.llm.base());
        let mut body = json!({ "model_config": { "provider": "custom", "model": "m", "api_key": key, "api_endpoint": base } });
        self.world.llm.on_compaction(Turn::new().text("In short."));
        self.post("compact", &body, 202);
        self.whole("talk");
        self.world
            .llm
            .reply_to(Scope::key(&key), Turn::new().text("Looked."));
        body["command"] = json!("init");
        self.send("POST", "/sessions/copy/command", &body, 202);
        body.as_object_mut().unwrap().remove("command");
        self.whole("copy");
        self.post("shell", &json!({ "command": LOOK }), 202);
        self.whole("talk");
        let done = Turn::new().text("Done.");
        self.world.llm.reply_to(Scope::key(&key), done);
        body["prompt"] = json!("go on");
        self.post("resume", &body, 200);
        let events = self.whole("talk");
        assert_eq!(events.last().unwrap().data["final_message"], "Done.");
        self.post("stop", &json!({}), 200);
    }

    /// What both sockets have to say yet, and what is told of the whole sidecar.
    fn overviews(&mut self) {
        for socket in [&mut self.socket, &mut self.everything] {
            socket.say(&json!({ "type": "ping", "ref": 2 }));
            read(socket, &mut self.said, is_answer);
        }
        let path = "/events?include=reasoning";
        let mut stream = Stream::open(self.world.address, "GET", path, &[], "");
        let events = stream.until("the end", |event| event.data["final_message"] == "Done.");
        write!(self.said, "{events:?}").unwrap();
        for path in [
            "/sessions",
            "/engine/status",
            "/metrics",
            "/sessions/talk/diagnosis",
        ] {
            self.get(path);
        }
    }
}

fn is_answer(received: &Received) -> bool {
    matches!(received, Received::Answer(_))
}

/// Reads what a WebSocket says until it has this.
fn read(socket: &mut Socket, said: &mut String, reached: impl Fn(&Received) -> bool) -> Received {
    loop {
        let received = socket.next();
        assert_ne!(received, Received::End, "{said}");
        write!(said, "{received:?}").unwrap();
        if reached(&received) {
            return received;
        }
    }
}

#[test]
fn nothing_that_a_conversation_can_do_tells_a_provider_key() {
    let mut talk = Talk::begin();
    talk.prompts_and_asks();
    talk.reads_and_changes();
    talk.tasks();
    talk.overviews();

    let Talk {
        world,
        key,
        other,
        said,
        ..
    } = talk;
    let calls = world.llm.requests();
    let pid = world.engine_pid();
    let child = ["environ", "cmdline"].map(|file| fs::read(format!("/proc/{pid}/{file}")).unwrap());
    for secret in [&key, &other] {
        assert!(calls.iter().any(|call| call.key == *secret), "it was used");
        assert!(!said.contains(secret), "it was said");
        assert!(!world.log().contains(secret), "it was logged");
        for of_child in &child {
            assert!(memchr::memmem::find(of_child, secret.as_bytes()).is_none());
        }
        assert_nowhere(&world.data_dir(), secret);
        assert_nowhere(&world.workspace(), secret);
    }
}
