//! The program, run as a person runs it: with the sidecar's address, and nothing else in its environment.

#![expect(
    clippy::disallowed_methods,
    reason = "a test's PATH is that of whoever runs it"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::{Options, SIDECAR, Sidecar};

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

/// A sidecar with the demo model, ready for work.
pub(crate) fn demo() -> Sidecar {
    Options::real().env("DEMO_MODEL", "on").start().ready()
}

pub(crate) fn url(sidecar: &Sidecar) -> String {
    format!("http://{}", sidecar.address)
}

/// A command without a sidecar. Its home is a folder that is not there.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(SIDECAR);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A command that talks to this sidecar.
pub(crate) fn with(sidecar: &Sidecar, arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    command.env("SIDECAR_URL", url(sidecar));
    command
}

pub(crate) fn output(mut command: Command) -> Output {
    let output = command.output().unwrap();
    Output {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

/// Runs it with this on its stdin.
pub(crate) fn fed(mut command: Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    Output {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

/// Runs a command that has to do what it was asked.
pub(crate) fn done(sidecar: &Sidecar, arguments: &[&str]) -> String {
    let output = output(with(sidecar, arguments));
    assert_eq!(output.code, 0, "{arguments:?}: {output:?}");
    output.stdout
}

/// A prompt that the demo model plays.
pub(crate) fn script(lines: &str) -> String {
    format!("```script\n{lines}\n```")
}
