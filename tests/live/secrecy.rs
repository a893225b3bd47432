//! The agent looks for secrets, with all that a shell of its user can do. It finds no provider key, and,
//! where the sidecar runs as the image runs it, nothing else either.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::insider;
use crate::llm::{Llm, Scope, Turn};
use crate::place::Place;
use crate::support::otlp::Collector;
use crate::support::{Options, Sidecar, skipped};

/// Everything there is to find, as the one who may look everywhere sees it.
struct Secrets {
    /// One key per session: the seeker's, a finished one's, a running one's, a refused one's.
    keys: [String; 4],
    token: String,
    password: String,
    shared: String,
    gateway: String,
}

/// Keys that exist nowhere else on this machine. The last does not look like one.
fn new_keys() -> [String; 4] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let unique = format!("{}q{}", now.as_nanos(), std::process::id());
    ["sk-seeker", "sk-finished", "sk-running", "quiet"].map(|name| format!("{name}-{unique}"))
}

impl Secrets {
    fn of(sidecar: &Sidecar, keys: [String; 4]) -> Self {
        let (gateway, token) = insider::gateway(sidecar);
        Self {
            keys,
            token,
            password: insider::password(sidecar),
            shared: sidecar.token.clone().unwrap(),
            gateway,
        }
    }

    /// What is between sidecar and child, and in no environment, argument or file.
    fn inner(&self) -> [&str; 2] {
        [&self.token, &self.password]
    }
}

/// `POST /sessions` against the scripted model.
fn session(id: &str, key: &str, llm: &Llm) -> Value {
    json!({
        "session_id": id,
        "prompt": format!("go {id}"),
        "model_config": {
            "provider": "custom", "model": "m", "api_key": key, "api_endpoint": llm.base(),
            "temperature": 0.5, "max_tokens": 500, "enabled_tools": ["bash"],
        },
    })
}

