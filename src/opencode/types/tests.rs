use super::*;

fn event(json: &str) -> Event {
    decode(json.as_bytes()).unwrap()
}

fn tool(state: &str) -> ToolPart {
    let part = format!(
        r#"{{"id":"p","sessionID":"s","messageID":"m","type":"tool","tool":"x","callID":"c","state":{state}}}"#
    );
    let event = event(&format!(
        r#"{{"payload":{{"type":"message.part.updated","properties":{{"part":{part},"time":7}}}}}}"#
    ));
    match event {
        Event::Part(Part {
            kind: PartKind::Tool(tool),
            time: Some(7),
            ..
        }) => *tool,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_envelope_and_a_bare_event_read_the_same_in_any_order_of_fields() {
    for json in [
        r#"{"directory":"/w","payload":{"id":"e","type":"session.idle","properties":{"sessionID":"s"}}}"#,
        r#"{"payload":{"properties":{"sessionID":"s","new":[1]},"type":"session.idle"},"directory":"/w"}"#,
        r#"{"id":"e","type":"session.idle","properties":{"sessionID":"s"},"directory":"/w"}"#,
    ] {
        assert!(matches!(event(json), Event::Idle { session } if session == "s"));
    }
}

#[test]
fn what_is_not_known_is_named_and_what_is_broken_is_an_error_without_its_content() {
    let unknown = event(r#"{"payload":{"type":"plugin.added","properties":{"x":1}}}"#);
    assert!(matches!(unknown, Event::Unknown { kind } if kind == "plugin.added"));
    assert!(matches!(
        event(r#"{"payload":{"type":"server.connected"}}"#),
        Event::Connected
    ));
    let broken = decode(br#"{"payload":{"type":"session.idle","properties":{"sessionID":7}}}"#);
    assert_eq!(
        broken.unwrap_err().to_string(),
        "read an event of type session.idle"
    );
    assert!(matches!(decode(b"{"), Err(DecodeError::Envelope(_))));
    assert!(matches!(decode(b"\xff"), Err(DecodeError::Envelope(_))));
}

#[test]
fn a_twin_is_only_its_number() {
    let twin = event(
        r#"{"payload":{"type":"sync","syncEvent":{"type":"message.updated.1","seq":9,"aggregateID":"s","data":{"any":"\ud83d"}}}}"#,
    );
    assert!(matches!(twin, Event::Sync { session, seq: 9 } if session == "s"));
}

#[test]
fn metadata_of_another_shape_counts_as_absent_and_spoils_nothing() {
    let state = tool(
        r#"{"status":"completed","metadata":{"output":{"a":1},"exit":"0","truncated":true,"files":["a"],"display":7},"output":"o"}"#,
    )
    .state;
    assert_eq!(state.status, ToolStatus::Completed);
    assert_eq!(state.output.map(Text::into_whole).as_deref(), Some("o"));
    let ToolMetadata {
        output,
        exit,
        truncated,
        file_text,
        file,
        files,
    } = state.metadata;
    assert_eq!((output, exit, truncated), (None, None, true));
    assert!(file_text.is_none() && file.is_none() && files.is_empty());
}

#[test]
fn input_is_passed_on_as_one_line_that_strict_readers_accept() {
    let input = tool("{\"status\":\"running\",\"input\":{\"a\":\n\"\\ud83d!\",\"b\":\"\\n\"}}")
        .state
        .input;
    assert_eq!(input.unwrap().get(), "{\"a\": \"\\ufffd!\",\"b\":\"\\n\"}");
}

#[test]
fn a_summary_is_a_flag_on_answers_and_a_list_of_changes_on_prompts() {
    let info = |role: &str, summary: &str| {
        let json = format!(
            r#"[{{"info":{{"id":"m","sessionID":"s","role":"{role}","summary":{summary}}},"parts":[]}}]"#
        );
        messages(json.as_bytes()).unwrap().remove(0).info
    };
    assert!(info("assistant", "true").summary);
    assert!(!info("assistant", "null").summary);
    let prompt = info("user", r#"{"diffs":[{"file":"a"}]}"#);
    assert!(!prompt.summary && prompt.role == Role::User);
}

#[test]
fn every_status_that_is_not_idle_is_listed_as_such() {
    let json = br#"{"a":{"type":"busy"},"b":{"type":"retry","attempt":2,"message":"m","next":5},"c":{"type":"new"}}"#;
    let statuses: Statuses = statuses(json).unwrap();
    assert_eq!(statuses["a"], SessionStatus::Busy);
    let message = "m".to_owned();
    assert_eq!(
        statuses["b"],
        SessionStatus::Retry {
            attempt: 2,
            message,
            next: 5
        }
    );
    assert_eq!(statuses["c"], SessionStatus::Other);
}

#[test]
fn history_comes_in_the_order_of_time_and_keeps_places_it_cannot_read() {
    let json = br#"[
        {"id":"e3","aggregate_id":"a","seq":1,"type":"message.updated.2","data":{}},
        {"id":"e1","aggregate_id":"a","seq":0,"type":"session.created.1","data":{"info":{"id":"a","parentID":"r","agent":"g"}}},
        {"id":"e2","aggregate_id":"b","seq":4,"type":"session.created.1","data":{}}]"#;
    let items: Vec<HistoryItem> = history(json).unwrap();
    let places: Vec<_> = items
        .iter()
        .map(|item| (&*item.session, item.seq))
        .collect();
    assert_eq!(places, [("a", 0), ("b", 4), ("a", 1)]);
    assert!(
        matches!(&items[0].event, Event::SessionCreated(info) if info.parent.as_deref() == Some("r"))
    );
    assert!(matches!(&items[1].event, Event::Unknown { kind } if kind == "session.created.1"));
    assert!(matches!(&items[2].event, Event::Unknown { kind } if kind == "message.updated.2"));
}
