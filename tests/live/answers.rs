//! Providers whose answers are none: OpenCode took each of these for "call me again", at once and for ever.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::llm::wire::{DIALECTS, Wire, unstreamed};
use crate::llm::{Dialect, Identity, Llm, Scope, Turn};
use crate::proxy::Proxy;
use crate::support::Options;
use crate::world::{Seen, World};

/// Whatever a provider sends, its turn has ended by then, with not more calls than this.
const SOON: Duration = Duration::from_mins(1);
const FEW: usize = 10;

/// A world in which each dialect has a provider.
pub(crate) struct Providers {
    pub(crate) world: World,
    /// OpenAI's own address: the only one at which responses are spoken.
    openai: Llm,
    _proxy: Proxy,
    _runtime: tokio::runtime::Runtime,
}

/// One session, and what its provider answers to every call.
struct Case {
    id: String,
    dialect: Dialect,
    answer: Turn,
}

// === impl Providers ===

impl Providers {
    pub(crate) fn start() -> Self {
        Self::start_with(|options| options)
    }

    pub(crate) fn start_with(adapt: impl FnOnce(Options) -> Options) -> Self {
        let identity = Identity::of(&["api.openai.com"]);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let openai = runtime.block_on(Llm::start_tls(&identity));
        let proxy = Proxy::to(openai.addr());
        let options = Options::real();
        let authority = options.dir.path().join("authority.pem");
        std::fs::write(&authority, identity.authority_pem()).unwrap();
        let options = options
            .env("EXTRA_CA_FILE", &authority.to_string_lossy())
            .env("HTTPS_PROXY", &proxy.url())
            .env("MAX_CONCURRENT_SESSIONS", "100");
        Self {
            world: World::of(adapt(options)),
            openai,
            _proxy: proxy,
            _runtime: runtime,
        }
    }

    pub(crate) fn llm(&self, dialect: Dialect) -> &Llm {
        match dialect {
            Dialect::Responses => &self.openai,
            Dialect::Chat | Dialect::Messages => &self.world.llm,
        }
    }

    fn create(&self, case: &Case) {
        self.llm(case.dialect)
            .reply_always_to(Scope::key(&case.id), case.answer.clone());
        self.create_with_key(&case.id, case.dialect, &case.id);
    }

    pub(crate) fn create_with_key(&self, id: &str, dialect: Dialect, key: &str) {
        self.create_with(id, dialect, |config| config["api_key"] = json!(key));
    }

    /// A session of a provider of this dialect; its key is its id.
    pub(crate) fn create_with(&self, id: &str, dialect: Dialect, change: impl FnOnce(&mut Value)) {
        self.world.create_with(id, |body| {
            let config = &mut body["model_config"];
            change(config);
            match dialect {
                Dialect::Chat => {}
                Dialect::Messages => config["provider"] = json!("anthropic"),
                Dialect::Responses => {
                    config["provider"] = json!("openai");
                    config.as_object_mut().unwrap().remove("api_endpoint");
                }
            }
        });
    }

    fn calls(&self, case: &Case) -> usize {
        let requests = self.llm(case.dialect).requests();
        requests.iter().filter(|call| call.key == case.id).count()
    }

