//! A session whose clients say much at once, and what may go wrong with that.

use std::time::Duration;

use super::*;

/// Prompt 1 waits, 2 becomes part of the first turn, 3 waits and is withdrawn, 4 waits over a restart, and 5 is refused.
fn prompted() -> Vec<Frame> {
    let running = || json!({ "status": "running", "progress": 0 });
    let note = |state: &str, name: u32| {
        let text = crate::model::prompt(name, 1);
        ("prompt", json!({ "state": state, "text": text }))
    };
    let events = [
        (1, ("status", running())),
        (1, output("assistant", "[1.1] [1.2]")),
        (2, note("queued", 1)),
        (1, note("steered", 2)),
        (1, output("assistant", "[2.1] [2.2]")),
        (3, note("queued", 3)),
        (1, ("complete", json!({ "final_message": "[2.1] [2.2]" }))),
        (2, ("status", running())),
        (3, note("withdrawn", 3)),
        (2, output("assistant", "[3.1] [3.2]")),
        (4, note("queued", 4)),
        (2, ("complete", json!({ "final_message": "[3.1] [3.2]" }))),
        (4, note("held", 4)),
    ];
    let numbered = events.into_iter().zip(1..);
    numbered
        .map(|((turn, (kind, data)), number)| frame(number, kind, &of_turn(turn, data)))
        .collect()
}

/// The same under ids without a hole.
fn renumbered(log: Vec<Frame>) -> Vec<Frame> {
    let numbered = log.into_iter().zip(1..);
    numbered
        .map(|(old, number)| frame(number, &old.kind, &old.data))
        .collect()
}

fn told(name: u32, accepted: &[(u64, &str)]) -> Told {
    let accepted = accepted.iter();
    Told {
        name,
        posted: Duration::from_secs(u64::from(2 * name)),
        answered: Duration::from_secs(u64::from(2 * name + 1)),
        accepted: accepted
            .map(|(turn, status)| (*turn, (*status).to_owned()))
            .collect(),
        ..Told::default()
    }
}

fn call(number: u32, prompts: &[u32]) -> Call {
    Call {
        number,
        prompts: prompts.to_vec(),
        newest: prompts.last().copied(),
    }
}

fn sound() -> Evidence {
    let log = prompted();
    Evidence {
        ordered: Some(ordered(&log)),
        journal: Some(log.clone()),
        replay: Some(log),
        calls: vec![call(1, &[0]), call(2, &[0, 2]), call(3, &[0, 2, 1])],
        told: vec![
            told(1, &[(2, "queued"), (2, "running")]),
            told(2, &[(1, "steered")]),
            Told {
                withdrawing: true,
                withdrawn: true,
                ..told(3, &[(3, "queued")])
            },
            told(4, &[(4, "queued")]),
            Told {
                refused: Some("not_found".into()),
                ..told(5, &[])
            },
        ],
        held: vec![4],
        key: "the-key".into(),
        words: 2,
        ..Evidence::default()
    }
}

fn assert_harmed(rule: &str, harm: impl FnOnce(&mut Evidence)) {
    let mut evidence = sound();
    harm(&mut evidence);
    let faults = check(&evidence);
    let named = faults.iter().any(|fault| fault.starts_with(rule));
    assert!(named, "{rule} is not among: {faults:?}");
}

fn note(state: &str) -> Value {
    json!({ "state": state, "text": "" })
}

#[test]
fn a_sound_round_of_prompts_has_no_fault() {
    assert_eq!(check(&sound()), [""; 0]);
}

#[test]
fn a_prompt_that_is_run_twice() {
    assert_harmed("twice", |evidence| evidence.calls[2].prompts.push(1));
    assert_harmed("twice", |evidence| evidence.calls[1] = call(2, &[0, 2, 1]));
    // It became part of a turn, and was the next one as well.
    assert_harmed("twice", |evidence| evidence.calls[2] = call(3, &[0, 1, 2]));
    for unwanted in [3, 4, 5] {
        assert_harmed("twice", |evidence| {
            evidence.calls[2].prompts.insert(0, unwanted);
        });
    }
}

#[test]
fn a_prompt_that_was_accepted_and_is_forgotten() {
    assert_harmed("forgotten", |evidence| evidence.held.clear());
    assert_harmed("forgotten", |evidence| evidence.held.push(2));
    assert_harmed("forgotten", |evidence| {
        evidence.told[0].accepted = vec![(9, "running".into())];
    });
    // Its turn is complete, and the agent never heard of it.
    assert_harmed("forgotten", |evidence| drop(evidence.calls.pop()));
    assert_harmed("forgotten", |evidence| {
        evidence.calls[1] = call(2, &[0]);
        evidence.calls[2] = call(3, &[0, 1]);
    });
    // The turn that it was part of ended before, and the agent has it with the next prompt.
    assert_harmed("forgotten", |evidence| {
        evidence.calls[1] = call(2, &[0]);
        evidence.calls[2] = call(3, &[0, 2, 1]);
    });
    assert_harmed("forgotten", |evidence| {
        rewrite(evidence, 4, "prompt", &note("steered"));
    });
    // It becomes part of the turn when that is over.
    assert_harmed("forgotten", |evidence| {
        evidence.replay.as_mut().unwrap().swap(3, 6);
    });
    assert_harmed("forgotten", |evidence| {
        rewrite(evidence, 3, "prompt", &note("held"));
    });
    assert_harmed("forgotten", |evidence| {
        rewrite(evidence, 9, "prompt", &note("queued"));
    });
    assert_harmed("forgotten", |evidence| evidence.resumed.push(7));
}

