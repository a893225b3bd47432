//! The gateway and the child's configuration against the real OpenCode.
//!
//! One boot takes three to four seconds, so there are few of these tests and each proves much.

mod child;

use std::path::Path;
use std::time::Duration;

use futures_util::future::join3;
use serde_json::{Value, json};

use crate::gateway::llm::{Kind, Llm, Recorded, Scope, Turn};
use crate::gateway::{Config, Grant, ProxySettings, Route, Stop};
use crate::model::{Budget, ModelCalls, ModelSpec};
use crate::provider::{Dialect, Upstream};
use crate::secret::Secret;
pub(crate) use child::Child;

pub(crate) fn config() -> Config {
    Config {
        header_timeout: Duration::from_secs(20),
        // Short, because a stream that hangs is part of these tests; long enough for a busy machine.
        idle_timeout: Duration::from_secs(3),
        max_retry_after: Duration::from_secs(1),
        extra_ca_file: None,
        proxy: ProxySettings::default(),
        default_budget: Budget::default(),
    }
}

/// What differs between the sessions.
struct Plan {
    dialect: Dialect,
    key: &'static str,
    model: &'static str,
    temperature: f64,
    max_tokens: u32,
    tools: Option<&'static [&'static str]>,
}

fn plan(dialect: Dialect) -> Plan {
    let (key, model) = match dialect {
        Dialect::Chat => ("KEY-AAAA", "llama-99"),
        Dialect::Responses => ("KEY-CCCC", "gpt-7-super"),
        Dialect::Messages => ("KEY-BBBB", "claude-xyz"),
    };
    Plan {
        dialect,
        key,
        model,
        temperature: 0.5,
        max_tokens: 500,
        tools: None,
    }
}

impl Plan {
    fn route(&self, session: &str, base: &str) -> Route {
        let provider = if self.dialect == Dialect::Messages {
            "anthropic"
        } else {
            "custom"
        };
        let upstream = Upstream::resolve(provider, Some(base), true, true).unwrap();
        Route {
            session: session.to_owned(),
            model: ModelSpec {
                upstream: upstream.speaking(self.dialect),
                name: self.model.to_owned(),
                version: None,
                key: Some(Secret::new(self.key)),
                temperature: Some(self.temperature),
                max_tokens: Some(self.max_tokens),
                context_window: None,
                budget: Budget::default(),
            },
            enabled_tools: self
                .tools
                .map(|tools| tools.iter().map(|tool| (*tool).to_owned()).collect()),
            spent: ModelCalls::default(),
        }
    }
}

/// A session of this plan, and its route.
async fn open(child: &Child, plan: &Plan, base: &str) -> (String, Grant) {
    let session = child.create_session(plan.tools).await;
    let grant = child.gateway.register(plan.route(&session, base));
    (session, grant)
}

/// A delegates, B writes, C looks for secrets and then asks for a tool that it was never offered.
fn script(llm: &Llm, [a, b, c]: [&Plan; 3]) {
    let bash = |command: &str| json!({ "command": command, "description": "x" });
    let delegate =
        json!({ "description": "sub", "prompt": "the delegated work", "subagent_type": "general" });
    llm.reply_to(
        Scope::key(a.key),
        Turn::new().text("I delegate.").tool("task", delegate),
    );
    let below = Scope::prompt("the delegated work");
    llm.reply_to(
        below.clone(),
        Turn::new().tool("bash", bash("echo from-the-subagent")),
    );
    llm.reply_to(below, Turn::new().text("delegated work done"));
    llm.reply_to(Scope::key(a.key), Turn::new().text("A is done"));

    let write = |path: &str, content: &str| json!({ "filePath": path, "content": content });
    let written = Turn::new()
        .reasoning("hm")
        .tool("write", write("b.txt", "from b"));
    llm.reply_to(Scope::key(b.key), written);
    llm.reply_to(Scope::key(b.key), Turn::new().text("B is done"));

    let snoop =
        "env; tr '\\0' '\\n' < /proc/self/environ; echo mark=$SIDECAR_CHILD_OF; echo end-of-snoop";
    llm.reply_to(
        Scope::model(c.model),
        Turn::new().reasoning("hm").tool("bash", bash(snoop)),
    );
    llm.reply_to(
        Scope::model(c.model),
        Turn::new().tool("write", write("c.txt", "no")),
    );
    llm.reply_to(Scope::model(c.model), Turn::new().text("C is done"));
}

