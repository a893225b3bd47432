use std::sync::Arc;

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::shrink::{escaped_len, split};
use super::*;
use crate::clock::Timestamp;

fn event(body: Body) -> Event {
    Event::new(Timestamp::from_millis(1_795_166_590_559), body)
}

fn output(text: &str) -> Event {
    event(Body::Output(Output {
        channel: Channel::Stdout,
        source: Source::Assistant,
        text: text.to_owned(),
        call_id: None,
        truncated: false,
    }))
}

fn raw(json: &str) -> Arc<RawValue> {
    Arc::from(RawValue::from_string(json.to_owned()).unwrap())
}

fn call(args: &str) -> Event {
    event(Body::ToolCall(ToolCall {
        tool: "bash".into(),
        call_id: "c1".into(),
        args: raw(args),
    }))
}

fn one(event: &Event) -> String {
    let [encoded] = <[Encoded; 1]>::try_from(event.encode(7)).unwrap();
    assert_eq!(encoded.kind, event.kind());
    encoded.data
}

fn permission(step: PermissionStep) -> Body {
    Body::Permission(Permission {
        request_id: "p".into(),
        step,
    })
}

fn question(step: QuestionStep) -> Body {
    Body::Question(Question {
        request_id: "q".into(),
        step,
    })
}

