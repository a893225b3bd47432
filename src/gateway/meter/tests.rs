use std::sync::atomic::{AtomicU64, Ordering};

use super::failure_limits::{MAX_CALLERS, REPEATED_IN_A_ROW};
use super::*;
use crate::model::Budget;

fn meter(budget: Budget) -> Meter {
    Meter::new(
        Limits::new(budget, Budget::default()),
        ModelCalls::default(),
        "ses_a",
    )
}

/// An answer that says something new each time.
fn complete() -> Outcome {
    static SAID: AtomicU64 = AtomicU64::new(0);
    saying(SAID.fetch_add(1, Ordering::Relaxed))
}

fn saying(digest: u64) -> Outcome {
    Outcome::Complete(Answered {
        digest,
        unended: false,
    })
}

fn bad() -> Outcome {
    Outcome::Bad(LastError {
        code: "provider_bad_answer",
        status: Some(502),
        message: String::new(),
    })
}

fn failure() -> Outcome {
    Outcome::Failed(LastError {
        code: "provider_error",
        status: Some(503),
        message: String::new(),
    })
}

fn call(meter: &Meter, outcome: Outcome, tokens: Option<Tokens>) -> Result<(), Denied> {
    call_by("ses_a", meter, outcome, tokens)
}

fn call_by(
    caller: &str,
    meter: &Meter,
    outcome: Outcome,
    tokens: Option<Tokens>,
) -> Result<(), Denied> {
    let id = meter.begin(caller, SystemTime::now(), || 0)?;
    meter.answering(&id);
    meter.end(&id, Duration::from_millis(2), tokens, outcome);
    Ok(())
}

const FIFTY: Tokens = Tokens {
    input: 30,
    output: 20,
    cached: 0,
    reasoning: 0,
    nano_usd: None,
};

#[test]
fn a_token_budget_stops_the_call_after_the_one_that_spent_it() {
    let meter = meter(Budget {
        max_total_tokens: Some(100),
        ..Budget::default()
    });
    assert_eq!(call(&meter, complete(), Some(FIFTY)), Ok(()));
    assert_eq!(meter.stopped(), None);
    assert_eq!(call(&meter, complete(), Some(FIFTY)), Ok(()));
    assert_eq!(
        call(&meter, complete(), None),
        Err(Denied::Stopped(Stop::BudgetExceeded))
    );
    assert_eq!(meter.stopped(), Some(Stop::BudgetExceeded));
    assert_eq!(meter.usage().total_tokens, 100);
}

#[test]
fn what_earlier_turns_spent_counts() {
    let spent = ModelCalls {
        calls: 2,
        total_tokens: 60,
        ..ModelCalls::default()
    };
    let meter = Meter::new(
        Limits::new(
            Budget {
                max_calls: Some(3),
                ..Budget::default()
            },
            Budget::default(),
        ),
        spent,
        "ses_a",
    );
    assert_eq!(call(&meter, complete(), None), Ok(()));
    assert_eq!(
        call(&meter, complete(), None),
        Err(Denied::Stopped(Stop::BudgetExceeded))
    );
}

#[test]
fn tokens_of_earlier_turns_count() {
    let spent = ModelCalls {
        calls: 2,
        total_tokens: 60,
        ..ModelCalls::default()
    };
    let budget = Budget {
        max_total_tokens: Some(100),
        ..Budget::default()
    };
    let meter = Meter::new(Limits::new(budget, Budget::default()), spent, "ses_a");
    assert_eq!(call(&meter, complete(), Some(FIFTY)), Ok(()));
    assert_eq!(
        call(&meter, complete(), None),
        Err(Denied::Stopped(Stop::BudgetExceeded))
    );
    assert_eq!(meter.usage().calls, 1, "the turn's own");
}

#[test]
fn the_limit_of_a_turn_holds_where_nothing_else_does() {
    let spent = ModelCalls {
        calls: 1000,
        total_tokens: 0,
        ..ModelCalls::default()
    };
    let nothing = Budget::default();
    let meter = Meter::new(Limits::new(nothing, nothing), spent, "ses_a");
    for _ in 0..500 {
        assert_eq!(call(&meter, complete(), None), Ok(()));
    }
    assert_eq!(
        call(&meter, complete(), None),
        Err(Denied::Stopped(Stop::BudgetExceeded))
    );
    let calls = |max_calls| Budget {
        max_calls,
        ..nothing
    };
    for (own, pod, limit) in [
        (Some(1000), None, Some(1000)),
        (None, Some(700), Some(700)),
        (Some(5), Some(700), Some(5)),
        (None, Some(0), None),
    ] {
        let limits = Limits::new(calls(own), calls(pod));
        assert_eq!((limits.calls, limits.calls_per_turn), (limit, None));
    }
}

#[test]
fn three_bad_answers_in_a_row_end_the_turn_and_the_pauses_between_them_grow() {
    let meter = meter(Budget::default());
    let mut pauses = Vec::new();
    for _ in 0..3 {
        let id = meter.begin("ses_a", SystemTime::now(), || 0).unwrap();
        meter.answering(&id);
        pauses.push(
            meter
                .pause_after_bad_answer(&id)
                .map(|pause| pause.as_secs()),
        );
        assert_eq!(meter.stopped(), None);
        meter.end(&id, Duration::ZERO, None, bad());
    }
    assert_eq!(pauses, [Some(1), Some(2), None]);
    assert_eq!(meter.stopped(), Some(Stop::BadAnswers));
}