#[tokio::test]
async fn three_sessions_at_once_call_with_their_own_values() {
    let llm = Llm::start().await;
    let child = Child::start(config()).await;
    let a = Plan {
        temperature: 0.1,
        max_tokens: 111,
        tools: Some(&["bash", "edit", "task", "write"]),
        ..plan(Dialect::Chat)
    };
    let b = Plan {
        temperature: 0.9,
        max_tokens: 999,
        tools: Some(&["edit", "read", "write"]),
        ..plan(Dialect::Messages)
    };
    let c = Plan {
        max_tokens: 555,
        tools: Some(&["bash"]),
        ..plan(Dialect::Responses)
    };
    script(&llm, [&a, &b, &c]);

    let base = llm.base();
    let opened = join3(
        open(&child, &a, &base),
        open(&child, &b, &base),
        open(&child, &c, &base),
    );
    let ((sa, ga), (sb, gb), (sc, gc)) = opened.await;
    let prompts = join3(
        child.prompt(&sa, &ga, "go a"),
        child.prompt(&sb, &gb, "go b"),
        child.prompt(&sc, &gc, "go c"),
    );
    let (ra, rb, rc) = prompts.await;
    for (answer, text) in [(&ra, "A is done"), (&rb, "B is done"), (&rc, "C is done")] {
        assert_eq!(last_text(answer), text, "{answer}");
    }
    assert_eq!(
        (ga.usage().calls, gb.usage().calls, gc.usage().calls),
        (4, 2, 3)
    );
    assert_eq!(ga.usage().total_tokens, 480);

    let calls = llm.requests();
    assert!(
        calls.iter().all(|call| call.kind == Kind::Ordinary),
        "no call but the agents' own"
    );
    assert_eq!((calls.len(), llm.turns_left()), (9, 0));
    for plan in [&a, &b, &c] {
        let own: Vec<_> = calls.iter().filter(|call| call.key == plan.key).collect();
        assert!(!own.is_empty());
        for call in own {
            assert_call(plan, call, child.token.expose());
        }
    }
    assert_delegated(&a, &calls);
    assert_eq!(
        std::fs::read_to_string(child.workspace().join("b.txt")).unwrap(),
        "from b"
    );
    assert_kept_from_the_shell(&child, &c, &calls);
    assert!(!child.workspace().join("c.txt").exists());
    for secret in [
        a.key,
        b.key,
        c.key,
        child.token.expose(),
        child.password.expose(),
    ] {
        assert_nowhere(child.root(), secret);
    }
}

