//! One case for each cause, and their order; the runbook has each sentence.

use strum::VariantArray as _;

use super::*;
use crate::event::{Agent, PermissionRequest};

#[path = "../../../tests/support/runbook.rs"]
mod runbook;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_060_000);

fn ago(seconds: u64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() - seconds * 1000)
}

fn within(seconds: u64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + seconds * 1000)
}

/// A turn that is silent for 40 s, and waits for nothing.
fn silent() -> Facts {
    Facts {
        heard: ago(40),
        deadline: within(900),
        model: ModelWait::Idle,
        provider: "custom at 127.0.0.1:4000".to_owned(),
        last_error: None,
        retries: 0,
        model_name: "m".to_owned(),
        calls: Vec::new(),
        agent_retries: None,
        tool: None,
        tool_counts: ToolCounts::default(),
        compacting: false,
        asks: Arc::default(),
        queued: None,
        recovery: None,
        feed_lost: None,
        stopping: false,
        agent_sessions: Vec::new(),
    }
}

/// What is found, in the words of the runbook.
fn find(situation: Situation<'_>, around: &Surroundings) -> Diagnosis {
    let found = diagnose(situation, around, NOW);
    runbook::assert_has(found.cause.as_str(), &found.sentence);
    for trouble in &found.also {
        runbook::assert_has(trouble.cause.as_str(), &trouble.sentence);
    }
    found
}

fn of(facts: &Facts, around: &Surroundings) -> Diagnosis {
    find(Situation::Running(facts), around)
}

fn asked() -> ModelWait {
    ModelWait::Asked {
        since: ago(40),
        until: within(80),
    }
}

fn answering(last_byte: Timestamp) -> ModelWait {
    ModelWait::Answering {
        since: ago(50),
        bytes: 512,
        last_byte,
        until: within(110),
    }
}

fn assert_found(cases: Vec<(Facts, Cause, &str)>) {
    for (facts, cause, sentence) in cases {
        let found = of(&facts, &Surroundings::default());
        assert_eq!((found.cause, found.sentence.as_str()), (cause, sentence));
        assert!(found.also.is_empty());
    }
}

#[test]
fn what_the_model_does_has_its_sentence() {
    assert_found(vec![
        (
            Facts {
                model: asked(),
                ..silent()
            },
            Cause::WaitingForProvider,
            "waiting for the model provider until 2023-11-14T22:15:40.000Z: nothing has come from custom at 127.0.0.1:4000 since 2023-11-14T22:13:40.000Z",
        ),
        (
            Facts {
                model: answering(ago(40)),
                ..silent()
            },
            Cause::WaitingForProvider,
            "waiting for the model provider until 2023-11-14T22:16:10.000Z: custom at 127.0.0.1:4000 has fallen silent in the middle of an answer, after 512 bytes",
        ),
        (
            Facts {
                model: answering(ago(1)),
                ..silent()
            },
            Cause::Answering,
            "the answer of custom at 127.0.0.1:4000 comes in: 512 bytes so far",
        ),
        (
            Facts {
                model: ModelWait::Retry { until: within(7) },
                last_error: Some("the provider answered 429: slow down".to_owned()),
                retries: 2,
                ..silent()
            },
            Cause::ProviderRetry,
            "the model provider is asked again at 2023-11-14T22:14:27.000Z, after 2 retries: the provider answered 429: slow down",
        ),
        (
            Facts {
                agent_retries: Some("attempt 1 failed: overloaded".to_owned()),
                ..silent()
            },
            Cause::ProviderRetry,
            "the model provider is asked again soon: attempt 1 failed: overloaded",
        ),
    ]);
}