    /// Runs all sessions at once; each has ended in time and with few calls.
    fn run(&self, cases: &[Case]) -> Vec<Seen> {
        let begun: Vec<Instant> = cases
            .iter()
            .map(|case| {
                let begun = Instant::now();
                self.create(case);
                begun
            })
            .collect();
        let streams = std::thread::scope(|scope| {
            let threads = cases.iter().zip(begun).map(|(case, begun)| {
                scope.spawn(move || {
                    let seen = self.world.follow(&case.id);
                    (seen, begun.elapsed())
                })
            });
            let threads: Vec<_> = threads.collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        let mut all = Vec::new();
        for (case, (seen, took)) in cases.iter().zip(streams) {
            let calls = self.calls(case);
            assert!(took < SOON, "{} took {took:?}", case.id);
            assert!((1..=FEW).contains(&calls), "{}: {calls} calls", case.id);
            let counted = &self.world.status(&case.id)["model_calls"]["calls"];
            assert_eq!(*counted, json!(calls), "{}", case.id);
            all.push(seen);
        }
        all
    }
}

// === impl Case ===

impl Case {
    fn new(dialect: Dialect, name: &str, answer: Turn) -> Self {
        Self {
            id: format!("{name}-{dialect:?}"),
            dialect,
            answer,
        }
    }

    fn wire(dialect: Dialect, name: &str, wire: Wire) -> Self {
        Self::new(dialect, name, Turn::wire(wire.bytes))
    }
}

/// Another dialect than `dialect`.
fn other(dialect: Dialect) -> Dialect {
    match dialect {
        Dialect::Chat => Dialect::Messages,
        Dialect::Messages => Dialect::Responses,
        Dialect::Responses => Dialect::Chat,
    }
}

fn name(text: &str) -> Value {
    json!(text)
}

/// What came instead of an answer, for every dialect.
fn no_answers(dialect: Dialect) -> Vec<Case> {
    let begun = || Wire::begun(dialect);
    let html = "<!DOCTYPE html><html><body>Please sign in</body></html>";
    let failed = json!({ "error": { "message": "something went wrong", "type": "server_error" } });
    let first = begun().open_text("half").bytes;
    let half = first.get(..first.len() / 3).unwrap().to_owned();
    let bash = name("bash");
    let plain = |kind: &str, body: String| Turn::plain(200, body).header("content-type", kind);
    vec![
        Case::new(dialect, "html", plain("text/html", html.into())),
        Case::new(
            dialect,
            "nothing",
            plain("text/event-stream", String::new()),
        ),
        Case::new(
            dialect,
            "json-error",
            plain("application/json", failed.to_string()),
        ),
        Case::new(
            dialect,
            "unstreamed",
            plain("application/json", unstreamed(dialect).to_string()),
        ),
        Case::wire(
            dialect,
            "only-done",
            Wire::nothing(dialect).raw("data: [DONE]\n\n"),
        ),
        Case::wire(
            dialect,
            "only-comments",
            Wire::nothing(dialect).raw(": hello\n\n"),
        ),
        Case::wire(dialect, "cut", Wire::nothing(dialect).raw(&half)),
        Case::new(dialect, "dropped", Turn::wire(half).drop_here()),
        Case::wire(dialect, "only-begun", begun()),
        Case::wire(dialect, "only-usage", begun().usage()),
        Case::wire(dialect, "no-content", begun().stop()),
        Case::wire(dialect, "no-call", begun().stop_for_calls()),
        Case::wire(
            dialect,
            "other-dialect",
            Wire::begun(other(dialect)).text("hello").stop(),
        ),
        Case::wire(
            dialect,
            "reasoning-only",
            begun().reasoning("I think, and think"),
        ),
        Case::wire(
            dialect,
            "call-without-id",
            begun().call(0, &Value::Null, &bash, "{}").stop_for_calls(),
        ),
        Case::wire(
            dialect,
            "call-without-name",
            begun()
                .call(0, &name("c1"), &Value::Null, "{}")
                .stop_for_calls(),
        ),
        Case::wire(
            dialect,
            "call-cut",
            begun().open_call(0, &name("c1"), &bash, "{\"comm"),
        ),
        Case::wire(
            dialect,
            "same-index",
            begun()
                .open_call(0, &name("c1"), &bash, "{\"command\":\"echo 1\",")
                .open_call(0, &name("c2"), &bash, "{\"command\":\"echo 2\"}")
                .stop_for_calls(),
        ),
    ]
}

fn no_answer_ends_the_turn(dialect: Dialect) {
    let providers = Providers::start();
    let cases = no_answers(dialect);
    let mut wrong = Vec::new();
    for (case, seen) in cases.iter().zip(providers.run(&cases)) {
        let end = seen.last();
        let sentence = end["error"].as_str().unwrap_or_default();
        if end["code"] != "provider_bad_answer" || !sentence.contains("cannot be used") {
            wrong.push(format!("{}: {end}", case.id));
        }
        if case.id.starts_with("html") && !sentence.contains("it begins: <!DOCTYPE html>") {
            wrong.push(format!("{}: {end}", case.id));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_no_chat_completion_ends_the_turn_with_the_reason() {
    no_answer_ends_the_turn(Dialect::Chat);
}

#[test]
fn what_is_no_response_ends_the_turn_with_the_reason() {
    no_answer_ends_the_turn(Dialect::Responses);
}

#[test]
fn what_is_no_message_ends_the_turn_with_the_reason() {
    no_answer_ends_the_turn(Dialect::Messages);
}

/// A text is an answer, and is paid for, also where the provider did not say that it had ended.
#[test]
fn a_text_without_its_end_is_kept_and_ends_the_turn() {
    let providers = Providers::start();
    let unended = |dialect| {
        let text = || Wire::begun(dialect).open_text("All is said.");
        let broken = text().event(&json!({ "type": "content_block_stop", "index": 0 }));
        [
            Case::wire(dialect, "no-end", text()),
            Case::wire(dialect, "no-blank-line", {
                let mut wire = text();
                wire.bytes.truncate(wire.bytes.len() - 1);
                wire
            }),
            Case::wire(dialect, "cut-later", text().raw("data: {\"id\":")),
            Case::wire(
                dialect,
                "done",
                match dialect {
                    Dialect::Chat => text().raw("data: [DONE]\n\n"),
                    Dialect::Responses => text(),
                    Dialect::Messages => broken,
                },
            ),
        ]
    };
    let misnamed = |dialect| {
        let text = || Wire::begun(dialect).text("All is said.");
        [
            Case::wire(dialect, "strange-reason", text().end("eos_token")),
            Case::wire(dialect, "calls-without-call", text().stop_for_calls()),
        ]
    };
    let cases: Vec<Case> = DIALECTS.into_iter().flat_map(unended).collect();
    let strange: Vec<Case> = DIALECTS.into_iter().flat_map(misnamed).collect();
    let (ends, reasons) = (providers.run(&cases), providers.run(&strange));
    for (case, seen) in cases.iter().zip(ends) {
        let end = seen.assert_complete();
        assert_eq!(end["final_message"], "All is said.", "{}", case.id);
        assert_eq!(end["finish_reason"], "unknown", "{}", case.id);
        assert_eq!(providers.calls(case), 1, "{}", case.id);
    }
    for (case, seen) in strange.iter().zip(reasons) {
        let end = seen.assert_complete();
        assert_eq!(end["final_message"], "All is said.", "{}", case.id);
        assert_eq!(end["finish_reason"], "stop", "{}", case.id);
        assert_eq!(providers.calls(case), 1, "{}", case.id);
    }
}

/// OpenCode keeps errors in its log and its database, which every session's tools can read.
#[test]
fn a_key_that_a_streamed_error_quotes_never_reaches_opencode() {
    let providers = Providers::start();
    let cases = [(3, true), (3, false), (40, true), (40, false)];
    let mut keys = Vec::new();
    for dialect in DIALECTS {
        for (length, early) in cases {
            // Nothing else on this machine holds it, and it does not look like a key.
            let mut key = format!("z{:x}q{}{}", keys.len(), "k".repeat(40), std::process::id());
            key.truncate(length);
            let error = format!("quota of {key} and of sk-proj-{key}{key} is used");
            let stream = if early {
                Wire::begun(dialect)
            } else {
                Wire::begun(dialect).open_text("So far so good.")
            };
            let stream = stream.error("strange_error", &error).bytes;
            // In two pieces, the key in both.
            let (head, tail) = stream.split_at(stream.find(&key).unwrap() + 1);
            let turn = Turn::wire(head.to_owned())
                .wait(Duration::from_millis(30))
                .raw(tail.to_owned());
            let id = format!("{dialect:?}-{length}-{early}");
            // A second try gets an answer, where there is one.
            let llm = providers.llm(dialect);
            llm.reply_to(Scope::key(&key), turn);
            llm.reply_to(Scope::key(&key), Turn::new().text("At last."));
            providers.create_with_key(&id, dialect, &key);
            keys.push((id, key));
        }
    }
    for (id, key) in &keys {
        let seen = providers.world.follow(id);
        let told = format!("{:?} {}", seen.0, providers.world.status(id));
        assert!(!told.contains(&format!("of {key} ")), "{told}");
        assert!(
            told.contains("redacted") || told.contains("[key]"),
            "{told}"
        );
    }
    let data = providers.world.data_dir();
    let log = providers.world.log();
    for (id, key) in &keys {
        let words = format!("of {key} ");
        assert!(!log.contains(&words), "{id}: in the log");
        let found = files_with(&data, words.as_bytes());
        assert!(found.is_empty(), "{id}: {found:?}");
    }
}

/// The files below `dir` that hold `words`.
fn files_with(dir: &std::path::Path, words: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.append(&mut files_with(&path, words));
        } else if std::fs::read(&path)
            .is_ok_and(|bytes| memchr::memmem::find(&bytes, words).is_some())
        {
            found.push(path);
        }
    }
    found
}
