use super::*;
use crate::session::Prompt;

type Receiver = oneshot::Receiver<SteerOutcome>;

const WHOLE: fn(&str) -> Presence = |_| Presence::Whole;
const ABSENT: fn(&str) -> Presence = |_| Presence::Absent;

fn steer(record: SteerRecord, since: Instant) -> (Steer, Receiver) {
    let (outcome_tx, outcome_rx) = oneshot::channel();
    let steer = Steer {
        prompt: Prompt::text("more"),
        record,
        since,
        outcome_tx,
    };
    (steer, outcome_rx)
}

fn add(steers: &mut Steers, words: &str) -> Receiver {
    let (steer, outcome_rx) = steer(SteerRecord::for_tests(), Instant::now());
    steers.add(steer, PromptText::for_tests(words));
    outcome_rx
}

fn add_with_key(steers: &mut Steers, digest: u8) -> Receiver {
    let record = SteerRecord::for_tests().with_key("k", digest);
    let (steer, outcome_rx) = steer(record, Instant::now());
    steers.add(steer, PromptText::for_tests("more"));
    outcome_rx
}

/// One that the conversation has.
fn stored(steers: &mut Steers) -> Receiver {
    let client = add(steers, "more");
    steers.next_to_hand_over();
    steers.on_handed_over(HandOver::Stored);
    client
}

/// One of which nobody knows whether the agent has it.
fn unsure(steers: &mut Steers) -> (String, Receiver) {
    let client = add(steers, "more");
    let mut id = String::new();
    for _ in 0..ATTEMPTS {
        id = steers.next_to_hand_over().unwrap().0.message_id;
        steers.on_handed_over(HandOver::NotStored(Presence::Absent));
    }
    (id, client)
}

/// What there is to tell; the clients are answered.
fn announced(steers: &mut Steers) -> Vec<&'static str> {
    let announcements = steers.take_announcements().into_iter();
    let told = announcements.map(|announcement| match announcement {
        Announcement::Steered(_) => "steered",
        Announcement::Forgotten(_) => "forgotten",
        Announcement::Outcome(clients, outcome) => {
            for client in clients {
                client.send(outcome).ok();
            }
            "outcome"
        }
    });
    told.collect()
}

fn outcome(client: &mut Receiver) -> Option<SteerOutcome> {
    client.try_recv().ok()
}

#[test]
fn a_turn_that_was_told_nothing_may_end() {
    let mut steers = Steers::default();
    assert!(steers.is_empty());
    assert_eq!(steers.settle(0, ABSENT), Verdict::Settled);
}

#[test]
fn one_that_is_stored_is_told_first_to_the_stream_and_then_to_its_client() {
    let mut steers = Steers::default();
    let mut client = stored(&mut steers);
    assert_eq!(announced(&mut steers), ["steered", "outcome"]);
    assert_eq!(outcome(&mut client), Some(SteerOutcome::Taken));
    // It may have been summarised since.
    assert_eq!(steers.settle(steers.changes(), ABSENT), Verdict::Settled);
    assert_eq!(announced(&mut steers), [""; 0], "once");
}

#[test]
fn an_end_that_was_asked_for_before_a_prompt_was_stored_is_no_end() {
    let mut steers = Steers::default();
    let _client = add(&mut steers, "more");
    let asked = steers.changes();
    let pending = Verdict::AskAgain(PENDING_PAUSE);
    assert_eq!(steers.settle(asked, WHOLE), pending, "not handed over");
    steers.next_to_hand_over();
    assert_eq!(steers.settle(asked, WHOLE), pending, "on its way");
    steers.on_handed_over(HandOver::Stored);
    let at_once = Verdict::AskAgain(Duration::ZERO);
    assert_eq!(steers.settle(asked, WHOLE), at_once, "the answer is older");
    assert_eq!(steers.settle(steers.changes(), WHOLE), Verdict::Settled);
}

#[test]
fn what_opencode_took_and_did_not_store_is_told_to_nobody_and_handed_over_again() {
    let mut steers = Steers::default();
    let mut client = add(&mut steers, "more");
    let first = steers.next_to_hand_over().unwrap().0.message_id;
    steers.on_handed_over(HandOver::NotStored(Presence::Absent));
    assert_eq!(announced(&mut steers), [""; 0]);
    let second = steers.next_to_hand_over().unwrap().0.message_id;
    assert_eq!(first, second, "the same ids");
    // Under the same id OpenCode would only add to a message without words.
    steers.on_handed_over(HandOver::NotStored(Presence::WithoutWords));
    assert_ne!(steers.next_to_hand_over().unwrap().0.message_id, first);
    steers.on_handed_over(HandOver::Stored);
    announced(&mut steers);
    assert_eq!(outcome(&mut client), Some(SteerOutcome::Taken));
}

