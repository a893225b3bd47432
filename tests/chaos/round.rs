//! One round: sessions begin, clients follow, faults strike, and then everything is compared.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::checker::{Allowed, Evidence, check};
use crate::dice::Dice;
use crate::evidence;
use crate::follower::{Follower, Orders, Until};
use crate::llm::Scope;
use crate::plan::{LINES, Plan, THOUGHTS, WORDS, Work, answers};
use crate::support::http::{self, Response};
use crate::support::sse;
use crate::trace::{Frame, Trace};
use crate::world::World;

/// A session may need several starts of the engine, each of which takes seconds on a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_mins(2);

const PAUSE: Duration = Duration::from_millis(50);

/// The client that makes a session, stops it, resumes it, and tells how it ended.
#[derive(Clone, Debug)]
struct Owner {
    address: SocketAddr,
    work: Work,
    endpoint: String,
    lossy: bool,
    began: Instant,
}

/// How a session ended, as its status says it.
#[derive(Clone, Debug)]
enum Outcome {
    Ended(Value),
    /// It is not there any more.
    Vanished,
    Stuck(String),
}

/// A session that a round left behind, to be read again later.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) id: String,
    pub(crate) replay: Vec<Frame>,
}

#[derive(Debug)]
struct Running {
    orders: Arc<Orders>,
    owner: Owner,
    outcome: JoinHandle<Outcome>,
    followers: Vec<JoinHandle<Trace>>,
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
    for fault in &plan.faults {
        // The moment of a fault is what is tried here, so it is a time and not an event.
        sleep((began + fault.at).saturating_duration_since(Instant::now()));
        world.strike(fault, || {
            for session in &running {
                session.orders.cuts.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let (mut faults, mut remembered) = (Vec::new(), Vec::new());
    for session in running {
        let (found, kept) = compare(world, &plan, session);
        faults.extend(found);
        remembered.extend(kept);
    }
    world.settle();
    faults.append(&mut world.faults);
    (faults, remembered)
}

fn told(plan: &Plan) -> String {
    let mut said = String::new();
    for fault in &plan.faults {
        let (at, held) = (fault.at.as_millis(), fault.held.as_millis());
        write!(said, "{at} ms {:?} ({held} ms); ", fault.kind).unwrap();
    }
    let stops = plan.work.iter().filter_map(|work| work.stop).count();
    write!(said, "{} sessions, {stops} stopped", plan.work.len()).unwrap();
    said
}

fn begin(world: &World, plan: &Plan, work: &Work, mut dice: Dice, began: Instant) -> Running {
    let file = world.sidecar.workspace().join(format!("{}.txt", work.id));
    for turn in answers(&file.to_string_lossy()) {
        world.llm.reply_to(Scope::key(&work.key), turn);
    }
    let orders = Arc::<Orders>::default();
    let owner = Owner {
        address: world.address,
        work: work.clone(),
        endpoint: world.llm.base(),
        lossy: plan.loses(),
        began,
    };
    let kinds = [(true, true), (false, true), (dice.percent(50), false)];
    let followers = kinds.into_iter().zip(0..).map(|(kind, n)| {
        let dice = Dice::new(dice.next(), &[n]);
        let follower = Follower::new(world.address, &work.id, orders.clone(), dice, kind);
        thread::spawn(move || follower.run())
    });
    Running {
        followers: followers.collect(),
        orders,
        owner: owner.clone(),
        outcome: thread::spawn(move || owner.run()),
    }
}

/// Waits for the end of a session, reads all that is kept of it, and holds it against what was seen.
fn compare(world: &World, plan: &Plan, session: Running) -> (Vec<String>, Option<Remembered>) {
    let Running {
        orders,
        owner,
        outcome,
        followers,
    } = session;
    let mut outcome = outcome.join().unwrap();
    if plan.loses() && matches!(outcome, Outcome::Ended(_)) {
        // An end that was shown from memory may have gone with the process. Then the turn ended anew.
        outcome = owner.end(&mut None);
    }
    let work = owner.work;
    let last = match &outcome {
        Outcome::Ended(status) => Until::Event(text(status, "last_event_id")),
        Outcome::Vanished | Outcome::Stuck(_) => Until::Nothing,
    };
    *orders.until.lock() = last;
    let traces: Vec<Trace> = followers
        .into_iter()
        .map(|one| one.join().unwrap())
        .collect();
    let mut evidence = Evidence {
        traces,
        allowed: Allowed {
            broken: plan.disturbs(),
            sent_home: plan.drains(),
            lost: plan.loses(),
            stopped: work.stop.is_some(),
        },
        words: WORDS,
        thoughts: THOUGHTS,
        lines: LINES,
        key: work.key.clone(),
        ..Evidence::default()
    };
    let mut faults = Vec::new();
    match &outcome {
        Outcome::Ended(status) => {
            evidence.replay = replay(world, &work.id);
            evidence.journal = kept(world, &work.id, evidence.replay.as_deref());
            let events = evidence.replay.as_deref().map_or(0, <[Frame]>::len);
            evidence.ordered = Some(evidence::ordered(world.address, &work.id, events));
            evidence.turns = status["turn"].as_u64().unwrap_or_default();
            faults.extend(agrees(status, evidence.replay.as_deref()));
        }
        Outcome::Vanished => {}
        Outcome::Stuck(why) => faults.push(format!("stuck: {why}")),
    }
    faults.extend(check(&evidence));
    let faults: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}: {fault}", work.id))
        .collect();
    if !faults.is_empty() {
        dump(world, &work.id, &evidence, &faults, &outcome);
    }
    let id = work.id;
    (
        faults,
        evidence.replay.map(|replay| Remembered { id, replay }),
    )
}

/// The status tells the same end as the stream.
fn agrees(status: &Value, replay: Option<&[Frame]>) -> Option<String> {
    let last = replay?.last()?;
    let state = match last.kind.as_str() {
        "complete" => "completed",
        "error" => "failed",
        _ => "cancelled",
    };
    let same = status["status"] == state
        && last.id.as_deref() == status["last_event_id"].as_str()
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
fn dump(world: &World, id: &str, evidence: &Evidence, faults: &[String], outcome: &Outcome) {
    let mut said = format!("{}\n\n{outcome:?}\n", faults.join("\n"));
    for trace in &evidence.traces {
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
        .join(format!("chaos-{}-{id}.txt", world.seed));
    std::fs::write(&path, said).unwrap();
    println!("  all that is known: {}", path.display());
}

// === impl Owner ===

impl Owner {
    fn run(self) -> Outcome {
        let body = self.model_config();
        let body =
            json!({ "session_id": self.work.id, "prompt": "please do it", "model_config": body });
        // A client that heard nothing asks again with the same idempotency key: one session, not two.
        let created = self.insist("/sessions", &body, |answer| answer.status == 201);
        if let Err(why) = created {
            return Outcome::Stuck(why);
        }
        let mut resumes = self.work.resumes;
        let mut stop = self.work.stop;
        loop {
            let status = match self.end(&mut stop) {
                Outcome::Ended(status) => status,
                other => return other,
            };
            // A completed session can go on too, but then it would have no words left.
            if resumes == 0
                || status["status"] == "completed"
                || status["remote_session_id"].is_null()
            {
                return Outcome::Ended(status);
            }
            resumes -= 1;
            match self.resume() {
                Ok(true) => {}
                Ok(false) => return Outcome::Ended(status),
                Err(why) => return Outcome::Stuck(why),
            }
        }
    }

    fn model_config(&self) -> Value {
        json!({
            "provider": "custom", "model": "model-of-the-test", "api_key": self.work.key,
            "temperature": 0.5, "max_tokens": 4096, "api_endpoint": self.endpoint,
        })
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Option<Response> {
        let key = [("idempotency-key", self.work.id.as_str())];
        let answer = http::send(self.address, method, path, &key, body.as_bytes()).ok()?;
        (answer.status != 0).then_some(answer)
    }

    /// Asks until the answer will do. A sidecar that is away, or not ready, is asked again.
    fn insist(
        &self,
        path: &str,
        body: &Value,
        will_do: impl Fn(&Response) -> bool,
    ) -> Result<Response, String> {
        let deadline = Instant::now() + TEST_TIMEOUT;
        let mut last = None;
        while Instant::now() < deadline {
            match self.ask("POST", path, &body.to_string()) {
                Some(answer) if will_do(&answer) => return Ok(answer),
                Some(answer) if answer.status != 503 => {
                    return Err(format!("POST {path} was answered with {answer:?}"));
                }
                other => last = other.or(last),
            }
            sleep(PAUSE);
        }
        Err(format!(
            "POST {path} was not answered in {TEST_TIMEOUT:?}: {last:?}"
        ))
    }

    /// Whether another turn runs; `false` if there is nothing to go on with.
    fn resume(&self) -> Result<bool, String> {
        let path = format!("/sessions/{}/resume", self.work.id);
        let body = json!({ "model_config": self.model_config() });
        // 409 is the answer too if our first question was heard and its answer was not.
        let answer = self.insist(&path, &body, |answer| {
            matches!(answer.status, 200 | 409) || answer.status == 404 && self.lossy
        })?;
        Ok(answer.status == 200 || answer.body.contains("runs"))
    }

    /// Waits for the end of the turn, and stops it when its time has come.
    fn end(&self, stop: &mut Option<Duration>) -> Outcome {
        let path = format!("/sessions/{}/status", self.work.id);
        let deadline = Instant::now() + TEST_TIMEOUT;
        let mut last = None;
        while Instant::now() < deadline {
            if stop.is_some_and(|stop| self.began.elapsed() >= stop) {
                *stop = None;
                // Whether it is heard or not: the next status tells.
                self.ask("POST", &format!("/sessions/{}/stop", self.work.id), "");
            }
            let answer = self.ask("GET", &path, "");
            if let Some(answer) = &answer {
                if answer.status == 404 && self.lossy {
                    return Outcome::Vanished;
                }
                if !matches!(answer.status, 200 | 503) {
                    return Outcome::Stuck(format!("GET {path} was answered with {answer:?}"));
                }
                let ended = ["completed", "failed", "cancelled"];
                if answer.status == 200 && ended.contains(&text(&answer.json(), "status").as_str())
                {
                    return Outcome::Ended(answer.json());
                }
            }
            last = answer.or(last);
            sleep(PAUSE);
        }
        Outcome::Stuck(format!(
            "the turn does not end in {TEST_TIMEOUT:?}: {last:?}"
        ))
    }
}
