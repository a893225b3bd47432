//! One round: sessions begin, clients follow, faults strike, and then everything is compared.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::checker::{Allowed, Evidence, check};
use crate::client::{Client, PAUSE};
use crate::dice::Dice;
use crate::evidence;
use crate::follower::{Follower, Habits, Orders, Source, Until};
use crate::llm::Scope;
use crate::model::{LINES, THOUGHTS, WORDS, answer};
use crate::owner::{self, Outcome, Owner, Story};
use crate::plan::{Plan, Work};
use crate::support::sse;
use crate::trace::{Frame, Trace, place};
use crate::world::World;

/// A session that a round left behind, to be read again later.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) id: String,
    pub(crate) replay: Vec<Frame>,
}

#[derive(Debug)]
struct Running {
    orders: Arc<Orders>,
    client: Client,
    work: Work,
    story: JoinHandle<Story>,
    followers: Vec<JoinHandle<Trace>>,
}

/// All that is known of a session at its end.
#[derive(Debug)]
struct Gathered {
    work: Work,
    outcome: Outcome,
    evidence: Evidence,
}

/// Runs a round. Gives the faults found, and the sessions that are there now.
pub(crate) fn run(world: &mut World, seed: u64, round: u64) -> (Vec<String>, Vec<Remembered>) {
    let plan = Plan::of(seed, round, world.has_disk());
    println!("round {round}: {}", told(&plan));
    let began = Instant::now();
    let running: Vec<Running> = plan
        .work
        .iter()
        .zip(0..)
        .map(|(work, n)| begin(world, &plan, work, Dice::new(seed, &[round, n]), began))
        .collect();
    let all = follow_all(world, &plan, Dice::new(seed, &[round, u64::MAX]));
    for fault in &plan.faults {
        // The moment of a fault is what is tried here, so it is a time and not an event.
        sleep((began + fault.at).saturating_duration_since(Instant::now()));
        world.strike(fault, || {
            let orders = running.iter().map(|session| &session.orders);
            for orders in orders.chain([&all.0]) {
                orders.cuts.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let gathered: Vec<Gathered> = running
        .into_iter()
        .map(|session| gather(world, &plan, session))
        .collect();
    *all.0.until.lock() = last_of_all(&gathered);
    let all = all.1.join().unwrap();
    let (mut faults, mut remembered) = (Vec::new(), Vec::new());
    for mut session in gathered {
        session.evidence.all = Some(all.clone());
        let (found, kept) = compare(world, session);
        faults.extend(found);
        remembered.extend(kept);
    }
    world.settle();
    faults.append(&mut world.faults);
    println!("  {} ms", began.elapsed().as_millis());
    (faults, remembered)
}

fn told(plan: &Plan) -> String {
    let mut said = String::new();
    for fault in &plan.faults {
        let (at, held) = (fault.at.as_millis(), fault.held.as_millis());
        write!(said, "{at} ms {:?} ({held} ms); ", fault.kind).unwrap();
    }
    let stops = plan.work.iter().filter_map(|work| work.stop).count();
    let prompts: usize = plan.work.iter().map(|work| work.prompts.len()).sum();
    let sessions = plan.work.len();
    write!(
        said,
        "{sessions} sessions, {prompts} further prompts, {stops} stopped"
    )
    .unwrap();
    said
}

fn begin(world: &World, plan: &Plan, work: &Work, mut dice: Dice, began: Instant) -> Running {
    let file = world.sidecar.workspace().join(format!("{}.txt", work.id));
    let file = file.to_string_lossy().into_owned();
    world
        .llm
        .respond_to(Scope::key(&work.key), move |call, number| {
            answer(call, number, &file)
        });
    let orders = Arc::<Orders>::default();
    let client = Client {
        address: world.address,
        id: work.id.clone(),
        key: work.key.clone(),
        endpoint: world.llm.base(),
        lossy: plan.loses(),
        began,
    };
    let (stream, socket) = (
        Source::Stream(work.id.clone()),
        Source::Socket(work.id.clone()),
    );
    let kinds = [
        (&stream, true, true),
        (&stream, false, true),
        (&stream, dice.percent(50), false),
        (&socket, dice.percent(50), dice.percent(50)),
    ];
    let followers = kinds
        .into_iter()
        .zip(0..)
        .map(|((source, restless, reasoning), n)| {
            let dice = Dice::new(dice.next(), &[n]);
            let habits = Habits {
                restless,
                reasoning,
            };
            let orders = Arc::clone(&orders);
            let follower = Follower::new(world.address, source.clone(), orders, dice, habits);
            thread::spawn(move || follower.run())
        });
    let followers: Vec<JoinHandle<Trace>> = followers.collect();
    let owner = Owner::new(client.clone(), work.clone(), Dice::new(dice.next(), &[]));
    Running {
        followers,
        orders,
        client,
        work: work.clone(),
        story: thread::spawn(move || owner.run()),
    }
}

/// Follows all sessions of the round at once.
fn follow_all(world: &World, plan: &Plan, mut dice: Dice) -> (Arc<Orders>, JoinHandle<Trace>) {
    let orders = Arc::<Orders>::default();
    let ids = plan.work.iter().map(|work| work.id.clone()).collect();
    let habits = Habits {
        restless: dice.percent(50),
        reasoning: true,
    };
    let (source, told) = (Source::All(ids), Arc::clone(&orders));
    let follower = Follower::new(world.address, source, told, dice, habits);
    (orders, thread::spawn(move || follower.run()))
}

/// The last event of the round's sessions in the stream of all.
fn last_of_all(gathered: &[Gathered]) -> Until {
    let stuck = |one: &Gathered| matches!(one.outcome, Outcome::Stuck(_));
    let ordered = gathered
        .iter()
        .filter_map(|one| one.evidence.ordered.as_ref());
    let last = ordered.flatten().filter_map(|frame| frame.id.as_deref());
    let last = last.max_by_key(|id| place(id).map(|(_, position)| position));
    match last {
        Some(last) if !gathered.iter().any(stuck) => Until::Event(last.to_owned()),
        _ => Until::Nothing,
    }
}

/// Waits for the end of a session, and reads all that is kept of it.
fn gather(world: &World, plan: &Plan, session: Running) -> Gathered {
    let Running {
        orders,
        client,
        work,
        story,
        followers,
    } = session;
    let mut story = story.join().unwrap();
    if plan.loses() && matches!(story.outcome, Outcome::Ended(_)) {
        // An end that was shown from memory may have gone with the process. Then the turn ended anew.
        story.outcome = owner::end(&client, &mut None);
    }
    let last = match &story.outcome {
        Outcome::Ended(status) => Until::Event(text(status, "last_event_id")),
        Outcome::Vanished | Outcome::Stuck(_) => Until::Nothing,
    };
    *orders.until.lock() = last;
    let traces: Vec<Trace> = followers
        .into_iter()
        .map(|one| one.join().unwrap())
        .collect();
    let mut evidence = Evidence {
        id: work.id.clone(),
        traces,
        calls: evidence::calls(&world.llm.requests(), &work.key),
        told: story.told,
        given: story.given,
        resumed: story.resumed,
        unsure: story.unsure,
        allowed: Allowed {
            broken: plan.disturbs(),
            sent_home: plan.drains(),
            lost: plan.loses(),
            cancelled: work.cancels(),
            withdrawn: work.stop.is_some(),
        },
        words: WORDS,
        thoughts: THOUGHTS,
        lines: LINES,
        key: work.key.clone(),
        ..Evidence::default()
    };
    if let Outcome::Ended(status) = &story.outcome {
        evidence.replay = replay(world, &work.id);
        evidence.journal = kept(world, &work.id, evidence.replay.as_deref());
        let events = evidence.replay.as_deref().map_or(0, <[Frame]>::len);
        evidence.ordered = Some(evidence::ordered(world.address, &work.id, events));
        let queue = status["queue"].as_array().into_iter().flatten();
        evidence.held = queue.filter_map(|held| held["turn"].as_u64()).collect();
    }
    Gathered {
        work,
        outcome: story.outcome,
        evidence,
    }
}

/// Holds what was seen of a session against what is kept.
fn compare(world: &World, session: Gathered) -> (Vec<String>, Option<Remembered>) {
    let Gathered {
        work,
        outcome,
        evidence,
    } = session;
    let mut faults = Vec::new();
    match &outcome {
        Outcome::Ended(status) => faults.extend(agrees(status, evidence.replay.as_deref())),
        Outcome::Vanished => {}
        Outcome::Stuck(why) => faults.push(format!("stuck: {why}")),
    }
    faults.extend(check(&evidence));
    let faults: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}: {fault}", work.id))
        .collect();
    if !faults.is_empty() {
        dump(world, &work, &evidence, &faults, &outcome);
    }
    let id = work.id;
    (
        faults,
        evidence.replay.map(|replay| Remembered { id, replay }),
    )
}

/// The status tells the same end as the stream.
fn agrees(status: &Value, replay: Option<&[Frame]>) -> Option<String> {
    let replay = replay?;
    // What becomes of prompts that wait may be told behind the last turn.
    let last = replay.iter().rfind(|frame| frame.kind != "prompt")?;
    let state = match last.kind.as_str() {
        "complete" => "completed",
        "error" => "failed",
        _ => "cancelled",
    };
    let same = status["status"] == state
        && replay.last()?.id.as_deref() == status["last_event_id"].as_str()
        && status["turn"] == last.data["turn"]
        && (state != "failed" || status["error"]["code"] == last.data["code"]);
    (!same).then(|| {
        format!(
            "status: it says {status}, and the stream ends with {}",
            last.data
        )
    })
}

pub(crate) fn replay(world: &World, id: &str) -> Option<Vec<Frame>> {
    let path = format!("/sessions/{id}/stream?last_event_id=earliest&include=reasoning");
    let mut stream = sse::Stream::open(world.address, "GET", &path, &[], "");
    (stream.status == 200).then(|| {
        let blocks = stream.blocks();
        blocks
            .iter()
            .filter_map(|block| Frame::parse(block).unwrap())
            .collect()
    })
}

/// The database, once it has what the replay has: after a full disk that may take a moment.
fn kept(world: &World, id: &str, replay: Option<&[Frame]>) -> Option<Vec<Frame>> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let kept = evidence::journal(&world.database(), id).unwrap();
        let whole = kept.as_ref().map(Vec::len) == replay.map(<[Frame]>::len);
        if whole || Instant::now() > deadline {
            return kept;
        }
        sleep(PAUSE);
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// Everything that is known, for whoever looks for the cause.
fn dump(world: &World, work: &Work, evidence: &Evidence, faults: &[String], outcome: &Outcome) {
    let mut said = format!("{}\n\n{outcome:?}\n{work:#?}\n", faults.join("\n"));
    for told in &evidence.told {
        writeln!(said, "{told:?}").unwrap();
    }
    for call in &evidence.calls {
        writeln!(said, "{call:?}").unwrap();
    }
    let (resumed, held) = (&evidence.resumed, &evidence.held);
    writeln!(said, "resumed {resumed:?}, held {held:?}").unwrap();
    for given in &evidence.given {
        writeln!(said, "{given:?}").unwrap();
    }
    for trace in evidence.traces.iter().chain(&evidence.all) {
        writeln!(said, "\n=== {} {:?}", trace.name, trace.stuck).unwrap();
        for connection in &trace.connections {
            let ids: Vec<&str> = connection
                .frames
                .iter()
                .map(|frame| frame.id.as_deref().unwrap_or("gap"))
                .collect();
            let (asked, status, end) = (&connection.asked, connection.status, connection.end);
            writeln!(said, "{asked:?} {status} {end:?} {ids:?}").unwrap();
        }
    }
    for (name, frames) in [
        ("replay", &evidence.replay),
        ("database", &evidence.journal),
        ("stream of all", &evidence.ordered),
    ] {
        writeln!(said, "\n=== {name}").unwrap();
        for frame in frames.iter().flatten() {
            said.push_str(&String::from_utf8_lossy(&frame.raw));
        }
    }
    for log in world.logs.lock().iter().rev().take(4).rev() {
        write!(said, "\n=== a sidecar's log\n{log}").unwrap();
    }
    write!(said, "\n=== the sidecar's log\n{}", world.sidecar.log()).unwrap();
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("chaos-{}-{}.txt", world.seed, work.id));
    std::fs::write(&path, said).unwrap();
    println!("  all that is known: {}", path.display());
}
