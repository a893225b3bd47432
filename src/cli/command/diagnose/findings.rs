//! What the diagnosis and the status of a session, and the engine's, come to for a person: a few lines. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cli::client::{Diagnosis, Engine, PendingAsk, Session};
use crate::cli::layout::{bytes, cost, count, duration, plural};
use crate::clock::Timestamp;

/// Processes that are named; of more there is a number.
const MAX_PROCESSES: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Good,
    Fact,
    Warning,
    Bad,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) about: &'static str,
    pub(super) text: String,
}

/// What the sidecar said.
pub(super) struct Seen<'a> {
    pub(super) session: &'a Session,
    pub(super) diagnosis: &'a Diagnosis,
    pub(super) engine: &'a Engine,
    /// Why no work is taken.
    pub(super) not_ready: Option<&'a str>,
    pub(super) now: Timestamp,
}

const fn finding(level: Level, about: &'static str, text: String) -> Finding {
    Finding { level, about, text }
}

// === impl Seen ===

impl Seen<'_> {
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut found = vec![self.state()];
        let asks = &self.session.asks;
        found.extend(asks.iter().map(|ask| self.ask(ask)));
        // Until a person has answered, nothing else happens.
        if self.session.is_active() && asks.is_empty() {
            found.push(self.activity());
            found.extend(self.next());
        }
        let also = self.diagnosis.also.iter();
        found.extend(also.map(|also| finding(Level::Warning, "also", also.sentence.clone())));
        found.extend(self.model());
        found.extend(self.processes());
        found.extend(self.queue());
        found.extend(spent(self.session));
        found.extend(files(self.session));
        found.push(the_engine(self.engine, self.not_ready));
        found.extend(memory(self.engine));
        found
    }

    fn state(&self) -> Finding {
        let session = self.session;
        let turn = if session.turn > 1 {
            format!(", turn {}", session.turn)
        } else {
            String::new()
        };
        let ends = self.diagnosis.turn_ends_at.as_deref();
        let ends = ends.map_or(String::new(), |at| {
            format!("; the turn may take {} more", self.until(at))
        });
        let age = duration(session.age(self.now));
        let since = format!("created {age} ago{turn}{ends}");
        let (level, words) = match (session.status.as_str(), &session.error) {
            ("failed", Some(error)) => (
                Level::Bad,
                format!("failed with {}: {}", error.code, error.error),
            ),
            ("failed", None) => (Level::Bad, "failed".to_owned()),
            ("completed", _) => (Level::Good, "completed".to_owned()),
            ("cancelled", _) => (Level::Fact, "cancelled".to_owned()),
            ("waiting_input", _) => (Level::Warning, "waits for an answer".to_owned()),
            ("pending", _) => (
                Level::Warning,
                "waits for the agent to take the prompt".to_owned(),
            ),
            (state, _) => (Level::Good, state.to_owned()),
        };
        finding(level, "session", format!("{words}; {since}"))
    }

    fn activity(&self) -> Finding {
        let level = match self.diagnosis.cause.as_str() {
            "working" | "answering" | "tool_running" | "starting" | "compacting" | "stopping" => {
                Level::Good
            }
            "waiting_for_provider" => Level::Fact,
            _ => Level::Warning,
        };
        let since = self.diagnosis.since.as_deref().and_then(Timestamp::parse);
        let since = since.map(|since| duration(self.now.since(since)));
        let since = since.map_or(String::new(), |since| format!("; for {since}"));
        finding(
            level,
            "activity",
            format!("{}{since}", self.diagnosis.sentence),
        )
    }

    fn next(&self) -> Option<Finding> {
        let next = self.diagnosis.next.as_ref()?;
        let at = next.at.as_deref();
        let at = at.map_or(String::new(), |at| format!("in {}: ", self.until(at)));
        Some(finding(Level::Fact, "next", format!("{at}{}", next.what)))
    }

    fn ask(&self, ask: &PendingAsk) -> Finding {
        let what = match (&*ask.kind, &ask.permission) {
            ("permission", Some(permission)) => format!("whether it may use {permission}"),
            ("permission", None) => "for a permission".to_owned(),
            _ => "a question".to_owned(),
        };
        let left = ask.deadline.as_deref().map(|at| self.until(at));
        let left = left.map_or(String::new(), |left| format!(", {left} left"));
        let id = &self.session.id;
        finding(
            Level::Warning,
            "asks",
            format!("{what}{left}; `attach {id}` answers it"),
        )
    }

    fn model(&self) -> Option<Finding> {
        let calls = &self.diagnosis.model_calls;
        let mut words = Vec::new();
        if let Some(model) = &self.diagnosis.model {
            let state = match model.state.as_str() {
                "asked" => "was asked",
                "answering" => "answers",
                "retry" => "is asked again soon",
                _ => "is idle",
            };
            words.push(format!("{} {state}", model.provider));
        }
        if calls.calls > 0 {
            words.push(plural(number(calls.calls), "call"));
        } else if self.session.is_active() {
            words.push("not called yet in this turn".to_owned());
        }
        if calls.retries > 0 {
            words.push(format!("{} of them again", calls.retries));
        }
        if let Some(first) = calls.first_byte_ms {
            let first = duration(Duration::from_millis(first));
            words.push(format!("first answer after {first}"));
        }
        if words.is_empty() {
            return None;
        }
        let mut words = words.join(", ");
        let level = match &calls.last_error {
            Some(error) => {
                write!(words, "; last error: {error}").ok();
                Level::Warning
            }
            None => Level::Good,
        };
        Some(finding(level, "model", words))
    }

    fn processes(&self) -> Option<Finding> {
        let processes = &self.diagnosis.processes;
        if processes.is_empty() {
            return None;
        }
        let shown = processes.iter().take(MAX_PROCESSES).map(|process| {
            let state = process.state.replace('_', " ");
            let cpu = duration(Duration::from_secs_f64(process.cpu_seconds.clamp(0.0, 1e9)));
            format!(
                "{} (pid {}, {state}, {cpu} of CPU)",
                process.name, process.pid
            )
        });
        let mut words = shown.collect::<Vec<_>>().join(", ");
        if processes.len() > MAX_PROCESSES {
            write!(words, " and {} more", processes.len() - MAX_PROCESSES).ok();
        }
        Some(finding(Level::Fact, "runs", words))
    }

    fn queue(&self) -> Option<Finding> {
        let Diagnosis {
            queued, readers, ..
        } = *self.diagnosis;
        let prompts = (queued > 0).then(|| format!("{} waiting", plural(queued, "prompt")));
        let streams = (readers > 0).then(|| format!("{} reading", plural(readers, "stream")));
        let words: Vec<String> = prompts.into_iter().chain(streams).collect();
        (!words.is_empty()).then(|| finding(Level::Fact, "queue", words.join(", ")))
    }

    /// How long it is until then.
    fn until(&self, at: &str) -> String {
        let left = Timestamp::parse(at).map(|at| at.since(self.now).as_secs());
        match left {
            None | Some(0) => "a moment".to_owned(),
            Some(seconds) => duration(Duration::from_secs(seconds)).replace(".0 s", " s"),
        }
    }
}