fn assert_call(plan: &Plan, call: &Recorded, token: &str) {
    assert_eq!(call.model(), plan.model);
    assert_eq!(call.body["temperature"], plan.temperature);
    assert_eq!(
        call.limit().map(|(_, limit)| limit),
        Some(plan.max_tokens.into())
    );
    let (tools, enabled) = (call.tools(), plan.tools.unwrap());
    assert!(
        !tools.is_empty() && tools.iter().all(|tool| enabled.contains(&tool.as_str())),
        "{tools:?}"
    );
    assert!(!format!("{:?}", call.headers).contains(token));
    assert!(!call.headers.contains_key("x-session-id"));
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

/// The shell showed no secret, and a tool that is not enabled did not run.
fn assert_kept_from_the_shell(child: &Child, plan: &Plan, calls: &[Recorded]) {
    let own: Vec<_> = calls
        .iter()
        .filter(|call| call.key == plan.key)
        .map(|call| String::from_utf8_lossy(&call.bytes).into_owned())
        .collect();
    assert!(
        own[1].contains("end-of-snoop") && own[1].contains("mark=marked"),
        "{}",
        own[1]
    );
    let names = [
        "OPENCODE_CONFIG_CONTENT",
        "OPENCODE_SERVER_PASSWORD",
        "sidecar-secret",
    ];
    for hidden in names
        .into_iter()
        .chain([child.token.expose(), child.password.expose()])
    {
        assert!(!own[1].contains(hidden), "the shell sees {hidden}");
    }
    assert!(
        own[2].contains("tool write is not enabled for this session"),
        "{}",
        own[2]
    );
}

#[tokio::test]
async fn the_demo_plays_and_opencode_understands_our_errors() {
    let llm = Llm::start().await;
    let child = Child::start(config()).await;
    // Twice in one workspace: the second time the file is there already.
    play_the_demo(&child).await;
    play_the_demo(&child).await;
    let (chat, responses, messages) = (Dialect::Chat, Dialect::Responses, Dialect::Messages);
    join3(
        recover(&child, &llm, chat),
        recover(&child, &llm, responses),
        recover(&child, &llm, messages),
    )
    .await;
    join3(
        refuse(&child, &llm, chat),
        refuse(&child, &llm, responses),
        refuse(&child, &llm, messages),
    )
    .await;
}

async fn play_the_demo(child: &Child) {
    let session = child.create_session(None).await;
    let upstream = Upstream::resolve("demo", None, false, true).unwrap();
    let route = plan(Dialect::Chat).route(&session, "http://x.test/v1");
    let mut route = route;
    (route.model.upstream, route.model.key) = (upstream, None);
    let grant = child.gateway.register(route);
    let answer = child.prompt(&session, &grant, "show me").await;
    assert!(
        last_text(&answer).starts_with("That was the demo."),
        "{answer}"
    );
    let written = std::fs::read_to_string(child.workspace().join("demo.md")).unwrap();
    assert!(written.starts_with("# Demo"));
    let log = child.messages(&session).await.to_string();
    assert!(log.contains("This is a demo: no model is asked"));
    assert!(!log.contains(r#""status":"error""#), "{log}");
    assert_eq!(grant.usage().calls, 4);
}

/// A stream that stalls and a rate limit are asked again.
async fn recover(child: &Child, llm: &Llm, dialect: Dialect) {
    let plan = plan(dialect);
    llm.reply_to(Scope::key(plan.key), Turn::new().text("half").hang_here());
    llm.reply_to(
        Scope::key(plan.key),
        Turn::error(429, "slow down").header("retry-after", "9999"),
    );
    llm.reply_to(Scope::key(plan.key), Turn::new().text("whole"));
    let (session, grant) = open(child, &plan, &llm.base()).await;
    let answer = child.prompt(&session, &grant, "go").await;
    assert_eq!(last_text(&answer), "whole", "{dialect:?} {answer}");
    assert_eq!(grant.usage().calls, 3);
}

/// A refusal for good ends the turn at once.
async fn refuse(child: &Child, llm: &Llm, dialect: Dialect) {
    let plan = plan(dialect);
    let nothing = json!({ "command": "true", "description": "x" });
    llm.reply_to(Scope::key(plan.key), Turn::new().tool("bash", nothing));
    let session = child.create_session(None).await;
    let budget = Budget {
        max_calls: Some(1),
        max_total_tokens: None,
    };
    let mut route = plan.route(&session, &llm.base());
    route.model.budget = budget;
    let grant = child.gateway.register(route);
    let of_this_key = || {
        llm.requests()
            .iter()
            .filter(|call| call.key == plan.key)
            .count()
    };
    let before = of_this_key();
    let answer = child.prompt(&session, &grant, "go").await;
    let error = &answer["info"]["error"]["data"];
    assert_eq!(error["statusCode"], 402, "{answer}");
    assert_eq!(error["isRetryable"], false);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("budget is spent")
    );
    assert_eq!(grant.stopped(), Some(Stop::BudgetExceeded));
    assert_eq!(of_this_key(), before + 1);
}

/// The last text of an answered prompt.
fn last_text(answer: &Value) -> &str {
    let parts = answer["parts"].as_array().map_or(&[][..], Vec::as_slice);
    parts
        .iter()
        .rev()
        .find_map(|part| part["text"].as_str())
        .unwrap_or_default()
}

/// No file below `folder` holds `secret`.
fn assert_nowhere(folder: &Path, secret: &str) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            assert_nowhere(&path, secret);
        } else {
            let bytes = std::fs::read(&path).unwrap_or_default();
            let found = memchr::memmem::find(&bytes, secret.as_bytes()).is_some();
            assert!(!found, "{} holds {secret}", path.display());
        }
    }
}
