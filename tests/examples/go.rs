//! `examples/go`.

use std::process::Command;

use rustix::process::Signal;

use crate::world::{
    Running, TOKEN, assert_whole, file, free_port, options, program, ready, script,
};

fn go(arguments: &[&str]) {
    let cache = file("target/examples/go");
    let output = Command::new("go")
        .args(arguments)
        .current_dir(file("examples/go"))
        .env("GOCACHE", cache)
        // It needs nothing but the standard library.
        .env("GOPROXY", "off")
        .env("GOFLAGS", "-mod=readonly")
        .output()
        .unwrap_or_else(|error| panic!("{error}: no Go; run tools/test-needs (make test does)"));
    assert!(output.status.success(), "go {arguments:?}: {output:?}");
}

#[test]
fn the_backend_s_client_gets_through_a_kill_of_the_sidecar_and_stops_what_it_does_not_want() {
    let dir = tempfile::tempdir().unwrap();
    let built = dir.path().join("client").to_string_lossy().into_owned();
    go(&["vet", "./..."]);
    go(&["build", "-o", &built, "."]);
    // A pod that is replaced comes back at the same address.
    let mut sidecar = ready(options().env("PORT", &free_port().to_string()));
    let url = format!("http://{}", sidecar.address);
    let client = |arguments: &[&str]| {
        let mut command = program(&built, &url);
        command.args(arguments);
        Running::start(command)
    };

    let prompt = script("text Begun.\nwait 60000\ntext Never said.");
    let mut task = client(&["-id", "task", &prompt]);
    task.until("Begun.");
    sidecar.signal(Signal::KILL);
    sidecar.restart();
    sidecar.token = Some(TOKEN.to_owned());
    let text = task.done();
    assert!(text.contains("\ninterrupted, going on\n"), "{text}");
    assert!(text.contains("\ndone: That was the demo."), "{text}");
    let events = text.lines().filter(|line| line.contains('"'));
    assert_whole(events.filter_map(|line| line.split(' ').next()));

    // The backend that crashed calls it again: what is done is told and not done again.
    let last = text
        .lines()
        .rfind(|line| line.contains(" complete "))
        .unwrap();
    let last = last.split(' ').next().unwrap();
    for arguments in [
        &["-id", "task", &prompt][..],
        &["-id", "task", "-since", last],
    ] {
        let again = client(arguments).done();
        assert!(
            again.contains("done:") && !again.contains("going on"),
            "{again}"
        );
    }
    let status = sidecar.get("/sessions/task/status").json();
    assert_eq!(
        (&status["turn"], &status["status"]),
        (&2.into(), &"completed".into())
    );

    let mut task = client(&["-id", "unwanted", &prompt]);
    task.until("Begun.");
    client(&["-stop", "unwanted"]).done();
    assert!(task.done().ends_with("\ncancelled\n"));

    // A creation that is repeated is the same session, with the same end.
    let task = client(&["-id", "unwanted", &prompt]);
    assert!(task.done().ends_with("\ncancelled\n"));
}