fn number(calls: u64) -> usize {
    usize::try_from(calls).unwrap_or(usize::MAX)
}

fn spent(session: &Session) -> Option<Finding> {
    let tokens = session.model_calls.total_tokens;
    if tokens == 0 {
        return None;
    }
    let cost = cost(session.usage.cost).map_or(String::new(), |cost| format!(", {cost}"));
    Some(finding(
        Level::Fact,
        "spent",
        format!("{} tokens{cost}", count(tokens)),
    ))
}

fn files(session: &Session) -> Option<Finding> {
    let changed = session.files_modified.len();
    (changed > 0).then(|| {
        finding(
            Level::Fact,
            "files",
            format!("{} changed", plural(changed, "file")),
        )
    })
}

fn the_engine(engine: &Engine, not_ready: Option<&str>) -> Finding {
    let version = engine
        .version
        .as_deref()
        .map_or(String::new(), |version| format!(" OpenCode {version}"));
    let up = engine.uptime_secs.map_or(String::new(), |up| {
        format!(", up for {}", duration(Duration::from_secs(up)))
    });
    let restarts = match engine.restarts {
        0 => String::new(),
        restarts => format!(", restarts: {restarts}"),
    };
    let last = engine
        .last_error
        .as_deref()
        .map_or(String::new(), |error| format!("; last error: {error}"));
    match not_ready {
        None if engine.last_error.is_some() => finding(
            Level::Warning,
            "engine",
            format!("ready{version}{up}{restarts}{last}"),
        ),
        None => finding(
            Level::Good,
            "engine",
            format!("ready{version}{up}{restarts}"),
        ),
        Some(reason) => finding(
            Level::Bad,
            "engine",
            format!("takes no work: {reason}{restarts}{last}"),
        ),
    }
}

