//! What scripts get: stable lines, JSON that can be parsed, exit codes, and no control characters.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::golden::assert_golden;
use crate::program::{demo, done, fed, output, script, with};
use crate::support::Options;

fn interrupt(command: &Child) {
    let pid = Pid::from_raw(i32::try_from(command.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

fn no_controls(text: &str) {
    let control = text
        .chars()
        .find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    assert_eq!(control, None, "{text:?}");
}

#[test]
fn a_session_in_a_pipe_reads_as_the_golden_files_say() {
    let sidecar = demo();
    let run = done(
        &sidecar,
        &[
            "run",
            "-p",
            "demo",
            "--session",
            "demo-1",
            "Show me what you can do",
        ],
    );
    assert_golden("run", &run);
    // The same again, from what was kept.
    let (_, transcript) = run.split_once("\n\n").unwrap();
    assert_eq!(done(&sidecar, &["logs", "demo-1"]), transcript);
    assert_eq!(done(&sidecar, &["logs", "-f", "demo-1"]), transcript);
    assert_golden("ps", &done(&sidecar, &["ps"]));
    assert_eq!(done(&sidecar, &["ps", "-q"]), "demo-1\n");
    assert_eq!(done(&sidecar, &["ps", "-q", "--active"]), "");
    assert_golden("diagnose", &done(&sidecar, &["diagnose", "demo-1"]));
    assert_eq!(
        done(&sidecar, &["stop", "demo-1"]),
        "demo-1 had ended: completed\n"
    );
    let top = done(&sidecar, &["top"]);
    assert_golden("top", &top);
    let top: Value = serde_json::from_str(&done(&sidecar, &["top", "-o", "json"])).unwrap();
    assert_eq!(top["engine"]["state"], "ready");
    assert_eq!(top["sessions"][0]["session_id"], "demo-1");
    // In a pipe `attach` only follows, over all turns.
    let mut attach = with(&sidecar, &["attach", "demo-1"]).spawn().unwrap();
    let attached = BufReader::new(attach.stdout.take().unwrap()).lines();
    let attached = attached
        .map(Result::unwrap)
        .take(transcript.lines().count());
    assert_eq!(
        attached.collect::<Vec<_>>(),
        transcript.lines().collect::<Vec<_>>()
    );
    interrupt(&attach);
    assert_eq!(attach.wait().unwrap().code(), Some(130));

    let lines = done(&sidecar, &["logs", "demo-1", "-o", "json"]);
    let events: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.last().unwrap()["event"], "complete");
    let since = events[events.len() - 3]["id"].as_str().unwrap();
    let rest = done(
        &sidecar,
        &["logs", "demo-1", "-o", "json", "--since", since],
    );
    assert_eq!(rest.lines().count(), 2, "{rest}");
    let last = events.last().unwrap()["id"].as_str().unwrap();
    assert_eq!(done(&sidecar, &["logs", "demo-1", "--since", last]), "");
    let raw = done(&sidecar, &["logs", "demo-1", "--raw"]);
    let stream = sidecar.get("/sessions/demo-1/stream").body;
    // The stream's own lines: between its frames are the sizes of HTTP chunks.
    let data = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("data: "));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(data(&raw), data(&stream), "raw is what the stream has");

    assert_golden("diff", &done(&sidecar, &["diff", "demo-1"]));
    let stat = done(&sidecar, &["diff", "demo-1", "--stat"]);
    assert_eq!(stat, "demo.md   added      +3 -0\n1 file changed, +3 -0\n");

    let all = done(&sidecar, &["events"]);
    assert_eq!(all.lines().count(), events.len(), "{all}");
    // Texts come in pieces that differ from run to run.
    let steps = ["events", "--type", "tool_call,tool_result,complete"];
    assert_golden("events", &done(&sidecar, &steps));
    let calls = done(
        &sidecar,
        &[
            "events",
            "--type",
            "tool_call",
            "--session",
            "demo-1",
            "-o",
            "json",
        ],
    );
    assert_eq!(calls.lines().count(), 3, "{calls}");
    assert_eq!(done(&sidecar, &["events", "--session", "other"]), "");
    assert_eq!(done(&sidecar, &["events", "--since", "latest"]), "");

    let page: Value = serde_json::from_str(&done(&sidecar, &["ps", "-o", "json"])).unwrap();
    assert_eq!(page["sessions"][0]["session_id"], "demo-1");
    let again = done(
        &sidecar,
        &["resume", "demo-1", "-p", "demo", "--quiet", "Once more"],
    );
    assert_eq!(
        again,
        "That was the demo. With a provider and a key, a model does the work.\n"
    );
}

#[test]
fn a_prompt_comes_from_stdin_and_the_answer_alone_goes_to_a_pipe() {
    let sidecar = demo();
    let prompt = script("text Read from stdin.");
    let output = fed(with(&sidecar, &["run", "-q", "-p", "demo"]), &prompt);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "Read from stdin.\n"),
        "{output:?}"
    );
    let json = fed(
        with(&sidecar, &["run", "--json", "-p", "demo", "-"]),
        &prompt,
    );
    let events: Vec<Value> = json
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.first().unwrap()["event"], "status");
    assert_eq!(
        events.last().unwrap()["data"]["final_message"],
        "Read from stdin."
    );
}

