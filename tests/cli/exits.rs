//! How commands end: exit codes and sentences, of turns and of what goes wrong before.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::golden::assert_golden;
use crate::program::{command, demo, done, output, script, url, with};
use crate::support::{Options, Sidecar};

/// Runs a prompt to its end: exit code, and all it printed.
fn run(sidecar: &Sidecar, arguments: &[&str], lines: &str) -> (i32, String) {
    let prompt = script(lines);
    let arguments: Vec<&str> = ["run", "-p", "demo"]
        .iter()
        .chain(arguments)
        .copied()
        .chain([prompt.as_str()])
        .collect();
    let output = output(with(sidecar, &arguments));
    (output.code, output.stdout + &output.stderr)
}

#[test]
fn the_exit_code_of_a_run_is_how_its_turn_ended() {
    let sidecar = demo();
    let (code, text) = run(&sidecar, &[], "error 401 0 no such key");
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("✗ failed: ") && text.contains("(provider_auth)"),
        "{text}"
    );
    let (code, text) = run(&sidecar, &["-q"], "error 401 0 no such key");
    assert_eq!(code, 1, "{text}");
    assert!(
        text.starts_with("error: ") && text.contains("no such key"),
        "{text}"
    );

    let (code, text) = run(&sidecar, &["--timeout", "1s"], "wait 60000");
    assert_eq!(code, 124, "{text}");
    assert!(text.contains("(timeout)"), "{text}");

    // Somebody else stops it.
    let prompt = script("wait 60000");
    let id = done(
        &sidecar,
        &["run", "-d", "-p", "demo", "--session", "long", &prompt],
    );
    assert_eq!(id, "long\n");
    let logs = with(&sidecar, &["logs", "-f", "long"]).spawn().unwrap();
    assert_eq!(done(&sidecar, &["stop", "long"]), "long cancelled\n");
    let ended = logs.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&ended.stdout).contains("■ cancelled"));
}

#[test]
fn a_signal_stops_the_turn_where_nobody_can_be_asked() {
    let sidecar = demo();
    let prompt = script("text Begun.\\n\nwait 60000");
    let mut run = with(
        &sidecar,
        &["run", "-p", "demo", "--session", "int", &prompt],
    )
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "Begun."));
    let pid = Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(run.wait().unwrap().code(), Some(130), "{rest:?}");
    assert_eq!(rest.last().unwrap(), "■ cancelled");
    assert_eq!(
        sidecar.get("/sessions/int/status").json()["status"],
        "cancelled"
    );
}

/// A sidecar whose clients need a secret.
fn with_secret() -> Sidecar {
    Options::stub()
        .env("OPENCODE_SHARED_SECRET", "hunter2")
        .start()
        .ready()
}

/// A command that has it.
fn authorized(sidecar: &Sidecar, arguments: &[&str]) -> Command {
    let mut command = with(sidecar, arguments);
    command.env("SIDECAR_TOKEN", "hunter2");
    command
}

#[test]
fn what_goes_wrong_before_a_turn_is_one_sentence_and_a_code() {
    let sidecar = with_secret();
    let url = url(&sidecar);
    let with = |arguments: &[&str]| output(authorized(&sidecar, arguments));
    for (arguments, code, words) in [
        (vec!["logs", "nope"], 66, "there is no session with this id"),
        (
            vec!["stop", "nope"],
            66,
            "nope: there is no session with this id",
        ),
        (vec!["run", "-p", "nope", "-m", "x", "hi"], 64, "provider"),
        (vec!["run", "-p", "openai", "hi"], 64, "give --model"),
        (vec!["run", "hi"], 64, "give --provider"),
        (
            vec!["run", "-p", "demo", "hi", "--timeout", "soon"],
            64,
            "such as 30, 30s",
        ),
        (vec!["ps", "--limit", "0"], 64, "--limit"),
        (vec!["ps", "--status", "odd"], 64, "status: must be one of"),
        (vec!["psst"], 64, "unrecognized subcommand 'psst'"),
        (
            vec!["ps", "--url", "http://127.0.0.1:1"],
            69,
            "no sidecar answers at http://127.0.0.1:1",
        ),
        (
            vec!["run", "-p", "demo", "--url", "http://127.0.0.1:1", "hi"],
            69,
            "or give --url; `run --local` needs none",
        ),
        (
            vec!["ps", "--url", "ftp://x"],
            64,
            "give an http or https address",
        ),
        (vec!["context", "use", "prod"], 64, "there is no ~/.config/"),
        (
            vec!["ps", "--context", "prod"],
            64,
            "the context prod cannot be used",
        ),
        (
            vec!["ps", "--token-file", "/nonexistent"],
            64,
            "cannot be read",
        ),
    ] {
        let output = with(&arguments);
        assert_eq!(output.code, code, "{arguments:?}: {output:?}");
        assert!(
            output.stderr.starts_with("error: ") && output.stderr.contains(words),
            "{arguments:?}: {output:?}"
        );
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
        assert!(!output.stderr.contains("hunter2"), "{output:?}");
    }
    let mut wrong = command(&["ps"]);
    wrong.env("SIDECAR_URL", &url).env("SIDECAR_TOKEN", "wrong");
    let refused = output(wrong);
    assert_eq!(refused.code, 77, "{refused:?}");
    assert!(
        refused.stderr.contains("SIDECAR_TOKEN or a context"),
        "{refused:?}"
    );
}