#[test]
fn a_prompt_that_the_stream_calls_lost_is_lost_by_a_fault_only() {
    let harm = |evidence: &mut Evidence| {
        let mut log = prompted();
        let text = crate::model::prompt(2, 1);
        let lost = of_turn(1, json!({ "state": "lost", "text": text }));
        log.insert(4, frame(5, "prompt", &lost));
        let log = renumbered(log);
        evidence.ordered = Some(ordered(&log));
        evidence.journal = Some(log.clone());
        evidence.replay = Some(log);
        // It is said again, and is a turn of its own.
        evidence.calls[1] = call(2, &[0]);
        evidence.calls[2] = call(3, &[0, 1]);
    };
    assert_harmed("forgotten", harm);
    let mut evidence = sound();
    harm(&mut evidence);
    evidence.allowed.broken = true;
    assert_eq!(check(&evidence), [""; 0]);
}

#[test]
fn a_prompt_whose_turn_was_resumed_and_which_the_agent_never_had() {
    let harm = |evidence: &mut Evidence| {
        let mut log = prompted();
        log.truncate(7);
        let error = json!({ "code": "interrupted", "error": "", "fatal": true });
        let running = json!({ "status": "running", "progress": 0 });
        for (turn, (kind, data)) in [
            (2, ("error", error)),
            (3, ("status", running)),
            (3, output("assistant", "[3.1] [3.2]")),
            (3, ("complete", json!({ "final_message": "[3.1] [3.2]" }))),
        ] {
            log.push(frame(1, kind, &of_turn(turn, data)));
        }
        log.remove(5);
        let log = renumbered(log);
        evidence.ordered = Some(ordered(&log));
        evidence.journal = Some(log.clone());
        evidence.replay = Some(log);
        evidence.allowed.broken = true;
        evidence.told.truncate(2);
        evidence.held.clear();
        evidence.resumed.push(3);
    };
    let mut evidence = sound();
    harm(&mut evidence);
    assert_eq!(check(&evidence), [""; 0]);
    assert_harmed("forgotten", |evidence| {
        harm(evidence);
        evidence.calls[2] = call(3, &[0, 2]);
    });
}

#[test]
fn a_prompt_that_is_withdrawn_though_nobody_wished_it() {
    assert_harmed("withdrawn", |evidence| {
        evidence.told[2].withdrawing = false;
    });
    assert_harmed("withdrawn", |evidence| {
        // The client is told that it is, and it waits.
        evidence.told[3].withdrawn = true;
    });
}

#[test]
fn a_repeated_prompt_with_another_answer_and_one_that_fails() {
    assert_harmed("repeat", |evidence| {
        evidence.told[0].accepted.push((3, "queued".into()));
    });
    assert_harmed("repeat", |evidence| {
        evidence.told[1].accepted.push((1, "running".into()));
    });
    assert_harmed("prompts", |evidence| {
        evidence.told[0].problem = Some("500".into());
    });
    assert_harmed("prompts", |evidence| {
        evidence.told[4].refused = Some("conflict".into());
    });
}

#[test]
fn numbers_of_turns_that_are_given_twice_by_nobody_or_in_another_order() {
    assert_harmed("numbers", |evidence| drop(evidence.told.remove(0)));
    assert_harmed("numbers", |evidence| evidence.resumed.push(2));
    assert_harmed("numbers", |evidence| {
        evidence.told[0].posted = Duration::from_secs(100);
    });
    assert_harmed("turns", |evidence| {
        let log = evidence.replay.as_mut().unwrap();
        log[9] = frame(
            10,
            "output",
            &of_turn(1, output("assistant", "[3.1] [3.2]").1),
        );
    });
}

#[test]
fn a_stream_that_ends_while_a_prompt_could_begin() {
    let log = prompted();
    let client = |frames: &[Frame]| Trace {
        name: "plain".into(),
        connections: vec![connection(None, frames, End::Clean)],
        ..Trace::default()
    };
    assert_harmed("end", |evidence| evidence.traces.push(client(&log[..7])));
    let mut evidence = sound();
    evidence.traces.push(client(&log));
    assert_eq!(check(&evidence), [""; 0]);
    // Turn 2 is beginning while turn 3 waits behind it.
    let note = of_turn(3, note("queued"));
    let idle = [&log[..7], &[frame(8, "prompt", &note)]].concat();
    let queued = frame(3, "prompt", &of_turn(3, json!({ "state": "queued" })));
    let beginning: Vec<Frame> = log[..2].iter().chain([&log[6], &queued]).cloned().collect();
    assert!(turns::is_idle(&beginning, 3));
    assert!(!turns::is_idle(&idle, 7), "turn 2 waits");
}
