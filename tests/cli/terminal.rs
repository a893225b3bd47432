//! Commands on a terminal, as a person sees them.

use std::time::Duration;

use rustix::process::Signal;

use crate::golden::fits;
use crate::program::{demo, done, script};
use crate::tmux::Tmux;

/// Between two looks of `top`.
const INTERVAL: Duration = Duration::from_millis(200);

/// Lines of the screen from the one that fits on.
fn from<'a>(screen: &'a str, first: &str) -> Vec<&'a str> {
    let lines = screen.lines().skip_while(|line| !fits(first, line));
    lines.map(str::trim_end).collect()
}

#[test]
fn a_run_shows_what_goes_on_and_leaves_a_clean_transcript() {
    let sidecar = demo();
    let terminal = Tmux::start(&sidecar, 60, 40);
    let prompt = terminal.file(&script(concat!(
        "text These are more words than a row of this narrow terminal has room for.\n",
        r#"tool bash {"command":"for i in $(seq 20); do echo line $i; sleep 0.1; done"}"#,
        "\ntext Done."
    )));
    terminal.line(&format!(
        "opencode-sidecar run -p demo - < {prompt}; echo exit $?"
    ));
    let running = terminal.until("running", |screen| screen.contains("line 3"));
    let last = running.trim_end().lines().last().unwrap().to_owned();
    assert!(fits("… bash for i in …", &last), "{running}");
    assert!(
        terminal.coloured().contains("\u{1b}[36m"),
        "colours on a terminal"
    );
    let screen = terminal.prompt();
    let seen = from(&screen, "session … · demo demo");
    let expected = [
        "session … · demo demo",
        "",
        "These are more words than a row of this narrow terminal has",
        "room for.",
        "",
        "● bash  for i in $(seq 20); do echo line $i; sleep 0.1; done",
        "│ line 1",
    ];
    for (expected, line) in expected.iter().zip(&seen) {
        assert!(
            fits(expected, line),
            "expected {expected:?}, seen {line:?}:\n{screen}"
        );
    }
    assert_eq!(seen[17], "│ line 12", "{screen}");
    assert_eq!(seen[18], "│ … 8 more lines (--full shows all)", "{screen}");
    assert!(fits("└ exit 0, … s", seen[19]), "{screen}");
    assert_eq!(seen[20..23], ["", "Done.", ""], "{screen}");
    assert!(
        fits("✓ completed in … s · … tokens read, … written", seen[23]),
        "{screen}"
    );
    assert_eq!(seen[24..26], ["exit 0", "$"], "{screen}");
}

#[test]
fn ctrl_c_asks_what_to_do_and_twice_stops() {
    let sidecar = demo();
    let terminal = Tmux::start(&sidecar, 80, 30);
    let prompt = terminal.file(&script("text Begun.\nwait 60000"));
    let run = |id: &str| {
        terminal.line(&format!(
            "clear; opencode-sidecar run -p demo --session {id} \"$(cat {prompt})\"; echo exit $?"
        ));
        terminal.until("begun", |screen| {
            screen.contains("Begun.") && screen.contains("thinking")
        });
        terminal.key("C-c");
        terminal.until("asked", |screen| {
            screen.contains("s stop it   d detach, it goes on   c continue")
        });
    };
    let state = |id: &str| sidecar.get(&format!("/sessions/{id}/status")).json()["status"].clone();

    run("goes-on");
    terminal.key("c");
    terminal.until("going on", |screen| {
        !screen.contains("stop it") && screen.contains("thinking")
    });
    terminal.key("C-c");
    terminal.until("asked again", |screen| screen.contains("stop it"));
    terminal.key("d");
    let screen = terminal.prompt();
    assert!(
        screen.contains("Detached; the turn goes on.") && screen.contains("exit 0"),
        "{screen}"
    );
    assert_eq!(state("goes-on"), "running");

    run("stopped");
    terminal.key("s");
    let screen = terminal.prompt();
    assert!(
        screen.contains("■ cancelled") && screen.contains("exit 130"),
        "{screen}"
    );
    assert_eq!(state("stopped"), "cancelled");

    run("twice");
    terminal.key("C-c");
    let screen = terminal.prompt();
    assert!(screen.contains("exit 130"), "{screen}");
    assert_eq!(state("twice"), "cancelled");

    run("hangs");
    sidecar.signal(Signal::STOP);
    terminal.key("s");
    terminal.until("going to stop", |screen| !screen.contains("stop it"));
    terminal.key("C-c");
    assert!(
        terminal.prompt().contains("exit 130"),
        "nobody waits for a sidecar that hangs"
    );
    sidecar.signal(Signal::CONT);
    // The terminal is as it was: what is typed is shown.
    terminal.line("echo back again");
    terminal.until("shown", |screen| screen.matches("back again").count() == 2);
}

#[test]
fn hostile_output_changes_nothing_but_the_text() {
    let sidecar = demo();
    let terminal = Tmux::start(&sidecar, 80, 30);
    let before = terminal.title();
    let prompt = terminal.file(&script(concat!(
        "text \u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31mhello\u{202e}\n",
        r#"tool bash {"command":"printf '\\033]0;owned\\007\\033[2J\\033[?1049hevil\\n'"}"#,
        "\ntext done"
    )));
    terminal.line(&format!("opencode-sidecar run -p demo \"$(cat {prompt})\""));
    let screen = terminal.prompt();
    assert!(from(&screen, "session …").contains(&"hello"), "{screen}");
    assert!(
        screen.contains("│ evil") && screen.contains("✓ completed"),
        "{screen}"
    );
    assert_eq!(terminal.title(), before);
    assert!(
        !terminal.coloured().contains("\u{1b}[31m"),
        "no colour that was not ours"
    );
}