#[test]
fn bad_answers_and_failures_count_together_and_a_good_answer_forgives_both() {
    let meter = meter(Budget::default());
    for _ in 0..2 {
        call(&meter, bad(), None).unwrap();
    }
    call(&meter, complete(), None).unwrap();
    for _ in 0..2 {
        call(&meter, bad(), None).unwrap();
    }
    for _ in 0..4 {
        assert_eq!(meter.stopped(), None);
        call(&meter, failure(), None).unwrap();
    }
    assert_eq!(meter.stopped(), Some(Stop::ProviderFailing));
}

#[test]
fn calls_that_bring_nothing_new_come_to_an_end() {
    let meter = meter(Budget::default());
    call(&meter, saying(1), None).unwrap();
    call(&meter, saying(2), None).unwrap();
    // Two answers in turns, and a failure now and then.
    for n in 0..u64::from(REPEATED_IN_A_ROW) {
        assert_eq!(meter.stopped(), None, "{n}");
        let outcome = if n % 4 == 3 {
            failure()
        } else {
            saying(1 + n % 2)
        };
        call(&meter, outcome, None).unwrap();
    }
    assert_eq!(meter.stopped(), Some(Stop::NoProgress));
}

#[test]
fn the_same_answer_is_no_loop_while_tools_bring_something_new() {
    let meter = meter(Budget::default());
    for _ in 0..3 * REPEATED_IN_A_ROW {
        call(&meter, saying(1), None).unwrap();
        meter.progressed();
    }
    assert_eq!(meter.stopped(), None);
}

#[test]
fn every_count_is_told() {
    let meter = meter(Budget::default());
    let mut changes_rx = meter.changes();
    let id = meter.begin("ses_a", SystemTime::now(), || 0).unwrap();
    assert!(changes_rx.has_changed().unwrap());
    changes_rx.mark_unchanged();
    meter.end(&id, Duration::ZERO, None, complete());
    assert!(changes_rx.has_changed().unwrap());
}

#[test]
fn six_failures_in_a_row_trip_the_breaker_and_a_success_forgives() {
    let meter = meter(Budget::default());
    for _ in 0..5 {
        call(&meter, failure(), None).unwrap();
    }
    call(&meter, complete(), Some(FIFTY)).unwrap();
    for _ in 0..6 {
        assert_eq!(meter.stopped(), None);
        call(&meter, failure(), None).unwrap();
    }
    assert_eq!(
        call(&meter, failure(), None),
        Err(Denied::Stopped(Stop::ProviderFailing))
    );
    assert_eq!(meter.usage().calls, 12);
    assert_eq!(meter.usage().retries, 10);
    assert_eq!(meter.unmetered_calls(), 11);
}

#[test]
fn the_same_refused_body_is_not_sent_again_and_another_is() {
    let meter = meter(Budget::default());
    meter.refused(7);
    assert_eq!(
        meter.begin("ses_a", SystemTime::now(), || 7),
        Err(Denied::Repeated)
    );
    assert_eq!(
        meter.begin("ses_a", SystemTime::now(), || 7),
        Err(Denied::Repeated)
    );
    assert!(meter.begin("ses_a", SystemTime::now(), || 8).is_ok());
    assert!(meter.begin("ses_a", SystemTime::now(), || 7).is_ok());
}

#[test]
fn the_wait_follows_the_calls() {
    let meter = meter(Budget::default());
    assert_eq!(meter.wait(), Wait::Idle);
    let deadline = SystemTime::now() + Duration::from_secs(5);
    let id = meter.begin("ses_a", deadline, || 0).unwrap();
    assert!(matches!(meter.wait(), Wait::Provider { deadline: d, .. } if d == deadline));
    meter.answering(&id);
    assert!(matches!(meter.wait(), Wait::Answering { .. }));
    meter.end(&id, Duration::ZERO, None, Outcome::Cut);
    assert_eq!(meter.wait(), Wait::Idle);
    meter.retry_at(deadline);
    assert_eq!(meter.wait(), Wait::Retry { until: deadline });
}

#[test]
fn parallel_subagents_do_not_use_up_each_other_s_patience() {
    let meter = meter(Budget::default());
    for _ in 0..5 {
        for caller in ["ses_b", "ses_c", "ses_d"] {
            call_by(caller, &meter, failure(), None).unwrap();
        }
    }
    assert_eq!(meter.stopped(), None);
    // One success shows that the provider is there.
    call_by("ses_d", &meter, complete(), None).unwrap();
    for _ in 0..6 {
        call_by("ses_b", &meter, failure(), None).unwrap();
    }
    assert_eq!(meter.stopped(), Some(Stop::ProviderFailing));
}

#[test]
fn callers_without_end_are_counted_together() {
    let meter = meter(Budget::default());
    for n in 0..MAX_CALLERS + 5 {
        call_by(&format!("ses_{n}"), &meter, failure(), None).unwrap();
    }
    assert_eq!(meter.stopped(), None);
    call_by("ses_x", &meter, failure(), None).unwrap();
    assert_eq!(meter.stopped(), Some(Stop::ProviderFailing));
}
