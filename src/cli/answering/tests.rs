use super::*;

fn asked(kind: &str, more: &Value) -> (Answering, Instant) {
    let mut data =
        json!({ "request_id": "r1", "state": "asked", "deadline": "2026-01-01T00:05:00Z" });
    for (name, value) in more.as_object().unwrap() {
        data[name] = value.clone();
    }
    let mut answering = Answering::default();
    let began = Instant::now();
    let event = Event::new(None, kind.into(), &data.to_string()).unwrap();
    answering.push(&event, began);
    (answering, began + KEY_DELAY)
}

fn permission() -> (Answering, Instant) {
    let make = json!({ "permission": "bash", "patterns": ["make"], "always": ["make *"] });
    asked("permission", &make)
}

fn press(answering: &mut Answering, key: char, now: Instant) -> Pressed {
    answering.press(Key::Char(key), &mut Editor::default(), now)
}

fn body(pressed: Pressed) -> Value {
    match pressed {
        Pressed::Answer(answer) => answer.body,
        other => panic!("no answer: {other:?}"),
    }
}

#[test]
fn one_key_allows_once_and_always_wants_its_key_twice() {
    let (mut answering, now) = permission();
    assert_eq!(
        body(press(&mut answering, 'y', now)),
        json!({ "reply": "once" })
    );
    let (mut answering, now) = permission();
    assert_eq!(press(&mut answering, 'a', now), Pressed::Taken);
    let row = answering.row(Style::new(false), 100, Timestamp::now(), now);
    assert!(
        row.unwrap()
            .starts_with("? always allow make *   a again: yes")
    );
    assert_eq!(press(&mut answering, 'y', now), Pressed::Taken);
    assert_eq!(
        press(&mut answering, 'a', now),
        Pressed::Taken,
        "back again"
    );
    assert_eq!(
        body(press(&mut answering, 'a', now)),
        json!({ "reply": "always" })
    );
}

#[test]
fn a_key_is_no_answer_to_what_came_while_it_was_pressed() {
    let (mut answering, now) = permission();
    let early = now.checked_sub(Duration::from_millis(1)).unwrap();
    let other = Pressed::Other(Key::Char('y'));
    assert_eq!(press(&mut answering, 'y', early), other);
    let row = answering.row(Style::new(false), 100, Timestamp::now(), early);
    assert!(
        !row.unwrap().contains("y once"),
        "keys that are not taken are not shown"
    );
    // A second press is not for the next request, before and after the first one is answered.
    body(press(&mut answering, 'y', now));
    assert_eq!(press(&mut answering, 'y', now), Pressed::Taken);
    let next = json!({ "request_id": "r2", "state": "asked", "permission": "bash" });
    let event = |data: &Value| Event::new(None, "permission".into(), &data.to_string());
    answering.push(&event(&next).unwrap(), now);
    let answered = json!({ "request_id": "r1", "state": "answered" });
    answering.push(&event(&answered).unwrap(), now);
    assert_eq!(press(&mut answering, 'y', now), other);
    body(press(&mut answering, 'y', now + KEY_DELAY));
    answering.refused();
    body(press(&mut answering, 'y', now + KEY_DELAY));
}

#[test]
fn a_refusal_may_have_a_reason() {
    let mut editor = Editor::default();
    let (mut answering, now) = permission();
    assert_eq!(press(&mut answering, 'n', now), Pressed::Taken);
    assert!(answering.wants_line());
    for c in "use ninja".chars() {
        let pressed = answering.press(Key::Char(c), &mut editor, now);
        assert_eq!(pressed, Pressed::Taken);
    }
    assert_eq!(
        body(answering.press(Key::Enter, &mut editor, now)),
        json!({ "reply": "reject", "message": "use ninja" })
    );
    let (mut answering, now) = permission();
    press(&mut answering, 'n', now);
    assert_eq!(
        body(answering.press(Key::Enter, &mut editor, now)),
        json!({ "reply": "reject" })
    );
    let (mut answering, now) = permission();
    press(&mut answering, 'n', now);
    answering.press(Key::EndOfInput, &mut editor, now);
    assert!(!answering.wants_line(), "Ctrl-D takes the no back");
}

#[test]
fn keys_of_a_line_that_is_being_written_are_no_answers() {
    let mut editor = Editor::default();
    let (mut answering, now) = permission();
    editor.press(Key::Char('h'));
    let key = Key::Char('y');
    assert_eq!(
        answering.press(key.clone(), &mut editor, now),
        Pressed::Other(key)
    );
}

#[test]
fn a_refusal_ends_with_its_request() {
    let (mut answering, now) = permission();
    press(&mut answering, 'n', now);
    let answered = json!({ "request_id": "r1", "state": "answered" });
    let answered = Event::new(None, "permission".into(), &answered.to_string()).unwrap();
    answering.push(&answered, now);
    assert!(!answering.wants_line() && answering.asks.first().is_none());
}

#[test]
fn a_question_is_answered_skipped_or_left_for_a_command() {
    let question = || {
        let options = json!({ "questions": [{ "options": [{ "label": "A" }] }] });
        asked("question", &options)
    };
    let (mut answering, now) = question();
    assert_eq!(
        answering.line("1", now.checked_sub(KEY_DELAY).unwrap()),
        None,
        "typed before it came"
    );
    assert_eq!(answering.line("/stop", now), None);
    assert_eq!(
        answering.line("1", now).unwrap().body,
        json!({ "answers": [["A"]] })
    );
    assert_eq!(answering.line("1", now), None, "once");
    let (mut answering, now) = question();
    assert_eq!(
        answering.line("/skip", now).unwrap().body,
        json!({ "reject": true })
    );
    let (mut answering, now) = permission();
    assert_eq!(answering.line("1", now), None);
}

#[test]
fn the_row_counts_down() {
    let now = Timestamp::parse("2026-01-01T00:00:18.500Z").unwrap();
    let (answering, at) = permission();
    assert_eq!(
        answering.row(Style::new(false), 80, now, at).unwrap(),
        "? allow bash make   y once   a always   n no   4 min 41 s left"
    );
    let narrow = answering.row(Style::new(false), 36, now, at).unwrap();
    assert_eq!(narrow, "? allow   y once   a always   n no");
}