/// Creates it and gives OpenCode's id.
fn create(sidecar: &Sidecar, body: &Value) -> String {
    let created = sidecar.post("/sessions", &body.to_string());
    assert_eq!(created.status, 201, "{created:?}");
    created.json()["remote_session_id"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The whole stream of a session that comes to its end.
fn stream(sidecar: &Sidecar, id: &str) -> String {
    let streamed = sidecar.get(&format!("/sessions/{id}/stream"));
    assert_eq!(streamed.status, 200, "{streamed:?}");
    streamed.body
}

const LOOK_AROUND: &str = "env; cat /proc/self/environ; echo; cat /proc/$PPID/environ; echo";

const LOOK_AT_PROCESSES: &str = r"for p in /proc/[0-9]*; do
  timeout 2 cat $p/environ $p/cmdline; echo; ls -l $p/cwd $p/root $p/exe
done";

/// Memory and open files. Not done as root, who would take bytes out of pipes that others wait for.
const LOOK_INSIDE: &str = r#"for p in SIDECAR CHILD; do
  echo "inside $p"
  timeout 2 head -5 /proc/$p/maps
  timeout 2 dd if=/proc/$p/mem bs=4096 count=1 skip=1024
  ls -l /proc/$p/fd
  for f in /proc/$p/fd/* /proc/$p/task/*/environ; do timeout 1 head -c 65536 "$f"; done
done"#;

const LOOK_AT_DISK: &str = r#"grep -raosE '.{0,80}(sk-|Bearer |apiKey|api_key|[Pp]assword|SECRET|[0-9a-f]{64}).{0,160}' \
  --exclude='loot*' "$HOME" 'DATA' 'WORKSPACE' /proc/self/root/etc/opencode | head -c 1000000"#;

/// With no bearer, a wrong one, and every word found so far that could be one.
const CALL_THE_GATEWAY: &str = r#"call() {
  curl -s -m 10 -H "x-session-id: $2" -H "authorization: Bearer $1" -H 'content-type: application/json' \
    -d '{"model":"auto-128k","messages":[{"role":"user","content":"a stolen call"}]}' \
    -w "\ngateway $2 %{http_code}\n" GATEWAY/chat/completions
}
for t in '' dummy $(grep -aoE '[0-9a-f]{64}' loot | sort -u | head -40); do
  for s in $SIDECAR_SESSION FINISHED RUNNING; do call "$t" $s; done
done
curl -s -m 10 http://PUBLIC/sessions; echo 'end of search'"#;

/// The commands, each of which also keeps what it saw in the workspace.
fn search(sidecar: &Sidecar, secrets: &Secrets, ids: [&str; 2], root: bool) -> Vec<String> {
    let steps = if root {
        vec![
            LOOK_AROUND,
            LOOK_AT_PROCESSES,
            LOOK_AT_DISK,
            CALL_THE_GATEWAY,
        ]
    } else {
        vec![
            LOOK_AROUND,
            LOOK_AT_PROCESSES,
            LOOK_INSIDE,
            LOOK_AT_DISK,
            CALL_THE_GATEWAY,
        ]
    };
    let fill = |step: &str| {
        let step = step
            .replace("SIDECAR CHILD", "SIDECAR_PID CHILD_PID")
            .replace("SIDECAR_PID", &sidecar.pid().to_string())
            .replace("CHILD_PID", &sidecar.engine_pid().to_string())
            .replace("DATA", &sidecar.data_dir().to_string_lossy())
            .replace("WORKSPACE", &sidecar.workspace().to_string_lossy())
            .replace("GATEWAY", &secrets.gateway)
            .replace("FINISHED", ids[0])
            .replace("RUNNING", ids[1])
            .replace("PUBLIC", &sidecar.address.to_string());
        format!("{{ {step}\n}} 2>&1 | tee -a loot")
    };
    steps.into_iter().map(fill).collect()
}

/// What the sidecar and OpenCode said and wrote while the agent searched.
struct Traces {
    loot: String,
    /// Streams, status, lists, errors, and the log.
    said: String,
}

/// Runs the search. `root` says as whom.
async fn run(options: Options, root: bool) {
    let llm = Llm::start().await;
    let shared = format!("shared-{:x}", std::process::id());
    let collector = Collector::start();
    let audit = options.dir.path().join("data/audit.log");
    let options = options
        .env("OPENCODE_SHARED_SECRET", &shared)
        .env("LOG_LEVEL", "trace")
        .env("AUDIT_FILE", audit.to_str().unwrap())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        // Even where what was said is asked for.
        .env("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true");
    let mut sidecar = if root {
        options.start()
    } else {
        Place::NOBODY.start(options)
    };
    sidecar.token = Some(shared);
    let sidecar = sidecar.ready();
    let secrets = Secrets::of(&sidecar, new_keys());
    let traces = traces(&sidecar, &secrets, &llm, root).await;

    collector.until("invoke_agent opencode", 4);
    assert!(collector.holds("Incorrect API key") || collector.holds("end of search"));
    assert!(fs::read_to_string(&audit).unwrap().contains("tool.run"));
    for key in &secrets.keys {
        // The file of the audit log is in the data folder.
        assert!(!collector.holds(key), "a span holds {key}");
        assert!(!traces.loot.contains(key), "the agent found {key}");
        assert!(!traces.said.contains(key), "we said {key}");
        for call in llm.requests() {
            assert!(memchr::memmem::find(&call.bytes, key.as_bytes()).is_none());
        }
        assert_nowhere(&sidecar.data_dir(), key);
        assert_nowhere(&sidecar.workspace(), key);
    }
    let log = sidecar.log();
    assert!(!log.contains(&secrets.shared), "the log holds the secret");
    // The sandbox takes root's capabilities from the agent, and closes the sidecar's own environment to it.
    assert!(!traces.loot.contains(&secrets.shared), "the agent found it");
    let kept = secrets.inner().into_iter();
    for secret in kept.chain((!root).then_some(secrets.shared.as_str())) {
        assert!(!log.contains(secret), "the log holds {secret}");
        assert!(!traces.loot.contains(secret), "the agent found {secret}");
        assert!(!traces.said.contains(secret), "we said {secret}");
        assert_nowhere(&sidecar.data_dir(), secret);
        assert_nowhere(&sidecar.workspace(), secret);
    }
    let warned = sidecar.log().matches("running as root").count();
    assert_eq!(warned, usize::from(root), "said once at start, where true");
}

async fn traces(sidecar: &Sidecar, secrets: &Secrets, llm: &Llm, root: bool) -> Traces {
    let [seeker, finished, running, refused] = &secrets.keys;
    let mut said = errors(sidecar, llm, seeker);

    llm.reply_to(Scope::key(finished), Turn::new().text("at once"));
    let finished_id = create(sidecar, &session("finished", finished, llm));
    said += &stream(sidecar, "finished");

    let quote = format!("Incorrect API key provided: {refused}. It is {refused}, really.");
    llm.reply_to(Scope::key(refused), Turn::error(401, &quote));
    create(sidecar, &session("refused", refused, llm));
    let streamed = stream(sidecar, "refused");
    assert!(
        streamed.contains("Incorrect API key provided"),
        "{streamed}"
    );
    said += &streamed;

    llm.reply_to(Scope::key(running), Turn::new().text("waiting").hang_here());
    let running_id = create(sidecar, &session("running", running, llm));
    llm.until_requests(3).await;

    for command in search(sidecar, secrets, [&finished_id, &running_id], root) {
        let step = json!({ "command": command, "description": "search", "timeout": 60_000 });
        llm.reply_to(Scope::key(seeker), Turn::new().tool("bash", step));
    }
    llm.reply_to(Scope::key(seeker), Turn::new().text("searched"));
    let seeker_id = create(sidecar, &session("seeker", seeker, llm));
    let streamed = stream(sidecar, "seeker");
    assert!(streamed.contains("event: complete"), "{streamed}");
    said += &streamed;
    assert_eq!(sidecar.send("DELETE", "/sessions/running", "").status, 200);
    said += &stream(sidecar, "running");

    for id in ["seeker", "finished", "refused", "running"] {
        said += &sidecar.get(&format!("/sessions/{id}/status")).body;
    }
    said += &sidecar.get("/sessions").body;
    said += &sidecar.get("/engine/status").body;
    said += &sidecar.log();

    let loot = fs::read(sidecar.workspace().join("loot")).unwrap();
    let loot = String::from_utf8_lossy(&loot).into_owned();
    assert_searched(&loot, [&seeker_id, &finished_id, &running_id], root);
    Traces { loot, said }
}

/// Bodies that are refused, each with a key in it.
fn errors(sidecar: &Sidecar, llm: &Llm, key: &str) -> String {
    let good = session("errors", key, llm);
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body["model_config"][field] = value;
        body.to_string()
    };
    let cut = good.to_string();
    let bodies = [
        with("provider", json!("nobody")),
        with("temperature", json!(3)),
        with("api_key", json!(format!("{key} {key}"))),
        with("api_key", json!([key])),
        with("api_key", json!({ key: 1 })),
        with("enabled_tools", json!("bash")),
        cut.split_at(cut.len() - 2).0.to_owned(),
    ];
    let mut said = String::new();
    for body in bodies {
        let refused = sidecar.post("/sessions", &body);
        assert_eq!(refused.status, 400, "{refused:?}");
        said += &refused.body;
    }
    said
}