/// Every field of every kind, as a client sees it.
#[expect(clippy::too_many_lines, reason = "one list of all kinds")]
#[test]
fn the_vocabulary_is_what_the_contract_says() {
    let result = |result, is_error| {
        let (tool, call_id) = ("bash".into(), "c1".into());
        Body::ToolResult(ToolResult {
            tool,
            call_id,
            result,
            is_error,
            duration_ms: 3,
            truncated: false,
        })
    };
    let command = ResultBody::Command {
        exit_code: None,
        stdout: "a".into(),
        stderr: String::new(),
        note: Some("timed out".into()),
    };
    let bodies = [
        Body::Status(Status {
            state: State::Running,
            progress: 40,
            phase: Some(Phase::Compacting),
            current_tool: Some("bash".into()),
            reason: Some("why".into()),
        }),
        result(command, true),
        result(
            ResultBody::Content {
                content: "x".into(),
            },
            false,
        ),
        result(
            ResultBody::Output {
                output: "o".into(),
                title: Some("t".into()),
            },
            false,
        ),
        result(ResultBody::Error { error: "e".into() }, true),
        Body::Error(Failure {
            code: FailureCode::ProviderRetry,
            error: "busy".into(),
            fatal: false,
            retry_after: Some(2),
            resumable: Some(true),
        }),
        Body::Complete(Complete {
            final_message: "done".into(),
            files_modified: vec!["/w/a".into()],
            finish_reason: Some("stop".into()),
            ..Complete::default()
        }),
        permission(PermissionStep::Asked {
            request: PermissionRequest {
                permission: "bash".into(),
                patterns: vec!["rm *".into()],
                always: Vec::new(),
                metadata: Some(raw(r#"{"command":"rm x"}"#)),
            },
            call_id: Some("c1".into()),
            deadline: Timestamp::from_millis(0),
        }),
        permission(PermissionStep::Answered {
            reply: Reply::Reject,
            message: Some("no".into()),
            by: AnsweredBy::Client,
            with: None,
            request: None,
            call_id: None,
        }),
        permission(PermissionStep::Answered {
            reply: Reply::Once,
            message: None,
            by: AnsweredBy::Rule,
            with: None,
            request: Some(PermissionRequest {
                permission: "bash".into(),
                patterns: vec!["ls".into()],
                always: vec!["ls *".into()],
                metadata: Some(raw("{}")),
            }),
            call_id: Some("c1".into()),
        }),
        permission(PermissionStep::Withdrawn {
            reason: "over".into(),
        }),
        question(QuestionStep::Asked {
            questions: raw("[]"),
            call_id: None,
            deadline: Timestamp::from_millis(0),
        }),
        question(QuestionStep::Answered {
            answers: vec![vec!["A".into()], Vec::new()],
            by: AnsweredBy::Client,
        }),
        question(QuestionStep::Rejected {
            by: AnsweredBy::Timeout,
        }),
        Body::Todo(Todo {
            items: vec![TodoItem {
                content: "a".into(),
                status: "pending".into(),
                priority: "low".into(),
            }],
        }),
        Body::Egress(Egress {
            decision: EgressDecision::Denied,
            host: Some("a.example".into()),
            port: Some(443),
            reason: Some("not_listed"),
            count: 2,
        }),
    ];
    let mut lines = vec![one(&output("hi")), one(&call(r#"{"command":"ls"}"#))];
    lines.extend(bodies.map(|body| {
        let event = event(body);
        format!("{} {} {}", event.kind(), event.is_terminal(), one(&event))
    }));
    let agent = Agent {
        id: "s2".into(),
        name: "general".into(),
        parent: "s1".into(),
    };
    lines.push(one(&Event {
        agent: Some(Arc::new(agent)),
        ..output("from a subagent")
    }));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn long_text_is_split_between_characters_and_nothing_is_lost() {
    let text = "日本語 and \u{1} \"quotes\"\n".repeat(40_000);
    let pieces = output(&text).encode(7);
    assert!(pieces.len() > 3);
    let mut joined = String::new();
    for piece in &pieces {
        assert!(piece.data.len() <= MAX_DATA);
        let value: Value = serde_json::from_str(&piece.data).unwrap();
        joined.push_str(value["text"].as_str().unwrap());
    }
    assert_eq!(joined, text);
}

#[test]
fn another_large_event_is_cut_and_says_so() {
    let args = json!({ "path": "/w/a", "content": "é".repeat(MAX_DATA), "list": vec![7; 300_000] });
    let data = one(&call(&args.to_string()));
    assert!(data.len() <= MAX_DATA, "{}", data.len());
    let value: Value = serde_json::from_str(&data).unwrap();
    assert_eq!(value["truncated"], json!(true));
    assert_eq!(value["args"]["path"], json!("/w/a"));
    assert!(value["args"]["content"].as_str().unwrap().starts_with("éé"));
}

#[test]
fn json_nested_deeper_than_the_parser_goes_still_fits() {
    let deep = format!(
        "{}\"{}\"{}",
        "[".repeat(500),
        "x".repeat(MAX_DATA),
        "]".repeat(500)
    );
    assert_eq!(one(&call(&deep)), r#"{"truncated":true,"turn":7}"#);
}

#[test]
fn only_text_of_one_source_merges() {
    let mut first = output("a");
    assert!(first.merge(output("b"), 10).is_none());
    assert!(first.merge(call("{}"), 10).is_some());
    let Body::Output(text) = output("c").body else {
        unreachable!()
    };
    let reasoning = event(Body::Output(Output {
        source: Source::Reasoning,
        ..text.clone()
    }));
    assert!(reasoning.is_reasoning());
    assert!(first.merge(reasoning, 10).is_some());
    let hole = event(Body::Output(Output {
        truncated: true,
        ..text
    }));
    assert!(first.merge(hole, 10).is_some());
    assert!(first.merge(output("too long for it"), 10).is_some());
    assert_eq!(one(&first), one(&output("ab")));
}

#[test]
fn text_of_one_part_merges_and_keeps_the_later_note() {
    let of = |part: &str, value, text: &str| Event {
        note: Some(Note {
            part: part.into(),
            value,
        }),
        ..output(text)
    };
    let mut first = of("p1", 1, "a");
    assert!(first.merge(of("p1", 2, "b"), 10).is_none());
    assert!(first.merge(of("p2", 1, "c"), 10).is_some(), "another part");
    assert!(first.merge(output("d"), 10).is_some(), "of no part");
    assert_eq!(first.note.as_ref().unwrap().value, 2);
    assert_eq!(one(&first), one(&output("ab")), "clients see no notes");
}

#[test]
fn only_these_end_a_turn() {
    let failure = |fatal| {
        let error = "x".to_owned();
        let code = FailureCode::Timeout;
        Body::Error(Failure {
            code,
            error,
            fatal,
            retry_after: None,
            resumable: None,
        })
    };
    let status = |state| {
        let (phase, current_tool, reason) = (None, None, None);
        Body::Status(Status {
            state,
            progress: 0,
            phase,
            current_tool,
            reason,
        })
    };
    assert!(event(failure(true)).is_terminal());
    assert!(!event(failure(false)).is_terminal());
    assert!(event(status(State::Cancelled)).is_terminal());
    assert!(!event(status(State::Completed)).is_terminal());
}

proptest! {
    #[test]
    fn pieces_are_bounded_and_join_to_the_text(text in "\\PC{0,40}[\\x00-\\x20\"\\\\]{0,20}\\PC{0,40}", max in 6_usize..30) {
        let pieces = split(&text, max);
        prop_assert_eq!(pieces.concat(), &*text);
        for piece in pieces {
            prop_assert!(escaped_len(piece) <= max);
        }
    }

    #[test]
    fn the_counted_length_is_the_written_one(text in "[\\x00-\\x7f]{0,60}\\PC{0,20}") {
        prop_assert_eq!(escaped_len(&text) + 2, serde_json::to_string(&text).unwrap().len());
    }
}

/// Part of the contract: adding a word is an addition, changing one breaks a client.
#[test]
fn every_word_of_the_contract() {
    use FailureCode as Code;
    let codes = [
        Code::ProviderRetry,
        Code::ProviderAuth,
        Code::ProviderRateLimited,
        Code::ProviderUnavailable,
        Code::ProviderError,
        Code::ModelNotFound,
        Code::ContextOverflow,
        Code::OutputLength,
        Code::Aborted,
        Code::Interrupted,
        Code::Timeout,
        Code::ToolLoop,
        Code::ShuttingDown,
        Code::EngineLost,
        Code::WorkspaceUnavailable,
        Code::AgentError,
        Code::Internal,
    ];
    let states = [
        State::Pending,
        State::Running,
        State::WaitingInput,
        State::Completed,
        State::Failed,
        State::Cancelled,
    ];
    let phases = [
        Phase::ProviderRetry,
        Phase::Compacting,
        Phase::Stalled,
        Phase::Recovering,
        Phase::JournalDegraded,
    ];
    let words = [
        codes.map(FailureCode::as_str).join(" "),
        states.map(State::as_str).join(" "),
        phases.map(|phase: Phase| phase.into_str()).join(" "),
        [Channel::Stdout, Channel::Stderr]
            .map(|channel: Channel| channel.into_str())
            .join(" "),
        [Source::Assistant, Source::Tool, Source::Reasoning]
            .map(|source: Source| source.into_str())
            .join(" "),
    ];
    insta::assert_snapshot!(words.join("\n"));
}
