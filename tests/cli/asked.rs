//! What the agent asks is answered at the terminal: in `run`, and in `attach`, which takes prompts as well.

use crate::program::{demo, done, script};
use crate::tmux::Tmux;

const QUESTION: &str = r#"tool question {"questions":[{"question":"Which letter?","header":"Letter","options":[{"label":"A","description":"a"},{"label":"B","description":"b"}]}]}"#;

#[test]
fn a_run_is_answered_with_keys_and_lines() {
    let sidecar = demo();
    let terminal = Tmux::start(&sidecar, 100, 50);
    let prompt = terminal.file(&script(&format!(
        "tool bash {{\"command\":\"echo one | cat\"}}\ntool write {{\"filePath\":\"note.txt\",\"content\":\"-- one\"}}\ntext Then.\ntool bash {{\"command\":\"echo two\"}}\n{}\ntext Done.",
        format_args!("text I see.\n{QUESTION}")
    )));
    terminal.line(&format!(
        "clear; opencode-sidecar run -p demo --ask-tools bash,write --questions \"$(cat {prompt})\"; echo exit $?"
    ));
    let screen = terminal.until("asked", |screen| screen.contains("n no   4 min 5"));
    assert!(
        screen.contains("? allow bash echo one | cat   y once   a always   n no   4 min 5"),
        "{screen}"
    );
    terminal.key("y");
    let screen = terminal.until("asked for a file", |screen| {
        screen.contains("? allow edit ") && screen.contains("y once")
    });
    assert!(
        screen.contains("note.txt\n  +-- one\n  always covers *\n"),
        "what would change, and what always means: {screen}"
    );
    terminal.key("y");
    terminal.until("asked again", |screen| {
        screen.contains("? allow bash echo two   y once")
    });
    terminal.key("n");
    terminal.until("asked why", |screen| {
        screen.contains("? no; say what to do instead   Enter alone ends the turn")
    });
    terminal.line("say it in words");
    let screen = terminal.until("a question", |screen| {
        screen.contains("? answer with a number or words   /skip: no answer")
    });
    assert!(
        screen.contains("? Which letter?") && screen.contains("  1 A") && screen.contains("  2 B"),
        "{screen}"
    );
    terminal.line("2");
    let screen = terminal.prompt();
    for line in [
        "│ one",
        "› permission: once",
        "› permission: reject, say it in words",
        "› question: B",
        "Done.",
        "exit 0",
    ] {
        assert!(screen.contains(line), "no {line:?} in\n{screen}");
    }
    assert!(!screen.contains("│ two"), "{screen}");
}

#[test]
fn a_conversation_queues_steers_interrupts_and_answers() {
    let sidecar = demo();
    let first = script("text The first turn.\nwait 60000");
    let begin = [
        "run",
        "-d",
        "-p",
        "demo",
        "--session",
        "talk",
        "--ask-tools",
        "bash",
        &first,
    ];
    done(&sidecar, &begin);
    let terminal = Tmux::start(&sidecar, 100, 50);
    // Neither a model nor a key is needed: they are those of the turn before.
    terminal.line("clear; opencode-sidecar attach talk; echo exit $?");
    terminal.until("running", |screen| screen.contains("The first turn."));

    terminal.paste(&script("text The one that waited."));
    terminal.key("Enter");
    terminal.until("queued", |screen| {
        screen.contains("› queued: ```script text The one that waited.")
    });
    terminal.line("/steer be quick");
    terminal.until("steered", |screen| screen.contains("› steered: be quick"));
    terminal.line("/queue");
    terminal.until("listed", |screen| screen.contains("  2  ```script"));
    terminal.line("/drop 7");
    terminal.until("refused", |screen| {
        screen.contains("! no prompt with this turn waits")
    });

    terminal.paste(&format!(
        "/now {}",
        script("tool bash {\"command\":\"echo hurry\"}\ntext The urgent one.")
    ));
    terminal.key("Enter");
    let screen = terminal.until("asked", |screen| {
        screen.contains("? allow bash echo hurry   y once")
    });
    assert!(screen.contains("■ cancelled"), "{screen}");
    // Only on an empty line is a key an answer.
    terminal.key("x");
    terminal.key("y");
    terminal.until("a line", |screen| screen.contains("› xy"));
    terminal.key("C-u");
    terminal.key("a");
    terminal.until("asked once more", |screen| {
        screen.contains("? always allow echo *   a again: yes")
    });
    terminal.key("a");
    let screen = terminal.until("idle after both", |screen| {
        screen.matches("✓ completed").count() == 2 && screen.contains("idle · type a prompt")
    });
    let urgent = screen.find("The urgent one.").unwrap();
    let waited = screen.rfind("The one that waited.").unwrap();
    assert!(
        urgent < waited && screen.contains("› permission: always") && screen.contains("│ hurry"),
        "{screen}"
    );
    terminal.key("C-d");
    assert!(terminal.prompt().contains("exit 0"));
}