#[test]
fn everything_else_that_a_turn_does_has_its_sentence() {
    let tool = Some((Arc::from("bash"), ago(45)));
    assert_found(vec![
        (
            Facts {
                tool: tool.clone(),
                ..silent()
            },
            Cause::ToolRunning,
            "the tool bash is running and has said nothing for 40 s",
        ),
        (
            Facts {
                tool,
                heard: ago(1),
                ..silent()
            },
            Cause::ToolRunning,
            "the tool bash is running since 2023-11-14T22:13:35.000Z",
        ),
        (
            Facts {
                compacting: true,
                ..silent()
            },
            Cause::Compacting,
            "the conversation is being summarised to fit the model's context",
        ),
        (
            Facts {
                feed_lost: Some(ago(3)),
                ..silent()
            },
            Cause::FeedSilent,
            "the agent's event stream is broken since 2023-11-14T22:14:17.000Z; it is being opened again, and what was missed is asked for",
        ),
        (
            Facts {
                stopping: true,
                ..silent()
            },
            Cause::Stopping,
            "the turn is being ended",
        ),
        (
            Facts {
                heard: ago(2),
                ..silent()
            },
            Cause::Working,
            "the agent is working",
        ),
        (
            silent(),
            Cause::FeedSilent,
            "nothing was heard from the agent for 40 s, and it waits neither for the model nor for a tool; it is asked whether the turn has ended",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_the_child_comes_before_what_the_turn_waits_for() {
    let waiting = Facts {
        model: asked(),
        ..silent()
    };
    let wedged = Surroundings {
        missed_checks: 2,
        ..Surroundings::default()
    };
    let found = of(&waiting, &wedged);
    assert_eq!(found.cause, Cause::ChildWedged);
    assert!(
        found.sentence.contains("missed 2 health checks"),
        "{}",
        found.sentence
    );

    let recovering = Facts {
        recovery: Some((1, 2)),
        ..waiting
    };
    let starting = Surroundings {
        engine: Some("engine restarting (attempt 1)".to_owned()),
        ..wedged
    };
    let found = of(&recovering, &starting);
    assert_eq!(found.cause, Cause::EngineRestarting);
    let expected = "the agent's process died; the turn goes on in the next one (1 of 2), for which it waits: engine restarting (attempt 1)";
    assert_eq!(found.sentence, expected);
}

#[test]
fn a_disk_that_fails_is_the_cause_only_where_nothing_else_is() {
    let around = Surroundings {
        journal: Some("no space left".to_owned()),
        memory: Some("memory is short: 390 of 400 MiB are used".to_owned()),
        ..Surroundings::default()
    };
    let found = of(&silent(), &around);
    assert_eq!(found.cause, Cause::JournalDegraded);
    let also: Vec<Cause> = found.also.iter().map(|trouble| trouble.cause).collect();
    assert_eq!(also, [Cause::MemoryPressure]);

    let waiting = Facts {
        model: asked(),
        ..silent()
    };
    let found = of(&waiting, &around);
    assert_eq!(found.cause, Cause::WaitingForProvider);
    let also: Vec<Cause> = found.also.iter().map(|trouble| trouble.cause).collect();
    assert_eq!(also, [Cause::JournalDegraded, Cause::MemoryPressure]);
    assert_eq!(found.next.unwrap().at, within(80));
}

#[test]
fn a_turn_that_does_not_run_yet_waits_for_the_child_or_for_memory() {
    let opening = |around: &Surroundings| {
        let found = find(Situation::Opening { since: ago(3) }, around);
        (found.cause, found.sentence)
    };
    let mut around = Surroundings::default();
    assert_eq!(opening(&around).0, Cause::Starting);
    around.memory = Some("memory is short: 390 of 400 MiB are used".to_owned());
    assert_eq!(opening(&around).0, Cause::MemoryPressure);
    around.engine = Some("engine starting".to_owned());
    let expected = "the turn waits for the agent's process: engine starting";
    let (cause, sentence) = opening(&around);
    assert_eq!((cause, &*sentence), (Cause::EngineRestarting, expected));
}

#[test]
fn an_end_says_how() {
    let ended = Situation::Ended {
        state: State::Failed,
        at: Some(ago(9)),
        reason: Some("the session's budget is spent"),
        queued: None,
    };
    let found = find(ended, &Surroundings::default());
    assert_eq!(found.cause, Cause::Ended);
    assert_eq!(
        found.sentence,
        "the session is failed: the session's budget is spent"
    );
    assert_eq!(found.since, Some(ago(9)));
}

#[test]
fn the_runbook_has_a_row_for_every_cause_and_no_other() {
    let mut causes: Vec<&str> = Cause::VARIANTS.iter().map(|cause| cause.as_str()).collect();
    let mut rows: Vec<&str> = runbook::rows().map(|(cause, _)| cause).collect();
    causes.sort_unstable();
    rows.sort_unstable();
    assert_eq!(rows, causes);
}

fn ask(id: &str, subject: Subject, agent: Option<&str>) -> Arc<Ask> {
    let agent = agent.map(|name| {
        Arc::new(Agent {
            id: "ses_2".to_owned(),
            name: name.to_owned(),
            parent: "ses_1".to_owned(),
        })
    });
    Arc::new(Ask {
        request_id: id.to_owned(),
        agent,
        call_id: None,
        asked_at: ago(30),
        deadline: within(270),
        subject,
    })
}

#[test]
fn a_person_who_is_waited_for_comes_before_what_else_the_turn_does() {
    let bash = Subject::Permission(PermissionRequest {
        permission: "bash".to_owned(),
        patterns: vec!["echo of the test".to_owned()],
        ..PermissionRequest::default()
    });
    let question = Subject::Questions(serde_json::value::to_raw_value(&[0]).unwrap().into());
    let asks = [
        ask("per_1", bash, Some("general")),
        ask("que_1", question, None),
    ];
    let waiting = Facts {
        asks: asks.clone().into(),
        model: asked(),
        tool: Some((Arc::from("bash"), ago(45))),
        ..silent()
    };
    let found = of(&waiting, &Surroundings::default());
    assert_eq!(found.cause, Cause::WaitingPermission);
    // The sentence goes to the log: it names the tool, and not what is to be run.
    let expected = "waiting for somebody to give a permission: bash, asked for by the subagent general (per_1); 1 more wait";
    assert_eq!(found.sentence, expected);
    let next = found.next.unwrap();
    assert_eq!(
        (next.at, next.what),
        (within(270), "the default answer is given")
    );
    assert_eq!(found.since, Some(ago(30)));

    let [_, question] = asks;
    let waiting = Facts {
        asks: [question].into(),
        ..waiting
    };
    let found = of(&waiting, &Surroundings::default());
    assert_eq!(found.cause, Cause::WaitingQuestion);
    let expected = "waiting for somebody to give an answer to the agent's question (que_1)";
    assert_eq!(found.sentence, expected);

    let wedged = Surroundings {
        missed_checks: 1,
        ..Surroundings::default()
    };
    assert_eq!(of(&waiting, &wedged).cause, Cause::ChildWedged);
}

#[test]
fn a_prompt_that_waits_is_told_beside_the_turn_and_alone_where_none_runs() {
    let head = |held, waiting| QueueHead {
        turn: 3,
        since: ago(20),
        held,
        waiting,
    };
    let busy = |waiting| {
        let facts = Facts {
            queued: Some(head(false, waiting)),
            model: asked(),
            ..silent()
        };
        let found = of(&facts, &Surroundings::default());
        assert_eq!(found.cause, Cause::WaitingForProvider);
        let [queued] = &*found.also else {
            panic!("{found:?}")
        };
        assert_eq!(queued.cause, Cause::Queued);
        queued.sentence.clone()
    };
    assert_eq!(busy(1), "turn 3 is queued until this one ends");
    assert_eq!(
        busy(3),
        "turn 3 is queued until this one ends, and 2 more behind it"
    );
    let idle = |held| {
        let situation = Situation::Ended {
            state: State::Failed,
            at: Some(ago(9)),
            reason: Some("the sidecar died"),
            queued: Some(head(held, 1)),
        };
        let found = find(situation, &Surroundings::default());
        assert_eq!((found.cause, found.since), (Cause::Queued, Some(ago(20))));
        found.sentence
    };
    assert_eq!(
        idle(true),
        "turn 3 is queued and waits for a key, because the sidecar was restarted and keeps none: send a prompt or resume with a model_config"
    );
    assert_eq!(idle(false), "turn 3 is queued and waits for its beginning");
}
