//! Events in, spans out.

use std::time::Duration;

use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::sync::mpsc;

use super::*;
use crate::event::{
    Agent, Complete, Failure, FailureCode, Phase, ResultBody, State, Status, ToolCall, ToolResult,
};
use crate::trace::call::CallReport;
use crate::trace::config::Config;
use crate::trace::span::Value;
use crate::trace::tracer::Tracer;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const EARLIER: &str = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01";

fn tracer(
    variables: &'static [(&'static str, &'static str)],
) -> (Arc<Tracer>, mpsc::Receiver<Span>) {
    let lookup = |name: &str| {
        if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
            return Some("http://127.0.0.1:1".to_owned());
        }
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let config = Config::read(&lookup).0.unwrap();
    let (tracer, spans_rx) = Tracer::new(&config);
    (Arc::new(tracer), spans_rx)
}

/// Turn 2 of session `s`, which the request of `parent` asked for.
fn turn(tracer: &Arc<Tracer>, parent: &str) -> TurnTrace {
    let parent = TraceContext::parse(parent).unwrap();
    let span = SpanAndParent {
        context: parent.child().unwrap(),
        parent: Some(parent.span),
    };
    let earlier = TraceContext::parse(EARLIER);
    let inner = Traced::new(tracer, span, earlier, ("s", 2));
    TurnTrace(Some(Arc::new(inner)))
}

fn event(at: u64, agent: Option<&Arc<Agent>>, body: Body) -> Event {
    let mut event = Event::new(Timestamp::from_millis(2_000_000_000_000 + at), body);
    event.agent = agent.cloned();
    event
}

fn call(tool: &str, id: &str) -> Body {
    Body::ToolCall(ToolCall {
        tool: tool.into(),
        args: to_raw_value(&json!({ "command": "echo sk-abcdefghijklmnop" }))
            .unwrap()
            .into(),
        call_id: id.into(),
    })
}

fn result(tool: &str, id: &str, is_error: bool) -> Body {
    Body::ToolResult(ToolResult {
        tool: tool.into(),
        call_id: id.into(),
        result: ResultBody::Content {
            content: "words of the test".to_owned(),
        },
        is_error,
        duration_ms: 1,
        truncated: false,
    })
}

fn status(state: State, phase: Option<Phase>) -> Body {
    Body::Status(Status {
        state,
        progress: 0,
        phase,
        current_tool: None,
        reason: None,
    })
}

fn report(error: Option<&'static str>) -> CallReport<'static> {
    CallReport {
        provider: "openai",
        model: "m",
        address: Some("127.0.0.1"),
        port: Some(4000),
        temperature: None,
        max_tokens: None,
        first_byte: Some(Duration::from_millis(3)),
        tokens: Some([10, 2, 1, 0]),
        error,
        status: error.map(|_| 503),
    }
}

fn drain(spans_rx: &mut mpsc::Receiver<Span>) -> Vec<Span> {
    std::iter::from_fn(|| spans_rx.try_recv().ok()).collect()
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("{name}: {spans:#?}"))
}

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a Value> {
    let found = span.attributes.iter().find(|(key, _)| *key == name);
    found.map(|(_, value)| value)
}

