//! A hostile agent in every place where a sidecar runs: each attack was seen to work on an earlier version.
//!
//! An attack is a function of [`Victim`] that panics when the attacker got something. Every place is one
//! test, in which one sidecar suffers its attacks one after the other; all that succeed are reported
//! together. In the tests every place suffers half of the attacks (see [`is_played`]); `make attacks` plays
//! all of them in all places. An attack leaves the sidecar ready. Where an attack is only closed by the kernel's sandbox, its
//! function says so by [`Place::sandbox`] and asserts what holds without it.

mod environment;
mod helpers;
mod links;
mod network;
mod planted;
mod sandbox;

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::llm::Turn;
use crate::place::Place;
use crate::support::{Options, Sidecar, skipped};
use crate::world::{Seen, World, bash};

/// Panics when the attacker got something.
type Attack = fn(&mut Victim);

/// Every attack, by a name that says what the attacker wants.
const ATTACKS: &[(&str, Attack)] = &[
    (
        "read keys in the environments of all processes",
        environment::read_keys,
    ),
    (
        "read the environment of helper processes",
        helpers::read_environment_of_helpers,
    ),
    ("run code through git", helpers::run_code_through_git),
    (
        "none: hooks of the agent's own commit still run",
        helpers::hooks_of_the_agents_own_commit_still_run,
    ),
    (
        "leave the workspace through links",
        links::leave_the_workspace_through_links,
    ),
    (
        "plant an account in the session database",
        planted::plant_an_account_in_the_database,
    ),
    ("use the API from a command", network::use_the_api),
    (
        "take the place of a local server",
        network::take_the_place_of_a_local_server,
    ),
    ("write the journal", network::write_the_journal),
    ("outrun the sweep", planted::outrun_the_sweep),
    ("kill everything", sandbox::kill_everything),
    ("reach the data folder", sandbox::reach_the_data_folder),
    ("look into other processes", sandbox::look_into_processes),
    ("run in another session", sandbox::run_in_another_session),
    (
        "outlive a cancelled session",
        sandbox::outlive_a_cancelled_session,
    ),
    (
        "outlive a finished session",
        sandbox::outlive_a_finished_session,
    ),
    ("take without limit", sandbox::take_without_limit),
];

/// A sidecar with the real OpenCode, and the model that gives the attacker's orders.
pub(crate) struct Victim {
    pub(crate) world: World,
    pub(crate) place: Place,
    sessions: AtomicUsize,
}

// === impl Victim ===

impl Victim {
    fn start(place: Place) -> Self {
        let options = Options::real().env("MAX_CONCURRENT_SESSIONS", "20");
        let options = with_slow_ripgrep(options);
        Self {
            world: World::around(place.start(options)),
            place,
            sessions: AtomicUsize::new(0),
        }
    }

    /// An id that no other session of this sidecar has. It is the session's key too.
    pub(crate) fn new_session(&self) -> String {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        format!("sk-attacker-{number}-{:x}", std::process::id())
    }

    /// Lets the agent of a new session run `commands` one after the other, to the end of its turn.
    pub(crate) fn run<'a>(&self, commands: impl IntoIterator<Item = &'a str>) -> Seen {
        let tools = commands
            .into_iter()
            .map(|command| Turn::new().tool("bash", bash(command)));
        self.play(tools)
    }

    /// Lets the agent of a new session call one tool other than bash.
    pub(crate) fn call(&self, tool: &str, arguments: serde_json::Value) -> Seen {
        self.play([Turn::new().tool(tool, arguments)])
    }

    /// Replaces the child. On a busy machine that takes longer than the call waits.
    pub(crate) fn restart_engine(&self) {
        self.start_engine("restart");
    }

    /// Asks for an operation that ends with a child which is not the present one.
    pub(crate) fn start_engine(&self, operation: &str) {
        let generation = |sidecar: &Sidecar| sidecar.engine()["generation"].as_u64().unwrap();
        let before = generation(self);
        let answer = self.post(&format!("/engine/{operation}"), "");
        assert!(matches!(answer.status, 200 | 202), "{answer:?}");
        self.until("started", |sidecar| {
            generation(sidecar) > before && sidecar.get("/ready").status == 200
        });
    }

    /// Lets the agent of a new session call these tools one after the other.
    pub(crate) fn play(&self, tools: impl IntoIterator<Item = Turn>) -> Seen {
        let id = self.new_session();
        let end = Turn::new().text("done");
        self.world.script(&id, tools.into_iter().chain([end]));
        self.world.create_with(&id, |body| {
            body["model_config"]["enabled_tools"] = json!(["file_ops", "code_exec"]);
        });
        self.world.follow(&id)
    }
}

