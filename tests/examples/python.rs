//! `examples/python`.

use std::time::Duration;

use crate::support::bad_proxy::{BadProxy, Habit};
use crate::world::{Running, file, installed, options, program, ready, script};

#[test]
fn httpx_follows_over_a_proxy_that_cuts_and_answers_what_is_asked() {
    let sidecar = ready(options());
    let proxy = BadProxy::start(sidecar.address, Habit::CutAfter(Duration::from_millis(700)));
    let words: Vec<String> = (1..40).map(|word| format!("w{word}")).collect();
    let words = words.join(" ");
    let prompt = script(&format!(
        "stream 30 50\ntext {words}\ntool bash {{\"command\":\"git --version\"}}\ntool bash {{\"command\":\"rm -rf x\"}}\ntext never said"
    ));
    let url = format!("http://{}", proxy.address);
    let mut command = program(installed("tools/examples/venv/bin/python"), &url);
    command
        .arg(file("examples/python/sidecar.py"))
        .arg(prompt)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let text = Running::start(command).done();
    assert!(proxy.connections() > 3, "{}", proxy.connections());
    assert_eq!(text.matches(&words).count(), 1, "each word once: {text}");
    assert!(
        text.contains("[asked for ['git --version']: yes]"),
        "{text}"
    );
    assert!(text.contains("[asked for ['rm -rf x']: no]"), "{text}");
    assert!(text.ends_with("[done: rejected, changed []]\n"), "{text}");
}