fn memory(engine: &Engine) -> Option<Finding> {
    let memory = engine.memory.as_ref()?;
    let words = format!(
        "{} of {}",
        bytes(memory.used_bytes),
        bytes(memory.limit_bytes)
    );
    Some(match memory.pressure.as_str() {
        "normal" | "" => finding(Level::Good, "memory", words),
        pressure => finding(
            Level::Warning,
            "memory",
            format!("{words}, pressure {pressure}"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(session: &str, diagnosis: &str) -> Vec<String> {
        let engine = Engine {
            state: "ready".into(),
            ..Engine::default()
        };
        let seen = Seen {
            session: &serde_json::from_str(session).unwrap(),
            diagnosis: &serde_json::from_str(diagnosis).unwrap(),
            engine: &engine,
            not_ready: None,
            now: Timestamp::parse("2026-01-01T00:10:00Z").unwrap(),
        };
        let found = seen.findings();
        let line =
            |finding: Finding| format!("{:?} {}: {}", finding.level, finding.about, finding.text);
        found.into_iter().map(line).collect()
    }

    #[test]
    fn a_turn_that_waits_says_for_what_since_when_and_what_comes() {
        let session =
            r#"{"session_id":"a","status":"running","created_at":"2026-01-01T00:00:00Z","turn":2}"#;
        let diagnosis = r#"{"cause":"waiting_for_provider","sentence":"openai has not begun its answer","since":"2026-01-01T00:09:30Z",
            "next":{"at":"2026-01-01T00:11:30Z","what":"the call is given up"},"also":[{"cause":"memory_pressure","sentence":"memory is short"}],
            "turn_ends_at":"2026-01-01T01:00:00Z","model":{"provider":"openai","state":"asked"},"model_calls":{"calls":2,"first_byte_ms":300},
            "processes":[{"pid":7,"name":"make","state":"waiting_for_disk","cpu_seconds":1.5}],"queued":1,"readers":2}"#;
        assert_eq!(
            lines(session, diagnosis),
            [
                "Good session: running; created 10 min ago, turn 2; the turn may take 50 min more",
                "Fact activity: openai has not begun its answer; for 30 s",
                "Fact next: in 1 min 30 s: the call is given up",
                "Warning also: memory is short",
                "Good model: openai was asked, 2 calls, first answer after 300 ms",
                "Fact runs: make (pid 7, waiting for disk, 1.5 s of CPU)",
                "Fact queue: 1 prompt waiting, 2 streams reading",
                "Good engine: ready",
            ]
        );
    }

    #[test]
    fn a_question_says_how_to_answer_it() {
        let session = r#"{"session_id":"a","status":"waiting_input","created_at":"2026-01-01T00:00:00Z",
            "asks":[{"kind":"permission","permission":"bash","deadline":"2026-01-01T00:14:00Z"}]}"#;
        let found = lines(session, r#"{"cause":"working","sentence":"it works"}"#);
        assert_eq!(
            found[1],
            "Warning asks: whether it may use bash, 4 min left; `attach a` answers it"
        );
    }

    #[test]
    fn a_failure_is_said_in_the_words_of_the_sidecar() {
        let session = r#"{"status":"failed","error":{"code":"provider_auth","error":"the key is not accepted"},"created_at":"2026-01-01T00:00:00Z","turn":2}"#;
        assert_eq!(
            lines(session, r#"{"cause":"ended","sentence":"x"}"#)[0],
            "Bad session: failed with provider_auth: the key is not accepted; created 10 min ago, turn 2"
        );
    }
}