impl Deref for Victim {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// Puts a ripgrep first on PATH that finds nothing and takes its time, so that it can be watched. Not every
/// machine has a real one.
fn with_slow_ripgrep(options: Options) -> Options {
    let tools = options.dir.path().join("tools");
    fs::create_dir(&tools).unwrap();
    fs::write(tools.join("rg"), "#!/bin/sh\nsleep 0.3\nexit 1\n").unwrap();
    fs::set_permissions(tools.join("rg"), fs::Permissions::from_mode(0o755)).unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "the sidecar is to find what we find"
    )]
    let path = std::env::var("PATH").unwrap();
    options.env("PATH", &format!("{}:{path}", tools.display()))
}

/// Whether the tests play the attack at this position of [`ATTACKS`] in this place: each attack in four of
/// the eight places, in which any two of the three properties of a place come in every combination.
fn is_played(position: usize, place: Place) -> bool {
    let properties = [place.root, place.first, place.sandbox];
    let had = properties.into_iter().filter(|property| *property).count();
    (position + had).is_multiple_of(2)
}

/// A variable of this test run.
#[expect(
    clippy::disallowed_methods,
    reason = "a test has no configuration of its own"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs the attacks of one place, and fails with the names of those that succeeded.
fn attack(root: bool, first: bool, sandbox: bool) {
    if !rustix::process::geteuid().is_root() {
        skipped("only root may make the namespaces this needs");
        return;
    }
    let place = Place {
        root,
        first,
        sandbox,
    };
    let mut victim = Victim::start(place);
    // All attacks (`ATTACK=`), or one while a mend is made: `ATTACK=part-of-its-name cargo nextest run …`.
    let chosen = variable("ATTACK");
    let mut succeeded = Vec::new();
    for (position, (name, attack)) in ATTACKS.iter().enumerate() {
        let plays = match &chosen {
            Some(part) => name.contains(part),
            None => is_played(position, place),
        };
        if !plays {
            continue;
        }
        // The panic's own message was printed when it happened.
        if catch_unwind(AssertUnwindSafe(|| attack(&mut victim))).is_err() {
            succeeded.push(*name);
        }
    }
    assert!(
        succeeded.is_empty(),
        "as {place}, these attacks succeeded: {succeeded:#?}"
    );
}

#[test]
fn every_attack_is_played_in_every_combination_of_two_properties() {
    let both = [false, true];
    let places = || {
        let triples = both
            .into_iter()
            .flat_map(|root| both.map(|first| both.map(|sandbox| [root, first, sandbox])));
        triples.flatten()
    };
    for position in 0..ATTACKS.len() {
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            for (wanted_one, wanted_other) in places().map(|place| (place[0], place[1])) {
                let played = places().filter(|properties| {
                    let [root, first, sandbox] = *properties;
                    let place = Place {
                        root,
                        first,
                        sandbox,
                    };
                    properties[one] == wanted_one
                        && properties[other] == wanted_other
                        && is_played(position, place)
                });
                assert_eq!(played.count(), 1);
            }
        }
    }
}

#[test]
fn attacks_as_nobody() {
    attack(false, false, true);
}

#[test]
fn attacks_as_nobody_without_the_sandbox() {
    attack(false, false, false);
}

#[test]
fn attacks_as_nobody_under_process_1() {
    attack(false, true, true);
}

#[test]
fn attacks_as_nobody_under_process_1_without_the_sandbox() {
    attack(false, true, false);
}

#[test]
fn attacks_as_root() {
    attack(true, false, true);
}

#[test]
fn attacks_as_root_without_the_sandbox() {
    attack(true, false, false);
}

#[test]
fn attacks_as_root_under_process_1() {
    attack(true, true, true);
}

#[test]
fn attacks_as_root_under_process_1_without_the_sandbox() {
    attack(true, true, false);
}
