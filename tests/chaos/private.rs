//! A test in a mount namespace of its own: what it mounts, nobody else sees, and the kernel takes it away with
//! the last process in there, however that ends.

use std::process::{Command, Stdio};

/// Says to a test that it runs in there.
const INSIDE: &str = "CHAOS_PRIVATE_MOUNTS";

/// Runs the test `name` of this binary once more, in there, and asserts that it passes. `false`: the caller is
/// to go on here, because this is in there, or because this user may not make a namespace.
pub(crate) fn ran_with_mounts_of_its_own(name: &str) -> bool {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--"]);
        command
    };
    let possible = unshare()
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if std::env::var_os(INSIDE).is_some() || !possible {
        return false;
    }
    let status = unshare()
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed in its mount namespace");
    true
}
