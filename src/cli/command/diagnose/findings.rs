//! What the status of a session and of the engine say about each other. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cli::client::{Engine, Session};
use crate::cli::layout::{bytes, cost, count, duration, plural};
use crate::clock::Timestamp;

/// Silence that is worth a word.
const QUIET: Duration = Duration::from_secs(30);

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

// === impl Level ===

impl Level {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Fact => "fact",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

pub(super) fn findings(
    session: &Session,
    engine: &Engine,
    not_ready: Option<&str>,
    now: Timestamp,
) -> Vec<Finding> {
    let mut found = vec![state(session, now)];
    found.extend(activity(session, now));
    found.extend(model(session));
    found.extend(spent(session));
    found.extend(files(session));
    found.push(the_engine(engine, not_ready));
    found.extend(memory(engine));
    found
}

const fn finding(level: Level, about: &'static str, text: String) -> Finding {
    Finding { level, about, text }
}

fn state(session: &Session, now: Timestamp) -> Finding {
    let turn = if session.turn > 1 {
        format!(", turn {}", session.turn)
    } else {
        String::new()
    };
    let since = format!("created {} ago{turn}", duration(session.age(now)));
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

/// What it does, and how long nothing was heard.
fn activity(session: &Session, now: Timestamp) -> Option<Finding> {
    if !session.is_active() {
        return None;
    }
    let silence = session.silence(now);
    let heard = format!("last heard of {} ago", duration(silence));
    let (level, words) = match (&session.phase, &session.current_tool) {
        (Some(phase), _) => {
            let reason = session.reason.as_deref().unwrap_or("no reason is known");
            (
                Level::Warning,
                format!("{}: {reason}", phase.replace('_', " ")),
            )
        }
        (None, Some(tool)) if silence > QUIET => (
            Level::Warning,
            format!("the tool {tool} runs and prints nothing; `stop` ends it"),
        ),
        (None, Some(tool)) => (Level::Good, format!("runs {tool}")),
        (None, None) if silence > QUIET => (
            Level::Warning,
            "waits for the model, which is silent".to_owned(),
        ),
        (None, None) => (Level::Good, "the model answers, or is about to".to_owned()),
    };
    Some(finding(level, "activity", format!("{words}; {heard}")))
}

fn model(session: &Session) -> Option<Finding> {
    let calls = &session.turn_model_calls;
    if calls.calls == 0 {
        return session.is_active().then(|| {
            finding(
                Level::Fact,
                "model",
                "was not called yet in this turn".to_owned(),
            )
        });
    }
    let number = |calls: u64| usize::try_from(calls).unwrap_or(usize::MAX);
    let mut words = plural(number(calls.calls), "call");
    if calls.retries > 0 {
        write!(words, ", {} of them again", calls.retries).ok();
    }
    if let Some(first) = calls.first_byte_ms {
        write!(
            words,
            ", first answer after {}",
            duration(Duration::from_millis(first))
        )
        .ok();
    }
    match &calls.last_error {
        Some(error) => Some(finding(
            Level::Warning,
            "model",
            format!("{words}; last error: {error}"),
        )),
        None => Some(finding(Level::Good, "model", words)),
    }
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

    fn session(text: &str) -> Session {
        serde_json::from_str(text).unwrap()
    }

    fn of(session: &Session, about: &str) -> Finding {
        let now = Timestamp::parse("2026-01-01T00:10:00Z").unwrap();
        let engine = Engine {
            state: "ready".into(),
            ..Engine::default()
        };
        let found = findings(session, &engine, None, now);
        found
            .into_iter()
            .find(|finding| finding.about == about)
            .unwrap()
    }

    #[test]
    fn a_tool_that_is_silent_is_named_with_what_to_do() {
        let running = session(
            r#"{"status":"running","current_tool":"bash","created_at":"2026-01-01T00:00:00Z","last_activity":"2026-01-01T00:08:00Z"}"#,
        );
        let activity = of(&running, "activity");
        assert_eq!(activity.level, Level::Warning);
        assert_eq!(
            activity.text,
            "the tool bash runs and prints nothing; `stop` ends it; last heard of 2 min ago"
        );
        assert_eq!(of(&running, "session").text, "running; created 10 min ago");
    }

    #[test]
    fn a_failure_is_said_in_the_words_of_the_sidecar() {
        let failed = session(
            r#"{"status":"failed","error":{"code":"provider_auth","error":"the key is not accepted"},"created_at":"2026-01-01T00:00:00Z","turn":2}"#,
        );
        assert_eq!(
            of(&failed, "session").text,
            "failed with provider_auth: the key is not accepted; created 10 min ago, turn 2"
        );
    }
}
