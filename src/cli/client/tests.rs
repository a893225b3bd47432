//! The client, and a server of a few lines: each connection gets the next answer, byte for byte.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;
use crate::config::ModelDefaults;

/// A client of a server that gives these answers. The thread ends with the first line of each request.
fn server(answers: Vec<String>) -> (Client, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let target = Target {
        url: url.parse().unwrap(),
        token: None,
        ca_file: None,
        defaults: ModelDefaults::default(),
    };
    let asked = std::thread::spawn(move || {
        let answer = |answer: String| {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let length = connection.read(&mut request).unwrap();
            connection.write_all(answer.as_bytes()).unwrap();
            let request = String::from_utf8_lossy(&request[..length]);
            request.lines().next().unwrap_or_default().to_owned()
        };
        answers.into_iter().map(answer).collect()
    });
    (Client::new(&target).unwrap(), asked)
}

fn json_answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn stream_answer(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n{text}")
}

/// What a stream of a session gives until it ends, the events by their ids.
async fn read(client: Client, known: bool) -> (Vec<String>, Result<(), Problem>) {
    let mut stream = Stream::new(
        client,
        StreamRequest {
            source: Source::Session("a".into()),
            from: Some("e-0".into()),
            follow: false,
            reasoning: false,
            known,
        },
    );
    let mut seen = Vec::new();
    loop {
        match stream.next().await {
            Ok(StreamStep::Event(event)) => seen.extend(event.id),
            Ok(StreamStep::Lost(_)) => seen.push("lost".into()),
            Ok(StreamStep::End) => return (seen, Ok(())),
            Err(problem) => return (seen, Err(problem)),
        }
    }
}

#[tokio::test]
async fn a_stream_goes_on_over_refusals_and_cuts_in_the_middle_of_an_event() {
    let busy = json_answer("503 Service Unavailable", r#"{"error":"busy","code":"x"}"#);
    let first = "event: output\nid: e-1\ndata: {\"text\":\"a\"}\n\nevent: output\nid: e-2\nda";
    let rest = "event: output\nid: e-2\ndata: {}\n\nevent: complete\nid: e-3\ndata: {}\n\n";
    let answers = vec![
        busy,
        String::new(),
        stream_answer(first),
        stream_answer(rest),
    ];
    let (client, asked) = server(answers);
    let (seen, end) = read(client, true).await;
    end.unwrap();
    assert_eq!(seen, ["lost", "lost", "e-1", "lost", "e-2", "e-3"]);
    let asked = asked.join().unwrap();
    assert!(asked[2].contains("last_event_id=e-0"), "{asked:?}");
    assert!(asked[3].contains("last_event_id=e-1"), "{asked:?}");
}

#[tokio::test]
async fn without_a_sidecar_the_first_attempt_says_so() {
    let (client, asked) = server(vec![String::new()]);
    let (seen, end) = read(client, false).await;
    assert_eq!((seen.len(), end.unwrap_err().exit), (0, Exit::Unreachable));
    asked.join().unwrap();
}

#[tokio::test]
async fn those_that_run_are_found_behind_any_number_that_have_ended() {
    let page = |ids: &[&str], next: &str| {
        let session =
            |id: &&str| format!(r#"{{"session_id":"{id}","created_at":"2026-01-0{id}"}}"#);
        let sessions: Vec<String> = ids.iter().map(session).collect();
        let body = format!(
            r#"{{"sessions":[{}],"next_cursor":{next}}}"#,
            sessions.join(",")
        );
        json_answer("200 OK", &body)
    };
    let pages = vec![
        page(&["1"], "null"),
        page(&["4"], "\"c\""),
        page(&["2", "1"], "null"),
        page(&["3"], "null"),
    ];
    let (client, asked) = server(pages);
    let active = client.active_sessions(3).await.unwrap();
    let ids: Vec<_> = active
        .iter()
        .map(|one| one["session_id"].as_str())
        .collect();
    assert_eq!(ids, [Some("4"), Some("3"), Some("2")]);
    let asked = asked.join().unwrap();
    assert!(
        asked[2].contains("status=running") && asked[2].contains("cursor=c"),
        "{asked:?}"
    );
}

#[test]
fn a_token_in_clear_is_known_as_such() {
    for (url, token, clear) in [
        ("http://agents.example", Some("x"), true),
        ("http://agents.example", None, false),
        ("https://agents.example", Some("x"), false),
        ("http://localhost:3003", Some("x"), false),
        ("http://[::1]:3003", Some("x"), false),
    ] {
        let target = Target {
            url: url.parse().unwrap(),
            token: token.map(Secret::new),
            ca_file: None,
            defaults: ModelDefaults::default(),
        };
        let client = Client::new(&target).unwrap();
        assert_eq!(client.sends_token_in_clear(), clear, "{url}");
    }
}
