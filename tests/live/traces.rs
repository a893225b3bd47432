//! A turn with everything that can happen to it is one trace, in a collector that nobody here wrote.

use std::collections::{HashMap, HashSet};

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;

use crate::llm::{Scope, Turn};
use crate::support::otlp::{Collector, Rotel, hex, text, tree};
use crate::support::{Options, http, processes, skipped};
use crate::world::{World, bash};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn world(endpoint: &str, protocol: &str) -> World {
    let options = Options::real()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20of-otlp",
        )
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("ENGINE_BACKOFF_MIN", "50ms");
    World::of(options)
}

/// A retry, three tools, a subagent with one of its own, and the death of the child in the middle.
fn script(world: &World) {
    let part =
        json!({ "description": "a part", "prompt": "the part of it", "subagent_type": "general" });
    world.script(
        "traced",
        [
            Turn::error(429, "slow down").header("retry-after", "1"),
            Turn::new().tool("bash", bash("echo root=$TRACEPARENT")),
            Turn::new().tool("task", part),
            Turn::new().tool("bash", bash("echo up; sleep 1018")),
            Turn::new().text("All done."),
        ],
    );
    let of_part = Scope::prompt("the part of it");
    world.llm.reply_to(
        of_part.clone(),
        Turn::new().tool("bash", bash("echo sub=$TRACEPARENT")),
    );
    world.llm.reply_to(of_part, Turn::new().text("Part done."));
}

/// The id of its parent's span, out of what a command printed.
fn printed(said: &str, name: &str) -> String {
    let marker = format!("{name}=00-{TRACE}-");
    let (_, rest) = said.split_once(&marker).unwrap_or_else(|| panic!("{said}"));
    let (span, flags) = rest.trim_end().split_at(16);
    assert!(flags.starts_with("-01"), "{said}");
    span.to_owned()
}

/// All are of the client's trace, have ids of their own, and lie below one another.
fn assert_connected(spans: &[Span]) {
    let ids: HashSet<&[u8]> = spans.iter().map(|span| &*span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "{}", tree(spans));
    for span in spans {
        let begins = hex(&span.parent_span_id) == "00f067aa0ba902b7";
        let hangs = ids.contains(&*span.parent_span_id) || begins;
        assert!(hangs, "{} of {}", span.name, tree(spans));
        assert_eq!(hex(&span.trace_id), TRACE, "{}", tree(spans));
    }
}

/// The provider and the commands were told which span they are below.
fn assert_handed_on(world: &World, said: &str, chats: &[&Span], commands: &[&Span]) {
    for call in world.llm.requests() {
        let header = call.headers["traceparent"].to_str().unwrap();
        let mut spans = chats.iter().map(|span| hex(&span.span_id));
        assert!(spans.any(|span| header == format!("00-{TRACE}-{span}-01")));
    }
    for name in ["root", "sub"] {
        let span = printed(said, name);
        let mut spans = commands.iter().map(|command| hex(&command.span_id));
        assert!(spans.any(|command| command == span), "{said}");
    }
}

/// What the turn was made of fills it: its beginning, calls, tools, the pause before a retry, the wait for the next child.
fn assert_adds_up(spans: &[Span], turn: &Span) {
    let (start, end) = (turn.start_time_unix_nano, turn.end_time_unix_nano);
    let parts = spans
        .iter()
        .filter(|span| span.parent_span_id == turn.span_id);
    let mut parts: Vec<(u64, u64)> = parts
        .map(|span| (span.start_time_unix_nano, span.end_time_unix_nano))
        .collect();
    parts.sort_unstable();
    let (mut reached, mut gaps) = (start, 0);
    for (from, to) in parts {
        // Times of events are in milliseconds.
        let is_within = from + 2_000_000 >= start && to <= end + 2_000_000;
        assert!(is_within, "{}", tree(spans));
        gaps += from.saturating_sub(reached);
        reached = reached.max(to);
    }
    gaps += end.saturating_sub(reached);
    // The rest is OpenCode's own work between two calls.
    let took = end - start;
    assert!(gaps * 3 < took, "{gaps} of {took}{}", tree(spans));
}

#[test]
fn a_turn_with_all_that_can_happen_is_one_connected_trace_in_a_real_collector() {
    let collector = Collector::start();
    let Some(rotel) = Rotel::start(&collector) else {
        return skipped("rotel is not installed: run tools/test-needs");
    };
    let world = world(&format!("http://{}", rotel.grpc), "grpc");
    script(&world);
    let body = world.body("traced").to_string();
    let headers = [("traceparent", TRACEPARENT)];
    let answer = http::send(
        world.address,
        "POST",
        "/sessions",
        &headers,
        body.as_bytes(),
    );
    assert_eq!(answer.unwrap().status, 201);
    world
        .stream("traced", "")
        .until("the command", |event| event.data["text"] == "up\n");
    processes::kill(world.engine_pid());
    let seen = world.follow("traced");
    seen.assert_complete();

    let spans = collector.until("invoke_agent opencode", 1);
    assert_connected(&spans);
    let by_id: HashMap<&[u8], &Span> = spans.iter().map(|span| (&*span.span_id, span)).collect();
    let above = |span: &Span| by_id.get(&*span.parent_span_id).copied();
    let named =
        |name: &str| -> Vec<&Span> { spans.iter().filter(|span| span.name == name).collect() };
    let one = |name: &str| {
        let [span] = *named(name) else {
            panic!("{name}: {}", tree(&spans))
        };
        span
    };

    let turn = one("invoke_agent opencode");
    assert_eq!(above(turn).unwrap().name, "POST /sessions");
    assert!(!named("recovering").is_empty(), "{}", tree(&spans));
    let agent = one("invoke_agent general");
    assert_eq!(above(agent).unwrap().name, "execute_tool task");
    let commands = named("execute_tool bash");
    assert_eq!(commands.len(), 3, "{}", tree(&spans));
    assert_eq!(
        commands
            .iter()
            .filter(|span| above(span).unwrap().span_id == agent.span_id)
            .count(),
        1
    );
    let chats = named("chat model-of-the-test");
    assert_eq!(chats.len(), 7, "{}", tree(&spans));
    let failed = chats
        .iter()
        .filter(|span| text(&span.attributes, "error.type").is_some());
    assert_eq!(failed.count(), 1);
    let below = chats
        .iter()
        .filter(|span| above(span).unwrap().span_id == agent.span_id);
    assert_eq!(below.count(), 2);

    assert_handed_on(&world, &seen.text("tool"), &chats, &commands);
    assert_adds_up(&spans, turn);

    for secret in ["please do", "All done", "echo", "of-otlp"] {
        assert!(!collector.holds(secret), "{secret}");
    }
    assert!(!world.log().contains("of-otlp"));

    // The next turn has a trace of its own, which points at this one.
    world.script("traced", [Turn::new().text("And more.")]);
    let prompt = json!({ "prompt": "and more" }).to_string();
    assert_eq!(world.post("/sessions/traced/prompt", &prompt).status, 202);
    let spans = collector.until("invoke_agent opencode", 2);
    let next = spans
        .iter()
        .rfind(|span| span.name == "invoke_agent opencode")
        .unwrap();
    assert_ne!(hex(&next.trace_id), TRACE);
    assert_eq!(hex(&next.links[0].trace_id), TRACE);
}
