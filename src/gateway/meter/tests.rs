use super::*;

fn meter(budget: Budget) -> Meter {
    Meter::new(budget, Usage::default())
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
};

#[test]
fn a_token_budget_stops_the_call_after_the_one_that_spent_it() {
    let meter = meter(Budget {
        max_total_tokens: Some(100),
        max_calls: None,
    });
    assert_eq!(call(&meter, Outcome::Complete, Some(FIFTY)), Ok(()));
    assert_eq!(meter.stopped(), None);
    assert_eq!(call(&meter, Outcome::Complete, Some(FIFTY)), Ok(()));
    assert_eq!(
        call(&meter, Outcome::Complete, None),
        Err(Denied::Stopped(Stop::BudgetExceeded))
    );
    assert_eq!(meter.stopped(), Some(Stop::BudgetExceeded));
    assert_eq!(meter.usage().tokens.total(), 100);
}

#[test]
fn what_earlier_turns_spent_counts() {
    let spent = Usage {
        calls: 2,
        ..Usage::default()
    };
    let meter = Meter::new(
        Budget {
            max_calls: Some(3),
            max_total_tokens: None,
        },
        spent,
    );
    assert_eq!(call(&meter, Outcome::Complete, None), Ok(()));
    assert_eq!(
        call(&meter, Outcome::Complete, None),
        Err(Denied::Stopped(Stop::BudgetExceeded))
    );
}

#[test]
fn six_failures_in_a_row_trip_the_breaker_and_a_success_forgives() {
    let meter = meter(Budget::default());
    for _ in 0..5 {
        call(&meter, failure(), None).unwrap();
    }
    call(&meter, Outcome::Complete, Some(FIFTY)).unwrap();
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
    assert_eq!(meter.usage().unmetered_calls, 11);
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
    call_by("ses_d", &meter, Outcome::Complete, None).unwrap();
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