#[test]
fn a_turn_with_tools_calls_and_a_subagent_is_one_connected_trace() {
    let (tracer, mut spans_rx) = tracer(&[]);
    let turn = turn(&tracer, PARENT);
    turn.describe("openai", "m", || unreachable!("content is off"));
    let sub = Arc::new(Agent {
        id: "ses_2".to_owned(),
        name: "general".to_owned(),
        parent: "ses_1".to_owned(),
    });
    turn.call("ses_1", "ses_1")
        .unwrap()
        .end(&report(Some("provider_unavailable")));
    turn.note(&event(
        10,
        None,
        status(State::Running, Some(Phase::Recovering)),
    ));
    turn.note(&event(20, None, status(State::Running, None)));
    turn.note(&event(30, None, call("task", "call_task")));
    // The subagent is heard of by its call before it says anything.
    turn.call("ses_2", "ses_1").unwrap().end(&report(None));
    turn.note(&event(40, Some(&sub), call("bash", "call_deep")));
    turn.note(&event(50, Some(&sub), result("bash", "call_deep", true)));
    turn.note(&event(60, None, result("task", "call_task", false)));
    turn.note(&event(70, None, call("read", "call_open")));
    turn.note(&event(80, None, Body::Complete(Complete::default())));
    let spans = drain(&mut spans_rx);

    let context = turn.context().unwrap();
    let root = named(&spans, "invoke_agent opencode");
    assert_eq!(root.context, context);
    let parent = TraceContext::parse(PARENT).unwrap();
    assert_eq!(root.parent, Some(parent.span));
    assert_eq!(root.links, [TraceContext::parse(EARLIER).unwrap()]);
    let recovering = named(&spans, "recovering");
    assert_eq!(recovering.parent, Some(context.span));
    assert_eq!(recovering.end - recovering.start, 10_000_000);
    assert_eq!(attribute(root, "sidecar.turn"), Some(&Value::Number(2)));

    let task = named(&spans, "execute_tool task");
    assert_eq!(task.parent, Some(context.span));
    assert_eq!(task.end - task.start, 30_000_000);
    let agent = named(&spans, "invoke_agent general");
    assert_eq!(agent.parent, Some(task.context.span));
    let deep = named(&spans, "execute_tool bash");
    assert_eq!(deep.parent, Some(agent.context.span));
    assert_eq!(deep.error.as_deref(), Some("tool_error"));
    let unended = named(&spans, "execute_tool read");
    assert_eq!(unended.error.as_deref(), Some("not_finished"));
    let chats: Vec<_> = spans.iter().filter(|span| span.name == "chat m").collect();
    assert_eq!(chats[0].parent, Some(context.span));
    assert_eq!(chats[0].error.as_deref(), Some("provider_unavailable"));
    assert_eq!(chats[1].parent, Some(agent.context.span));
    assert_eq!(
        attribute(chats[1], "gen_ai.usage.input_tokens"),
        Some(&Value::Number(10))
    );
    // All are of one trace, have ids of their own, and hang together.
    let ids: std::collections::HashSet<_> = spans.iter().map(|span| span.context.span).collect();
    assert_eq!(ids.len(), spans.len());
    for span in &spans {
        assert_eq!(span.context.trace, parent.trace);
        let known = span.parent.unwrap();
        assert!(ids.contains(&known) || known == parent.span, "{span:?}");
    }
    let told = format!("{spans:?}");
    assert!(!told.contains("echo") && !told.contains("words of the test"));
}

#[test]
fn what_was_said_is_told_to_whoever_asks_and_without_keys() {
    let (tracer, mut spans_rx) =
        tracer(&[("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")]);
    let turn = turn(&tracer, PARENT);
    turn.describe("openai", "m", || {
        "please use sk-abcdefghijklmnop".to_owned()
    });
    turn.note(&event(0, None, call("bash", "c")));
    turn.note(&event(1, None, result("bash", "c", false)));
    let failure = Failure::fatal(FailureCode::Timeout, "too long", true);
    turn.note(&event(2, None, Body::Error(failure)));
    let spans = drain(&mut spans_rx);
    let told = format!("{spans:?}");
    assert!(told.contains("please use [redacted]"), "{told}");
    assert!(told.contains("words of the test"), "{told}");
    assert!(!told.contains("abcdefgh"), "{told}");
    let root = named(&spans, "invoke_agent opencode");
    assert_eq!(root.error.as_deref(), Some("timeout"));
}

#[test]
fn what_is_not_sampled_is_handed_on_and_not_told() {
    let (tracer, mut spans_rx) = tracer(&[]);
    let turn = turn(
        &tracer,
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
    );
    let chat = turn.call("ses_1", "ses_1").unwrap();
    assert!(
        chat.traceparent().ends_with("-00"),
        "{}",
        chat.traceparent()
    );
    chat.end(&report(None));
    turn.note(&event(0, None, call("bash", "c")));
    turn.note(&event(1, None, status(State::Cancelled, None)));
    assert!(drain(&mut spans_rx).is_empty());
    assert_eq!(turn.recorded(), None);
}

#[test]
fn a_queue_that_is_full_drops_and_waits_for_nobody() {
    let (tracer, mut spans_rx) = tracer(&[("OTEL_BSP_MAX_QUEUE_SIZE", "2")]);
    let turn = turn(&tracer, PARENT);
    for _ in 0..5 {
        turn.step("prompt", now());
    }
    assert_eq!(drain(&mut spans_rx).len(), 2);
    turn.step("prompt", now());
    assert_eq!(drain(&mut spans_rx).len(), 1);
}
