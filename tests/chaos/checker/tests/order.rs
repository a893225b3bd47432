//! The stream of all events.

use super::*;

/// A client of the stream of all that was cut once, where another session's events are too.
pub(super) fn all(ordered: &[Frame]) -> Trace {
    let other = frame(999, "status", &json!({ "session_id": "other" }));
    let before = Connection {
        asked: None,
        status: 200,
        frames: ordered[..3].to_vec(),
        end: End::Cut,
    };
    let mut rest = ordered[3..].to_vec();
    rest.push(other);
    let after = Connection {
        asked: ordered[2].id.clone(),
        frames: rest,
        ..before.clone()
    };
    Trace {
        name: "all".into(),
        reasoning: true,
        connections: vec![before, after],
        stuck: None,
    }
}

#[test]
fn a_stream_of_all_events_that_tells_something_else() {
    let list = |evidence: &mut Evidence, harm: fn(&mut Vec<Frame>)| {
        harm(evidence.ordered.as_mut().unwrap());
    };
    for harm in [
        |frames| drop(frames.pop()),
        |frames| drop(frames.remove(3)),
        |frames| frames.swap(3, 4),
        |frames| frames.insert(4, frames[3].clone()),
        |frames| frames[2].data["text"] = "other".into(),
        |frames| frames[2].kind = "status".into(),
        |frames| frames[5].id = frames[4].id.clone(),
    ] as [fn(&mut Vec<Frame>); 7]
    {
        assert_found("order", |evidence| list(evidence, harm));
    }
}

#[test]
fn a_client_of_all_events_that_sees_something_else() {
    let list = |evidence: &mut Evidence, harm: fn(&mut Vec<Connection>)| {
        harm(&mut evidence.all.as_mut().unwrap().connections);
    };
    for (rule, harm) in [
        ("order", |all| drop(all[0].frames.pop())),
        ("order", |all| {
            let again = all[0].frames[2].clone();
            all[1].frames.insert(0, again);
        }),
        ("order", |all| all[1].frames.swap(0, 1)),
        ("cursor", |all| all[1].asked = None),
        ("status", |all| all[1].status = 500),
        ("bytes", |all| all[0].frames[0].raw.push(b' ')),
    ] as [(&str, fn(&mut Vec<Connection>)); 6]
    {
        assert_found(rule, |evidence| list(evidence, harm));
    }
}