#[test]
fn top_is_live_fits_the_terminal_and_gives_it_back() {
    let sidecar = demo();
    let terminal = Tmux::start(&sidecar, 100, 12);
    terminal.line("echo before; opencode-sidecar top --interval 200ms");
    terminal.until("up", |screen| {
        screen.contains("engine ready") && screen.contains("no sessions")
    });
    let prompt = script("text x\nwait 60000");
    done(
        &sidecar,
        &["run", "-d", "-p", "demo", "--session", "one", &prompt],
    );
    let screen = terminal.until("live", |screen| {
        screen.contains("1 active") && screen.contains("one ")
    });
    assert!(screen.contains("q leave   a all or active"), "{screen}");
    done(&sidecar, &["stop", "one"]);
    terminal.until("ended", |screen| {
        screen.contains("0 active") && screen.contains("cancelled")
    });
    terminal.key("a");
    terminal.until("active only", |screen| screen.contains("no sessions"));
    terminal.resize(40);
    terminal.until("narrow", |screen| {
        screen.lines().all(|line| line.chars().count() <= 40)
    });
    // Ctrl-Z gives the terminal to the shell, as it was.
    terminal.key("C-z");
    terminal.until("the shell", |screen| {
        screen.contains("before") && screen.contains("Stopped")
    });
    terminal.line("echo sh''own");
    terminal.until("typing is shown", |screen| {
        screen.contains("echo sh''own") && screen.contains("\nshown")
    });
    terminal.line("fg");
    terminal.until("up again", |screen| screen.contains("engine ready"));
    // Keys are heard while the sidecar does not answer.
    sidecar.signal(Signal::STOP);
    std::thread::sleep(2 * INTERVAL);
    terminal.key("q");
    terminal.until("back", |screen| {
        screen.contains("before") && !screen.contains("engine")
    });
    sidecar.signal(Signal::CONT);
}

#[test]
fn the_doctor_is_read_from_top_to_bottom() {
    let sidecar = demo();
    let terminal = Tmux::start(&sidecar, 120, 40);
    terminal.line("clear; WORKSPACE_DIR=/nonexistent DATA_DIR=/proc/x opencode-sidecar doctor --offline; echo exit $?");
    let screen = terminal.prompt();
    assert!(
        screen.contains("✗ workspace     /nonexistent does not exist"),
        "{screen}"
    );
    assert!(
        screen.contains("                → mount the volume there or set WORKSPACE_DIR"),
        "{screen}"
    );
    assert!(
        screen.contains("things are in the way") && screen.contains("exit 1"),
        "{screen}"
    );
    assert!(!screen.contains("checking"), "what moved is gone: {screen}");
    assert!(
        terminal.coloured().contains("\u{1b}[31m✗"),
        "a fault is red"
    );
    terminal.line("clear; NO_COLOR=1 opencode-sidecar doctor --offline");
    terminal.prompt();
    assert!(
        !terminal.coloured().contains("\u{1b}[31m"),
        "NO_COLOR is obeyed"
    );
}

#[test]
fn a_session_is_taken_part_in_as_a_conversation() {
    let sidecar = demo();
    done(
        &sidecar,
        &[
            "run",
            "-q",
            "-p",
            "demo",
            "--session",
            "talk",
            &script("text The first turn."),
        ],
    );
    let terminal = Tmux::start(&sidecar, 80, 30);
    terminal.line("clear; opencode-sidecar attach -p demo talk; echo exit $?");
    let screen = terminal.until("idle", |screen| screen.contains("idle · type a prompt"));
    assert!(
        screen.contains("The first turn.") && screen.contains("✓ completed"),
        "{screen}"
    );

    terminal.line("/help");
    terminal.until("help", |screen| {
        screen.contains("interrupts the turn for this prompt")
    });
    terminal.line("/nonsense");
    terminal.until("refused", |screen| {
        screen.contains("! there is no /nonsense")
    });
    // A paste has several lines and is one prompt.
    terminal.paste(&script("text The second turn.\nwait 60000"));
    terminal.key("Enter");
    let screen = terminal.until("running", |screen| {
        screen.contains("The second turn.") && screen.contains("thinking")
    });
    assert!(
        screen.contains("› ```script text The second turn."),
        "{screen}"
    );
    terminal.key("C-c");
    terminal.until("asked", |screen| {
        screen.contains("s stop it   d leave, it goes on")
    });
    terminal.key("s");
    terminal.until("stopped", |screen| {
        screen.contains("■ cancelled") && screen.contains("idle")
    });
    // What others do to an idle session is said, and is no turn.
    let undone = sidecar.post("/sessions/talk/revert", r#"{"turn":2}"#);
    assert_eq!(undone.status, 200, "{undone:?}");
    let screen = terminal.until("undone", |screen| screen.contains("after it is undone"));
    assert!(
        screen.contains("idle") && screen.matches("■ cancelled").count() == 1,
        "{screen}"
    );
    terminal.key("C-d");
    let screen = terminal.prompt();
    assert!(screen.contains("exit 0"), "{screen}");
}
