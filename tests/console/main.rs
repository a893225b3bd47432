//! The console in a real Chromium, with the real OpenCode and the demo model. The scenarios are beside this, in JavaScript.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows what it saw"
)]

#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Options, Sidecar};

/// Runs the scenarios of some files against the sidecar, if they need one. `on_ask` does what a scenario asks for.
fn run(files: &str, mut sidecar: Option<Sidecar>, mut on_ask: impl FnMut(&mut Sidecar)) {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/console");
    let installed = Path::new(here).join("node_modules").exists();
    assert!(
        installed,
        "the tests of the console are not installed: run tools/test-needs (make test does)"
    );
    let mut node = Command::new("node")
        .args(["run.mjs", files])
        .args(
            sidecar
                .as_ref()
                .map(|sidecar| format!("http://{}", sidecar.address)),
        )
        .current_dir(here)
        // For whoever changes the page: every view, dark and light, wide and narrow.
        .env("PICTURES", concat!(env!("CARGO_TARGET_TMPDIR"), "/console"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answers = node.stdin.take().unwrap();
    let mut passed = 0;
    for line in BufReader::new(node.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        eprintln!("{line}");
        passed += usize::from(line.starts_with("passed "));
        if line.starts_with("ask ") {
            on_ask(sidecar.as_mut().unwrap());
            answers.write_all(b"done\n").unwrap();
        }
    }
    assert!(node.wait().unwrap().success(), "a scenario failed");
    assert!(passed > 0, "no scenario ran");
}

fn with_demo() -> Options {
    Options::real().env("DEMO_MODEL", "on")
}

#[test]
fn people_look_at_sessions() {
    run(
        "scenarios,events",
        Some(with_demo().start().ready()),
        |_| {},
    );
}

#[test]
fn people_steer_sessions_and_the_engine() {
    // The engine is last: it is restarted.
    let files = "asks,prompts,list,engine";
    let options = with_demo().env("EGRESS", "list");
    let options = options.env("EGRESS_ALLOW", "*.npmjs.org,pypi.org:443");
    run(files, Some(options.start().ready()), |_| {});
}

#[test]
fn the_page_follows_over_a_kill_of_the_sidecar() {
    // The page comes back to the same address.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let sidecar = with_demo().env("PORT", &free.to_string()).start().ready();
    run("killed", Some(sidecar), |sidecar| {
        sidecar.signal(Signal::KILL);
        sidecar.restart();
    });
}

#[test]
fn the_page_asks_for_the_secret() {
    let options = Options::stub()
        .env("DEMO_MODEL", "on")
        .env("OPENCODE_SHARED_SECRET", "s3cret-of-the-test");
    run("secret", Some(options.start()), |_| {});
}

#[test]
fn the_parts_that_need_no_browser_hold() {
    run("units", None, |_| {});
}