#[test]
fn what_never_arrives_is_a_turn_of_its_own_and_ends_this_one_no_sooner() {
    let mut steers = Steers::default();
    let (_, mut client) = unsure(&mut steers);
    assert!(steers.next_to_hand_over().is_none());
    let mut pauses = Vec::new();
    while let Verdict::AskAgain(pause) = steers.settle(steers.changes(), ABSENT) {
        pauses.push(pause.as_millis());
    }
    assert_eq!(pauses, [100, 200, 400, 800, 0]);
    assert_eq!(announced(&mut steers), ["forgotten", "outcome"]);
    assert_eq!(outcome(&mut client), Some(SteerOutcome::NotTaken));
}

#[test]
fn one_of_which_nobody_knew_is_found_in_the_conversation() {
    let mut steers = Steers::default();
    let (id, mut client) = unsure(&mut steers);
    let again = Verdict::AskAgain(Duration::from_millis(100));
    assert_eq!(steers.settle(steers.changes(), ABSENT), again);
    let ours = |asked: &str| {
        if asked == id {
            Presence::Whole
        } else {
            Presence::Absent
        }
    };
    assert_eq!(steers.settle(steers.changes(), ours), Verdict::Settled);
    assert_eq!(announced(&mut steers), ["steered", "outcome"]);
    assert_eq!(outcome(&mut client), Some(SteerOutcome::Taken));
}

#[test]
fn one_that_is_refused_may_be_a_turn_of_its_own() {
    let mut steers = Steers::default();
    let mut client = add(&mut steers, "more");
    steers.next_to_hand_over();
    steers.on_handed_over(HandOver::Refused);
    assert_eq!(announced(&mut steers), ["forgotten", "outcome"]);
    assert_eq!(outcome(&mut client), Some(SteerOutcome::NotTaken));
    assert!(steers.is_empty());
}

#[test]
fn a_call_without_an_answer_is_made_again_and_the_conversation_has_the_last_word() {
    for last in [HandOver::NoAnswer, HandOver::Refused] {
        let mut steers = Steers::default();
        let mut client = add(&mut steers, "more");
        let id = steers.next_to_hand_over().unwrap().0.message_id;
        for _ in 1..ATTEMPTS {
            steers.on_handed_over(HandOver::NoAnswer);
            assert_eq!(
                steers.next_to_hand_over().unwrap().0.message_id,
                id,
                "the same ids"
            );
        }
        steers.on_handed_over(last);
        assert_eq!(announced(&mut steers), [""; 0], "nothing is known");
        assert!(steers.next_to_hand_over().is_none());
        assert_eq!(steers.settle(steers.changes(), WHOLE), Verdict::Settled);
        assert_eq!(announced(&mut steers), ["steered", "outcome"]);
        assert_eq!(outcome(&mut client), Some(SteerOutcome::Taken));
    }
}

#[test]
fn one_that_nobody_waits_for_any_more_is_not_handed_over() {
    let mut steers = Steers::default();
    let first = add(&mut steers, "first");
    drop(first);
    assert!(steers.next_to_hand_over().is_none());
    assert!(steers.is_empty());
    // One that was handed over is part of the turn, whoever has gone.
    let second = add(&mut steers, "second");
    steers.next_to_hand_over();
    drop(second);
    assert!(steers.next_to_hand_over().is_none());
    steers.on_handed_over(HandOver::Stored);
    assert_eq!(announced(&mut steers), ["steered", "outcome"]);
}

#[test]
fn they_are_handed_over_one_by_one_in_their_order() {
    let mut steers = Steers::default();
    let _clients = [add(&mut steers, "first"), add(&mut steers, "second")];
    let first = steers.next_to_hand_over().unwrap();
    assert!(steers.next_to_hand_over().is_none());
    steers.on_handed_over(HandOver::NoAnswer);
    assert_eq!(
        steers.next_to_hand_over().unwrap().0.message_id,
        first.0.message_id
    );
    steers.on_handed_over(HandOver::Stored);
    assert_ne!(
        steers.next_to_hand_over().unwrap().0.message_id,
        first.0.message_id
    );
}

