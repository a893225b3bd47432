//! `run --local`: a sidecar for one prompt, of which nothing is left afterwards.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{command, script};
use crate::support::{TEST_TIMEOUT, processes, real_opencode};
use crate::tmux::Tmux;

/// `run --local` in a folder of its own. Its cache is there too, beside the workspace.
fn local(dir: &Path, prompt: &str) -> Command {
    let workspace = dir.join("workspace");
    std::fs::create_dir(&workspace).unwrap();
    let mut command = command(&["run", "--local", "-p", "demo", prompt]);
    command
        .current_dir(workspace)
        .env("OPENCODE_BIN", real_opencode())
        .env("XDG_CACHE_HOME", dir.join("cache"));
    command
}

/// The data folders that are there.
fn data_dirs(dir: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(dir.join("cache/opencode-sidecar")).unwrap();
    folders
        .map(|folder| folder.unwrap().path().join("data"))
        .collect()
}

#[test]
fn a_prompt_runs_in_this_folder_without_a_server_and_leaves_nothing_but_its_work() {
    let dir = tempfile::tempdir().unwrap();
    let output = local(dir.path(), "Show me what you can do")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        text.contains("● write  demo.md") && text.contains("✓ completed in"),
        "{text}"
    );
    assert!(dir.path().join("workspace/demo.md").exists());
    assert_eq!(
        data_dirs(dir.path()),
        Vec::<PathBuf>::new(),
        "its data is removed"
    );
}

#[test]
fn a_command_that_is_killed_takes_its_server_along() {
    let dir = tempfile::tempdir().unwrap();
    let prompt = script("text begun\nwait 60000");
    let mut run = local(dir.path(), &prompt)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("session "), "{first}");
    let [data] = &data_dirs(dir.path())[..] else {
        panic!("one data folder");
    };
    let server = format!("__local\0{}", run.id());
    assert_eq!(processes::running(&server).len(), 1);
    run.kill().unwrap();
    run.wait().unwrap();
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !processes::marked(data).is_empty() || !processes::running(&server).is_empty() {
        assert!(Instant::now() < deadline, "its server still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
    // What it could not remove is removed by the next one, whose turn cannot be left running either: Ctrl-C says so.
    let terminal = Tmux::without_sidecar(80, 30);
    let prompt = terminal.file(&prompt);
    let variables = format!(
        "OPENCODE_BIN={} XDG_CACHE_HOME={}",
        real_opencode().display(),
        dir.path().join("cache").display()
    );
    terminal.line(&format!(
        "cd {}; clear; {variables} opencode-sidecar run --local -p demo \"$(cat {prompt})\"; echo exit $?",
        dir.path().join("workspace").display()
    ));
    terminal.until("begun", |screen| {
        screen.contains("begun") && screen.contains("thinking")
    });
    terminal.key("C-c");
    let screen = terminal.until("asked", |screen| screen.contains("s stop it"));
    assert!(
        screen.contains("The turn ends with this command.  s stop it   c continue"),
        "{screen}"
    );
    terminal.key("d");
    terminal.until("going on", |screen| {
        !screen.contains("s stop it") && screen.contains("thinking")
    });
    terminal.key("C-c");
    terminal.until("asked again", |screen| screen.contains("s stop it"));
    terminal.key("s");
    let screen = terminal.prompt();
    assert!(
        screen.contains("■ cancelled") && screen.contains("exit 130"),
        "{screen}"
    );
    assert_eq!(data_dirs(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_server_that_cannot_start_says_why_and_one_that_takes_long_is_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let never = dir.path().join("never-ready");
    std::fs::write(&never, "#!/bin/sh\nexec sleep 600\n").unwrap();
    std::fs::set_permissions(&never, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut run = local(dir.path(), "x")
        .env("OPENCODE_BIN", &never)
        .spawn()
        .unwrap();
    let server = format!("__local\0{}", run.id());
    let deadline = Instant::now() + TEST_TIMEOUT;
    while processes::running(&server).is_empty() {
        assert!(Instant::now() < deadline, "its server does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(data_dirs(dir.path()), Vec::<PathBuf>::new());
    assert!(processes::running(&server).is_empty());

    std::fs::remove_dir_all(dir.path().join("workspace")).unwrap();
    let output = local(dir.path(), "x")
        .env("OPENCODE_BIN", "/nonexistent")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        text.contains(
            "no sidecar can be started here: OPENCODE_BIN=\"/nonexistent\" is not accepted"
        ),
        "{text}"
    );
}