#[test]
fn hints_and_warnings_are_no_output_and_hooks_have_codes_too() {
    let sidecar = with_secret();
    let url = url(&sidecar);
    let with = |arguments: &[&str]| output(authorized(&sidecar, arguments));
    let both = with(&["stop", "one", "two"]);
    assert_eq!(both.code, 66, "{both:?}");
    assert!(
        both.stderr.contains("error: one: ") && both.stderr.contains("error: two: "),
        "each is said: {both:?}"
    );
    // What is no output goes to stderr.
    for (arguments, hint) in [
        (&["ps"][..], "no sessions"),
        (&["ps", "--active"], "no sessions"),
        (&["stop", "--all"], "no session runs"),
        (&["context"], "no contexts"),
        (&["config", "print"], "every setting has its default"),
    ] {
        let output = with(arguments);
        assert_eq!((output.code, &*output.stdout), (0, ""), "{output:?}");
        assert!(output.stderr.contains(hint), "{output:?}");
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("opencode-sidecar")).unwrap();
    let file = home.path().join("opencode-sidecar/contexts.toml");
    let text = format!(
        "current = \"t\"\n[contexts.t]\nurl = \"{url}\"\ntoken = \"hunter2\"\nprovider = \"demo\"\nmodel = \"demo\"\n"
    );
    std::fs::write(&file, text).unwrap();
    for (mode, warned) in [(0o644, true), (0o600, false)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut ps = command(&["ps", "-q", "--context", "t"]);
        ps.env("XDG_CONFIG_HOME", home.path());
        let output = output(ps);
        assert_eq!(output.code, 0, "{output:?}");
        assert_eq!(
            output.stderr.contains("others may read it; chmod 600"),
            warned
        );
    }
    let mut context = command(&["context"]);
    context.env("XDG_CONFIG_HOME", home.path());
    assert_golden("context", &output(context).stdout);

    // The commands for the hooks of a container.
    let port = sidecar.address.port().to_string();
    for (arguments, port, secret, code) in [
        (&["healthcheck"][..], "1", "hunter2", 1),
        (&["healthcheck"], &port, "hunter2", 0),
        (&["healthcheck", "--ready"], &port, "hunter2", 0),
        (&["healthcheck", "--nonsense"], &port, "hunter2", 64),
        (&["drain"], "1", "hunter2", 1),
        (&["drain"], &port, "wrong", 1),
        (&["drain", "--nonsense"], &port, "hunter2", 64),
    ] {
        let mut hook = command(arguments);
        hook.env("PORT", port).env("OPENCODE_SHARED_SECRET", secret);
        let output = output(hook);
        assert_eq!(output.code, code, "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_context_names_the_sidecar_its_token_and_its_model() {
    let sidecar = Options::real()
        .env("DEMO_MODEL", "on")
        .env("OPENCODE_SHARED_SECRET", "hunter2")
        .start();
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("opencode-sidecar");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("token"), "hunter2\n").unwrap();
    let contexts = format!(
        "current = \"test\"\n[contexts.test]\nurl = \"{}\"\ntoken_file = \"{}\"\nprovider = \"demo\"\n",
        url(&sidecar),
        dir.join("token").display()
    );
    std::fs::write(dir.join("contexts.toml"), contexts).unwrap();
    sidecar.until("ready", |sidecar| sidecar.get("/ready").status == 200);
    let mut run = command(&["run", "-q", &script("text From the context.")]);
    run.env("XDG_CONFIG_HOME", home.path());
    let output = output(run);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "From the context.\n"),
        "{output:?}"
    );
}
