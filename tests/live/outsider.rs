//! Somebody who runs as the sidecar's user beside it, and descends neither from it nor from the agent.

use std::process::{Command, Stdio};

use crate::place::Place;
use crate::support::{Options, skipped};

/// Opens whatever it can of every process with `argv[1]` among its arguments, until it is killed, and says
/// how many there were. What it reads it writes to its output.
const LOOK: &str = r#"
import os, sys, fcntl
seen = set()
while True:
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            line = open(f"/proc/{name}/cmdline", "rb").read()
        except OSError:
            continue
        if sys.argv[1].encode() not in line or b"__become" not in line and b"serve" not in line:
            continue
        if name not in seen:
            seen.add(name)
            print("seen", name, flush=True)
        for file in ["environ", "fd/0", "mem"]:
            try:
                handle = os.open(f"/proc/{name}/{file}", os.O_RDONLY | os.O_NONBLOCK)
                print("opened", file, name, flush=True)
                os.close(handle)
            except OSError:
                pass
"#;

const RESTARTS: usize = 60;

#[test]
fn nothing_of_a_starting_child_can_be_opened_by_others_of_its_user() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root may make the mount namespace this needs");
        return;
    }
    let sidecar = Place::NOBODY.start(Options::stub()).ready();
    let bin = sidecar.data_dir().parent().unwrap().join("opencode");
    let mut outsider = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(["python3", "-c", LOOK, &bin.to_string_lossy()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..RESTARTS {
        assert_eq!(sidecar.post("/engine/restart", "").status, 200);
    }
    outsider.kill().unwrap();
    let output = outsider.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.matches("seen").count() > RESTARTS / 2, "{said}");
    assert!(!said.contains("opened"), "{said}");
}
