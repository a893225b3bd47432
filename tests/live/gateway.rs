//! What the providers get to see, through the whole product.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::llm::{Dialect, Identity, Kind, Llm, Recorded, Scope, Turn};
use crate::place;
use crate::proxy::Proxy;
use crate::support::{Options, Sidecar, TEST_TIMEOUT, skipped};

/// A stop that the agent does not follow takes 4 s.
const SOON: Duration = Duration::from_secs(3);

/// What differs between the sessions.
struct Plan {
    id: &'static str,
    provider: &'static str,
    endpoint: Option<String>,
    dialect: Dialect,
    path: &'static str,
    key: &'static str,
    model: &'static str,
    temperature: f64,
    max_tokens: u64,
    tools: &'static [&'static str],
}

impl Plan {
    fn body(&self) -> Value {
        let mut config = json!({
            "provider": self.provider, "model": self.model, "api_key": self.key,
            "temperature": self.temperature, "max_tokens": self.max_tokens, "enabled_tools": self.tools,
        });
        if let Some(endpoint) = &self.endpoint {
            config["api_endpoint"] = json!(endpoint);
        }
        json!({ "session_id": self.id, "prompt": format!("go {}", self.id), "model_config": config })
    }

    fn assert_call(&self, call: &Recorded) {
        assert_eq!((call.dialect, call.kind), (self.dialect, Kind::Ordinary));
        assert_eq!((call.path.as_str(), call.model()), (self.path, self.model));
        assert_eq!(call.body["temperature"], self.temperature);
        assert_eq!(call.limit().map(|(_, limit)| limit), Some(self.max_tokens));
        let tools = call.tools();
        assert!(
            !tools.is_empty() && tools.iter().all(|tool| self.tools.contains(&tool.as_str())),
            "{tools:?}"
        );
        assert!(!call.headers.contains_key("x-session-id"));
    }
}

/// Chat completions without TLS, messages past the proxy, responses at OpenAI's own address through it.
fn plans(plain: &Llm, tls: &Llm) -> [Plan; 3] {
    [
        Plan {
            id: "a",
            provider: "custom",
            endpoint: Some(plain.base()),
            dialect: Dialect::Chat,
            path: "/v1/chat/completions",
            key: "KEY-AAAA",
            model: "llama-99",
            temperature: 0.1,
            max_tokens: 111,
            tools: &["bash", "task"],
        },
        Plan {
            id: "b",
            provider: "anthropic",
            endpoint: Some(format!("https://direct.test:{}/v1", tls.addr().port())),
            dialect: Dialect::Messages,
            path: "/v1/messages",
            key: "KEY-BBBB",
            model: "claude-xyz",
            temperature: 0.9,
            max_tokens: 999,
            tools: &["edit", "read", "write"],
        },
        Plan {
            id: "c",
            provider: "openai",
            endpoint: None,
            dialect: Dialect::Responses,
            path: "/v1/responses",
            key: "KEY-CCCC",
            model: "gpt-4o-mini",
            temperature: 0.5,
            max_tokens: 555,
            tools: &["bash"],
        },
    ]
}

/// A delegates, B writes, C asks for a tool that it was never offered.
fn script(plain: &Llm, tls: &Llm, [a, b, c]: &[Plan; 3]) {
    let bash = |command: &str| json!({ "command": command, "description": "x" });
    let delegate =
        json!({ "description": "sub", "prompt": "the delegated work", "subagent_type": "general" });
    let below = Scope::prompt("the delegated work");
    plain.reply_to(Scope::key(a.key), Turn::new().tool("task", delegate));
    plain.reply_to(
        below.clone(),
        Turn::new().tool("bash", bash("echo from-the-subagent")),
    );
    plain.reply_to(below, Turn::new().text("delegated work done"));
    plain.reply_to(Scope::key(a.key), Turn::new().text("A is done"));

    let write = json!({ "filePath": "b.txt", "content": "from b" });
    tls.reply_to(Scope::key(b.key), Turn::new().tool("write", write));
    tls.reply_to(Scope::key(b.key), Turn::new().text("B is done"));

    let write = json!({ "filePath": "c.txt", "content": "no" });
    tls.reply_to(Scope::key(c.key), Turn::new().tool("bash", bash("echo c")));
    tls.reply_to(Scope::key(c.key), Turn::new().tool("write", write));
    tls.reply_to(Scope::key(c.key), Turn::new().text("C is done"));
}

