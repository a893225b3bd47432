use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::broker::permit;
use super::*;
use crate::clock::Timestamp;
use crate::event::{Agent, AnsweredBy, Event, PermissionRequest, Reply};
use crate::session::{Answer, AnswerError, AskKind, AskOutcome, Subject};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn asks(may_ask: bool) -> Asks {
    let settings = Settings {
        may_ask,
        timeout: Duration::from_mins(1),
        default: Reply::Reject,
    };
    Asks::new(settings, Vec::new())
}

fn new(id: &str, session: &str, subject: Subject) -> NewAsk {
    NewAsk {
        request_id: id.into(),
        session: session.into(),
        agent: None,
        call_id: Some(format!("call-{id}")),
        subject,
    }
}

/// Session `session` wants to run `command`.
fn command(id: &str, session: &str, command: &str) -> NewAsk {
    let request = PermissionRequest {
        permission: "bash".into(),
        patterns: vec![command.into()],
        always: vec![format!("{} *", command.split(' ').next().unwrap())],
        metadata: None,
    };
    new(id, session, Subject::Permission(request))
}

fn question(id: &str) -> NewAsk {
    let questions = RawValue::from_string(r#"[{"question":"A?"},{"question":"B?"}]"#.into());
    new(id, "s", Subject::Questions(Arc::from(questions.unwrap())))
}

fn reject(message: Option<&str>) -> Answer {
    let message = message.map(str::to_owned);
    Answer::Permission {
        reply: Reply::Reject,
        message,
    }
}

/// The data of an event, without what all have.
fn told(event: Option<Event>) -> String {
    let Some(event) = event else {
        return "nothing".into();
    };
    let encoded = event.encode(1).remove(0);
    let mut value: serde_json::Value = serde_json::from_str(&encoded.data).unwrap();
    let fields = value.as_object_mut().unwrap();
    for common in ["turn", "timestamp", "metadata"] {
        fields.remove(common);
    }
    format!("{} {value}", encoded.kind)
}

fn waits(asked: Asked) -> Event {
    match asked {
        Asked::Waits(event) => *event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_answer_holds_and_the_second_is_told_which_it_was() {
    let mut asks = asks(true);
    let asked = waits(asks.ask(command("p1", "s", "echo x"), NOW));
    assert_eq!(
        told(Some(asked)),
        r#"permission {"always":["echo *"],"call_id":"call-p1","deadline":"1970-01-01T00:17:40.000Z","patterns":["echo x"],"permission":"bash","request_id":"p1","state":"asked"}"#
    );
    assert!(asks.is_waiting());
    asks.give("p1", permit(Reply::Once), AnsweredBy::Client)
        .unwrap();
    let first = AnswerError::Ended(AskOutcome::Answered {
        answer: permit(Reply::Once),
        by: AnsweredBy::Client,
    });
    assert_eq!(
        asks.give("p1", reject(None), AnsweredBy::Client),
        Err(first)
    );
    assert!(!asks.give_default("p1"), "nor is the default given");
    let (event, decided) = asks.confirm("p1", NOW);
    assert_eq!(
        told(event),
        r#"permission {"by":"client","reply":"once","request_id":"p1","state":"answered"}"#
    );
    assert_eq!(decided, [""; 0]);
    assert!(!asks.is_waiting());
    // What OpenCode says of it comes on its own way.
    assert_eq!(told(asks.replied("p1", "once", NOW).0), "nothing");
    assert!(matches!(
        asks.ask(command("p1", "s", "echo x"), NOW),
        Asked::Known
    ));
}

#[test]
fn an_answer_that_did_not_arrive_leaves_the_request_open() {
    let mut asks = asks(true);
    waits(asks.ask(command("p1", "s", "echo x"), NOW));
    asks.give("p1", permit(Reply::Once), AnsweredBy::Client)
        .unwrap();
    asks.take_back("p1");
    assert!(asks.is_waiting());
    assert!(asks.give_default("p1"));
    assert_eq!(
        told(asks.confirm("p1", NOW).0),
        r#"permission {"by":"timeout","reply":"reject","request_id":"p1","state":"answered"}"#
    );
}

#[test]
fn what_a_rule_or_the_deadline_answered_stays_the_answer_when_it_did_not_arrive() {
    let mut asks = asks(true);
    for id in ["p1", "p2", "p3"] {
        waits(asks.ask(command(id, "s", "echo x"), NOW));
    }
    asks.give_default("p3");
    asks.give("p1", permit(Reply::Always), AnsweredBy::Client)
        .unwrap();
    assert!(!asks.is_decided("p1"), "a client's is not sent again");
    assert_eq!(asks.confirm("p1", NOW).1, ["p2"]);
    for (id, reply) in [("p2", Reply::Once), ("p3", Reply::Reject)] {
        asks.take_back(id);
        assert!(asks.is_decided(id), "it is sent once more");
        assert!(!asks.give_default(id), "nobody is late");
        assert_eq!(asks.given(id), Some(&permit(reply)));
    }
    // OpenCode does not know it: then it was withdrawn, whatever was to be answered.
    asks.forget_answer("p2");
    assert!(told(asks.missed_end("p2", NOW)).contains("withdrawn"));
}

#[test]
fn always_covers_what_else_waits_and_what_comes_later() {
    let mut asks = asks(true);
    waits(asks.ask(command("p1", "s", "echo x"), NOW));
    waits(asks.ask(command("p2", "child", "echo y"), NOW));
    waits(asks.ask(command("p3", "s", "rm z"), NOW));
    asks.give("p1", permit(Reply::Always), AnsweredBy::Client)
        .unwrap();
    let (event, decided) = asks.confirm("p1", NOW);
    assert!(told(event).contains(r#""reply":"always""#));
    assert_eq!(decided, ["p2"]);
    assert_eq!(
        told(asks.confirm("p2", NOW).0),
        r#"permission {"by":"rule","reply":"once","request_id":"p2","state":"answered"}"#
    );
    assert!(matches!(
        asks.ask(command("p4", "s", "echo z"), NOW),
        Asked::Decided
    ));
    assert_eq!(asks.given("p4"), Some(&permit(Reply::Once)));
    assert!(asks.shown().iter().all(|ask| ask.request_id == "p3"));
    let answered = told(asks.confirm("p4", NOW).0);
    assert!(answered.contains(r#""patterns":["echo z"]"#), "{answered}");
    assert_eq!(asks.always().len(), 1);
}

#[test]
fn a_rejection_takes_the_other_requests_of_its_agent_along() {
    let mut asks = asks(true);
    for (id, session) in [("p1", "s"), ("p2", "s"), ("p3", "child")] {
        waits(asks.ask(command(id, session, "echo x"), NOW));
    }
    asks.give("p1", reject(Some("not now")), AnsweredBy::Client)
        .unwrap();
    assert_eq!(
        told(asks.replied("p1", "reject", NOW).0),
        r#"permission {"by":"client","message":"not now","reply":"reject","request_id":"p1","state":"answered"}"#
    );
    // Somebody had just allowed the second.
    asks.give("p2", permit(Reply::Once), AnsweredBy::Client)
        .unwrap();
    assert_eq!(
        told(asks.replied("p2", "reject", NOW).0),
        r#"permission {"by":"client","reply":"reject","request_id":"p2","state":"answered","with":"p1"}"#
    );
    assert!(asks.is_waiting(), "another agent's is not touched");
    // A message says how to go on, a rejection taken along does not: the agent stops.
    assert!(asks.has_stopped("s") && !asks.has_stopped("child"));
}

#[test]
fn nothing_waits_in_a_session_that_asks_nobody() {
    let mut asks = asks(false);
    assert!(matches!(
        asks.ask(command("p1", "s", "echo x"), NOW),
        Asked::Decided
    ));
    assert!(matches!(asks.ask(question("q1"), NOW), Asked::Decided));
    assert!(!asks.is_waiting() && asks.shown().is_empty());
    let error = asks.give("p1", permit(Reply::Once), AnsweredBy::Client);
    assert_eq!(
        error,
        Err(AnswerError::Unknown),
        "and no client can allow it"
    );
    let rejected = told(asks.confirm("p1", NOW).0);
    assert!(rejected.contains(r#""by":"rule""#), "{rejected}");
    assert_eq!(
        told(asks.confirm("q1", NOW).0),
        r#"question {"by":"rule","request_id":"q1","state":"rejected"}"#
    );
}

#[test]
fn questions_take_one_answer_each_and_no_permission() {
    let mut asks = asks(true);
    waits(asks.ask(question("q1"), NOW));
    let one = Answer::Questions(vec![vec!["yes".into()]]);
    assert!(matches!(
        asks.give("q1", one, AnsweredBy::Client),
        Err(AnswerError::Invalid(_))
    ));
    let permitted = asks.give("q1", permit(Reply::Once), AnsweredBy::Client);
    assert_eq!(permitted, Err(AnswerError::Unknown));
    let both = Answer::Questions(vec![vec!["yes".into()], Vec::new()]);
    asks.give("q1", both, AnsweredBy::Client).unwrap();
    assert_eq!(
        told(asks.confirm("q1", NOW).0),
        r#"question {"answers":[["yes"],[]],"by":"client","request_id":"q1","state":"answered"}"#
    );
}

#[test]
fn what_nobody_can_answer_any_more_is_withdrawn_once() {
    let mut asks = asks(true);
    waits(asks.ask(command("p1", "s", "echo x"), NOW));
    waits(asks.ask(question("q1"), NOW));
    let ended = asks.call_ended("call-p1", NOW);
    let [(id, AskKind::Permission, event)] = &ended[..] else {
        panic!("{ended:?}");
    };
    assert_eq!(id, "p1");
    assert!(told(event.clone()).contains("withdrawn"));
    let events: Vec<String> = asks
        .withdraw_all("over", NOW)
        .into_iter()
        .map(|event| told(Some(event)))
        .collect();
    assert_eq!(
        events,
        [r#"question {"reason":"over","request_id":"q1","state":"withdrawn"}"#]
    );
    assert!(asks.take_changed());
    assert_eq!(asks.take_ended().len(), 2);
    // A list that was made before may come after.
    for late in [command("p1", "s", "echo x"), question("q1")] {
        assert!(matches!(asks.ask(late, NOW), Asked::Known));
    }
}

#[test]
fn a_request_of_another_process_is_found_in_its_note_and_ended() {
    let mut first = asks(true);
    let asked = waits(first.ask(question("q1"), NOW));
    let note = asked.note.unwrap();
    let mut second = asks(false);
    assert!(second.restore(&note.part, note.value, NOW));
    let agent = Arc::new(Agent {
        id: "s".into(),
        name: "general".into(),
        parent: "root".into(),
    });
    second.set_agent("s", &agent);
    let events = second.withdraw_all("the sidecar was restarted", NOW);
    assert_eq!(events[0].agent.as_ref().unwrap().name, "general");
    assert_eq!(events[0].note.as_ref().unwrap().part, note.part);
    let ended = events[0].note.as_ref().unwrap().value;
    let mut third = asks(false);
    assert!(
        third.restore(&note.part, ended, NOW),
        "it is its note all the same"
    );
    assert!(third.withdraw_all("again", NOW).is_empty());
    assert!(!third.restore("p1\ncall-p1\nbash", 1, NOW));
}