/// The search took place, and the gateway answered as it should.
fn assert_searched(loot: &str, ids: [&str; 3], root: bool) {
    assert!(loot.contains("SIDECAR_SESSION=") && loot.contains("end of search"));
    let answers = |id: &str| -> Vec<&str> {
        let said = format!("gateway {id} ");
        loot.lines()
            .filter_map(|line| line.strip_prefix(&said))
            .collect()
    };
    for answers in ids.map(answers) {
        assert!(answers.len() >= 2, "it was called");
        assert!(answers.iter().all(|code| *code == "403"), "{answers:?}");
    }
    if !root {
        assert!(loot.contains("/mem': Permission denied"), "memory is shut");
        assert!(loot.contains("/maps' for reading: Permission denied"));
    }
    assert!(
        loot.contains(r#""code":"unauthorized""#),
        "the public door asks for the shared secret"
    );
}

/// No file below `folder` holds `secret`.
pub(crate) fn assert_nowhere(folder: &Path, secret: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            assert_nowhere(&path, secret);
            continue;
        }
        // A file may go away while we look.
        let bytes = fs::read(&path).unwrap_or_default();
        let found = memchr::memmem::find(&bytes, secret.as_bytes()).is_some();
        assert!(!found, "{} holds {secret}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_nobody_the_agent_finds_no_secret_at_all() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root may make the mount namespace this needs");
        return;
    }
    run(Options::real(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_root_no_provider_key_is_in_environments_files_or_answers() {
    if !rustix::process::geteuid().is_root() {
        skipped("not root");
        return;
    }
    run(Options::real(), true).await;
}