#[test]
fn the_next_child_is_told_what_the_dead_one_had_not_stored() {
    for (presence, same_ids) in [(Presence::Absent, true), (Presence::WithoutWords, false)] {
        let mut steers = Steers::default();
        let _stored = stored(&mut steers);
        let mut client = add(&mut steers, "sent");
        let id = steers.next_to_hand_over().unwrap().0.message_id;
        announced(&mut steers);
        steers.child_lost();
        steers.next_child(|_| presence);
        let again = steers.next_to_hand_over().unwrap().0.message_id;
        assert_eq!(again == id, same_ids, "{presence:?}");
        steers.on_handed_over(HandOver::Stored);
        assert!(steers.next_to_hand_over().is_none(), "the other is stored");
        announced(&mut steers);
        assert_eq!(outcome(&mut client), Some(SteerOutcome::Taken));
    }
    // The one on its way had arrived.
    let mut steers = Steers::default();
    let mut client = add(&mut steers, "more");
    steers.next_to_hand_over();
    steers.child_lost();
    steers.next_child(WHOLE);
    assert!(steers.next_to_hand_over().is_none());
    announced(&mut steers);
    assert_eq!(outcome(&mut client), Some(SteerOutcome::Taken));
}

#[test]
fn one_that_the_next_child_refuses_is_a_turn_of_its_own() {
    let mut steers = Steers::default();
    let mut client = add(&mut steers, "more");
    steers.next_to_hand_over();
    steers.child_lost();
    steers.next_child(ABSENT);
    steers.next_to_hand_over();
    steers.on_handed_over(HandOver::Refused);
    assert_eq!(announced(&mut steers), ["forgotten", "outcome"]);
    assert_eq!(outcome(&mut client), Some(SteerOutcome::NotTaken));
}

#[test]
fn clients_do_not_wait_for_ever() {
    let now = Instant::now();
    let mut steers = Steers::default();
    let mut waits = add(&mut steers, "waits");
    steers.on_time(now + WAIT - Duration::from_secs(1));
    assert_eq!(announced(&mut steers), [""; 0]);
    steers.on_time(now + WAIT + Duration::from_secs(1));
    announced(&mut steers);
    assert_eq!(outcome(&mut waits), Some(SteerOutcome::NotTaken));
    assert!(steers.is_empty());

    let mut unsure = add(&mut steers, "unsure");
    steers.next_to_hand_over();
    steers.on_time(now + WAIT + Duration::from_secs(1));
    assert_eq!(outcome(&mut unsure), None);
    steers.on_time(now + ANSWER + Duration::from_secs(1));
    announced(&mut steers);
    assert_eq!(outcome(&mut unsure), Some(SteerOutcome::Unknown));
    // The agent may have it all the same: then the stream says so.
    steers.on_handed_over(HandOver::Stored);
    assert_eq!(announced(&mut steers), ["steered"]);
}

#[test]
fn at_the_end_of_the_turn_what_was_handed_over_is_part_of_it_and_nobody_waits() {
    let mut steers = Steers::default();
    let (_, mut unsure) = unsure(&mut steers);
    let (mut sent, mut new) = (add(&mut steers, "sent"), add(&mut steers, "new"));
    steers.next_to_hand_over();
    steers.end();
    let told = ["steered", "outcome", "steered", "outcome", "outcome"];
    assert_eq!(announced(&mut steers), told);
    assert_eq!(outcome(&mut unsure), Some(SteerOutcome::Unknown));
    assert_eq!(outcome(&mut sent), Some(SteerOutcome::Unknown));
    assert_eq!(outcome(&mut new), Some(SteerOutcome::NotTaken));
}

#[test]
fn the_same_key_is_the_same_prompt() {
    let mut steers = Steers::default();
    let (mut first, mut again) = (add_with_key(&mut steers, 1), add_with_key(&mut steers, 1));
    let mut other = add_with_key(&mut steers, 2);
    steers.next_to_hand_over();
    steers.on_handed_over(HandOver::Stored);
    assert!(
        steers.next_to_hand_over().is_none(),
        "it is handed over once"
    );
    let mut late = add_with_key(&mut steers, 1);
    announced(&mut steers);
    for client in [&mut first, &mut again, &mut late] {
        assert_eq!(outcome(client), Some(SteerOutcome::Taken));
    }
    assert_eq!(outcome(&mut other), Some(SteerOutcome::KeyReused));
}

#[test]
fn one_that_may_be_with_the_agent_is_known_by_its_key() {
    let mut steers = Steers::default();
    let record = |key: &str| SteerRecord::for_tests().with_key(key, 1);
    let _client = add_with_key(&mut steers, 1);
    assert!(!steers.has(&record("k")), "the agent never had it");
    steers.next_to_hand_over();
    assert!(steers.has(&record("k")));
    assert!(!steers.has(&record("other")) && !steers.has(&SteerRecord::for_tests()));
}

#[test]
fn one_too_many_is_a_turn_of_its_own() {
    let mut steers = Steers::default();
    let clients: Vec<Receiver> = (0..MOST).map(|_| add(&mut steers, "more")).collect();
    let mut last = add(&mut steers, "one too many");
    announced(&mut steers);
    assert_eq!(outcome(&mut last), Some(SteerOutcome::NotTaken));
    drop(clients);
}