/// A sidecar with a proxy, an authority of its own, and a host that only it knows.
fn start(proxy: &Proxy, identity: &Identity) -> Sidecar {
    let options = Options::real();
    let dir = options.dir.path().to_owned();
    let (hosts, authority) = (dir.join("hosts"), dir.join("authority.pem"));
    std::fs::write(&hosts, "127.0.0.1 localhost direct.test\n").unwrap();
    std::fs::write(&authority, identity.authority_pem()).unwrap();
    let options = options
        .env("EXTRA_CA_FILE", &authority.to_string_lossy())
        .env("HTTPS_PROXY", &proxy.url())
        .env("NO_PROXY", "direct.test");
    let script = r#"set -e; mount --make-rprivate /; mount --bind "$1" /etc/hosts; exec "$2""#;
    let arguments = [&*hosts.to_string_lossy(), crate::support::SIDECAR];
    let command = place::within(&options, &["--mount"], script, &arguments);
    options.start_as(command).ready()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_sessions_at_once_reach_their_providers_with_their_own_values() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root may make the mount namespace this needs");
        return;
    }
    let identity = Identity::of(&["api.openai.com", "direct.test"]);
    let (plain, tls) = (Llm::start().await, Llm::start_tls(&identity).await);
    let proxy = Proxy::to(tls.addr());
    let plans = plans(&plain, &tls);
    script(&plain, &tls, &plans);
    let sidecar = start(&proxy, &identity);

    let streams = std::thread::scope(|scope| {
        let run = |plan: &Plan| {
            let created = sidecar.post("/sessions", &plan.body().to_string());
            assert_eq!(created.status, 201, "{created:?}");
            sidecar.get(&format!("/sessions/{}/stream", plan.id)).body
        };
        plans
            .each_ref()
            .map(|plan| scope.spawn(move || run(plan)))
            .map(|running| running.join().unwrap())
    });
    for (stream, last) in streams.iter().zip(["A is done", "B is done", "C is done"]) {
        assert!(
            stream.contains("event: complete") && stream.contains(last),
            "{stream}"
        );
    }

    assert_eq!((plain.turns_left(), tls.turns_left()), (0, 0));
    let calls: Vec<Recorded> = plain.requests().into_iter().chain(tls.requests()).collect();
    for (plan, count) in plans.iter().zip([4, 2, 3]) {
        let own: Vec<_> = calls.iter().filter(|call| call.key == plan.key).collect();
        assert_eq!(own.len(), count, "calls of {}", plan.id);
        for call in own {
            plan.assert_call(call);
        }
    }
    assert_eq!(calls.len(), 9, "no call but the agents' own");
    assert_delegated(&plans[0], &calls);
    for (plan, count) in plans.iter().zip([4, 2, 3]) {
        let status = sidecar.get(&format!("/sessions/{}/status", plan.id)).json();
        let counted = &status["model_calls"];
        assert_eq!(counted["calls"], count, "{status}");
        assert_eq!(counted["total_tokens"], count * 120, "{status}");
    }
    let written = std::fs::read_to_string(sidecar.workspace().join("b.txt")).unwrap();
    assert_eq!(written, "from b");
    assert!(!sidecar.workspace().join("c.txt").exists());

    // OpenAI through the proxy, and nothing else; both over HTTP/2.
    let asked = proxy.asked();
    assert!(
        !asked.is_empty()
            && asked
                .iter()
                .all(|line| line == "CONNECT api.openai.com:443 HTTP/1.1"),
        "{asked:?}"
    );
    assert!(tls.requests().iter().all(|call| call.http2));
}

/// The subagent worked with its parent's key and within its parent's tools.
fn assert_delegated(plan: &Plan, calls: &[Recorded]) {
    let below: Vec<_> = calls
        .iter()
        .filter(|call| call.last_user_text().contains("the delegated work"))
        .collect();
    assert_eq!(below.len(), 2);
    assert!(
        below
            .iter()
            .all(|call| call.key == plan.key && call.tools().contains(&"bash".to_owned()))
    );
    assert!(String::from_utf8_lossy(&below[1].bytes).contains("from-the-subagent"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_session_s_call_is_cut_at_the_provider() {
    let llm = Llm::start().await;
    let sidecar = Options::real().start().ready();
    let turns = [
        Turn::new().text("half an answer").hang_here(),
        // One that goes on and on, and one that has not begun.
        Turn::new()
            .stream(10_000, Duration::from_millis(20))
            .text(&"word ".repeat(10_000)),
        Turn::hang_before_headers(),
    ];
    for (n, (turn, begins)) in turns.into_iter().zip([true, true, false]).enumerate() {
        llm.reply(turn);
        let body = json!({
            "session_id": format!("s{n}"), "prompt": "go",
            "model_config": { "provider": "custom", "model": "m", "api_endpoint": llm.base() },
        });
        assert_eq!(sidecar.post("/sessions", &body.to_string()).status, 201);
        llm.until_requests(n + 1).await;
        if begins {
            until_output(&sidecar, &format!("s{n}"));
        }
        let asked = Instant::now();
        let stopped = sidecar.post(&format!("/sessions/s{n}/stop"), "");
        assert_eq!(stopped.json()["status"], "cancelled", "{stopped:?}");
        assert!(asked.elapsed() < SOON, "the agent did not hear of it");
        llm.until_cut(n + 1).await;
        llm.until_idle().await;
        let stream = sidecar.get(&format!("/sessions/s{n}/stream")).body;
        assert!(stream.contains(r#""status":"cancelled""#), "{stream}");
    }
    assert_eq!(llm.requests().len(), 3, "nobody called again");
}

/// Follows a session's stream until the model has said something.
fn until_output(sidecar: &Sidecar, id: &str) {
    let mut stream = TcpStream::connect(sidecar.address).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    write!(
        stream,
        "GET /sessions/{id}/stream HTTP/1.1\r\nhost: x\r\n\r\n"
    )
    .unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert!(lines.any(|line| line.unwrap() == "event: output"));
}