#[test]
fn what_the_model_and_its_tools_print_cannot_reach_a_terminal() {
    let sidecar = demo();
    let evil = script(concat!(
        "text \u{1b}]0;owned\u{7}\u{1b}[2Jhello\u{202e}\u{9b}31m\n",
        r#"tool bash {"command":"printf '\\033[2J\\033]52;c;cm0=\\007evil\\033[31m\\n'","description":"\u001b[2Jx"}"#,
        "\ntext done"
    ));
    let text = done(&sidecar, &["run", "-p", "demo", "--session", "evil", &evil]);
    no_controls(&text);
    assert!(text.contains("hello") && text.contains("│ evil"), "{text}");
    for form in [vec!["-o", "json"], vec!["--raw"], vec!["--full"]] {
        let arguments: Vec<&str> = ["logs", "evil"].into_iter().chain(form).collect();
        no_controls(&done(&sidecar, &arguments));
    }
    let lines = done(&sidecar, &["logs", "evil", "-o", "json"]);
    let said: String = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["data"]["source"] == "assistant")
        .map(|event| event["data"]["text"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        said.contains("\u{1b}[2Jhello\u{202e}"),
        "JSON still says what it was: {said:?}"
    );
}

#[test]
fn a_reader_that_leaves_is_no_fault_and_git_applies_a_diff_byte_for_byte() {
    let options = Options::real().env("DEMO_MODEL", "on");
    let mut init = Command::new("git");
    init.args(["init", "-q"])
        .arg(options.dir.path().join("workspace"));
    assert!(init.status().unwrap().success());
    let sidecar = options.start().ready();
    done(
        &sidecar,
        &["run", "-p", "demo", "--session", "a", "-q", "x"],
    );
    let mut command = with(&sidecar, &["logs", "a"]).spawn().unwrap();
    drop(command.stdout.take());
    let ended = command.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");

    // Two turns, with what a terminal must not be shown.
    let odd = r"-- a\r\nb\u001b[31m\u000c\u2028\u202e\t\n\nno end";
    let write = format!(r#"tool write {{"filePath":"sp ace ü.txt","content":"{odd}"}}"#);
    done(
        &sidecar,
        &["run", "-q", "-p", "demo", "--session", "d", &script(&write)],
    );
    let edit = r#"tool read {"filePath":"sp ace ü.txt"}
tool edit {"filePath":"sp ace ü.txt","oldString":"no end","newString":"an end\n"}"#;
    done(&sidecar, &["resume", "-q", "d", &script(edit)]);
    let patches = output(with(&sidecar, &["diff", "d"]));
    assert_eq!(patches.code, 0, "{patches:?}");
    let elsewhere = tempfile::tempdir().unwrap();
    let mut git = Command::new("git");
    git.arg("apply")
        .current_dir(elsewhere.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let applied = fed(git, &patches.stdout);
    assert_eq!(applied.code, 0, "{applied:?}\n{patches:?}");
    let file = |dir: &Path| std::fs::read_to_string(dir.join("sp ace ü.txt")).unwrap();
    let workspace = sidecar.workspace();
    assert_eq!(file(elsewhere.path()), file(&workspace));

    // A script must not take a part for the whole change.
    let binary = script(r#"tool bash {"command":"printf '\\0' > binary"}"#);
    done(
        &sidecar,
        &["run", "-q", "-p", "demo", "--session", "b", &binary],
    );
    let partial = output(with(&sidecar, &["diff", "b"]));
    assert_eq!((partial.code, &*partial.stdout), (1, ""), "{partial:?}");
    assert!(
        partial.stderr.starts_with("binary: added without a patch"),
        "{partial:?}"
    );
}

#[test]
fn a_file_goes_along_with_the_prompt() {
    let sidecar = demo();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("note.txt");
    std::fs::write(&path, "the note").unwrap();
    let prompt = script("text Read.");
    let answer = done(
        &sidecar,
        &[
            "run",
            "-q",
            "-p",
            "demo",
            "--session",
            "a",
            "-f",
            path.to_str().unwrap(),
            &prompt,
        ],
    );
    assert_eq!(answer, "Read.\n");
    let messages = sidecar.get("/sessions/a/messages").body;
    assert!(messages.contains("note.txt"), "{messages}");
}

#[test]
fn what_nobody_answers_in_a_pipe_is_decided_by_the_clock() {
    let sidecar = demo();
    let prompt = script("text I ask.\ntool bash {\"command\":\"echo one\"}\ntext Never said.");
    let arguments = [
        "run",
        "-p",
        "demo",
        "--session",
        "ask",
        "--ask-tools",
        "bash",
        "--ask-timeout",
        "1s",
        &prompt,
    ];
    let refused = output(with(&sidecar, &arguments));
    assert_eq!(
        refused.code, 1,
        "what was to be done is not done: {refused:?}"
    );
    assert_golden("ask", &refused.stdout);
    // The rules hold for the next turn too, which needs no model, and a rule may change them.
    let again = script("tool bash {\"command\":\"echo two\"}\ntext Done.");
    let answer = done(
        &sidecar,
        &["resume", "ask", "-q", "--rule", "bash:echo *=allow", &again],
    );
    assert_eq!(answer, "Done.\n");
    let said = done(&sidecar, &["diagnose", "ask", "-o", "json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["cause"], "ended", "{said}");
}

#[test]
fn the_events_of_all_sessions_are_followed_until_a_signal() {
    let sidecar = demo();
    let arguments = ["events", "-f", "--type", "complete", "--since", "earliest"];
    let mut events = with(&sidecar, &arguments).spawn().unwrap();
    for id in ["one", "two"] {
        let prompt = script("text x");
        done(
            &sidecar,
            &["run", "-q", "-p", "demo", "--session", id, &prompt],
        );
    }
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    for id in ["one", "two"] {
        let line = lines.next().unwrap().unwrap();
        assert!(
            line.contains(&format!("  {id} ")) && line.contains("complete"),
            "{line}"
        );
    }
    interrupt(&events);
    assert_eq!(events.wait().unwrap().code(), Some(130));
}
