//! `examples/curl`.

use serde_json::Value;

use crate::world::{Running, assert_whole, file, options, program, ready};

#[test]
fn ten_lines_of_curl_are_the_life_of_a_session() {
    let sidecar = ready(options());
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{}", sidecar.address);
    let mut command = program(file("examples/curl/demo.sh"), &url);
    command.current_dir(dir.path());
    let text = Running::start(command).done();
    let (before, after) = text.split_once("event: complete\n").unwrap();
    assert!(before.starts_with("{\"session_id\":\"curl-"), "{text}");
    let streamed = before.lines().filter_map(|line| line.strip_prefix("id: "));
    let mut ids: Vec<&str> = streamed.collect();
    let after: Vec<&str> = after.lines().collect();
    let mut later = after.iter().filter_map(|line| line.strip_prefix("id: "));
    ids.extend(later.next());
    assert_whole(ids.iter().copied());
    // The stream behind the fifth event has the others once more.
    let resumed: Vec<&str> = later.collect();
    assert_eq!(resumed, ids[5..], "{text}");
    let last: Value = serde_json::from_str(after.last().unwrap()).unwrap();
    assert_eq!(
        (&last["turn"], &last["status"]),
        (&2.into(), &"cancelled".into()),
        "{text}"
    );

    let code = std::fs::read_to_string(file("examples/curl/demo.sh")).unwrap();
    let lines = code
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(lines.count(), 10, "the ten lines are ten");
}
