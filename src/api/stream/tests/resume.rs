//! A client that is cut off anywhere and comes back loses nothing and repeats nothing.

use axum::http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use proptest::prelude::*;

use super::*;
use crate::session::log::{Parsed, SseReader};

/// The whole body for a client with this cursor; none if there is nothing more for it.
fn fetch(log: &EventLog, cursor: &str) -> Option<Vec<u8>> {
    let headers = HeaderMap::from_iter([(
        "last-event-id".parse().unwrap(),
        HeaderValue::from_str(cursor).unwrap(),
    )]);
    let request = StreamRequest::read(&"/?include=reasoning".parse().unwrap(), &headers);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let bytes = runtime.block_on(async {
        let response = stream(
            log,
            &StreamSlots::default(),
            &request,
            &CancellationToken::new(),
        )
        .unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    });
    (!bytes.is_empty()).then(|| bytes.to_vec())
}

fn ids(events: &[Parsed]) -> Vec<&str> {
    events.iter().map(|event| event.id.as_str()).collect()
}

#[test]
fn a_stream_cut_at_any_byte_goes_on_where_it_was_cut() {
    let log = finished(6);
    let whole = fetch(&log, "").unwrap();
    let expected = SseReader::default().read(&whole);
    assert_eq!(expected.len(), 6);
    for cut in 0..=whole.len() {
        let mut client = SseReader::default();
        let mut events = client.read(&whole[..cut]);
        if let Some(rest) = fetch(&log, &client.last_event_id) {
            events.extend(SseReader::with_cursor(&client.last_event_id).read(&rest));
        }
        assert_eq!(events, expected, "cut at {cut}");
    }
}

#[test]
fn a_stream_with_a_gap_cut_at_any_byte_tells_the_gap_and_every_event() {
    let log = finished(3);
    let whole = fetch(&log, "elsewhere0-7").unwrap();
    for cut in 0..=whole.len() {
        let mut client = SseReader::with_cursor("elsewhere0-7");
        let mut events = client.read(&whole[..cut]);
        if let Some(rest) = fetch(&log, &client.last_event_id) {
            events.extend(SseReader::with_cursor(&client.last_event_id).read(&rest));
        }
        let gaps = events.iter().filter(|event| event.kind == "gap").count();
        assert!(
            (1..=2).contains(&gaps),
            "told, and again only after a drop in between: cut at {cut}"
        );
        events.retain(|event| event.kind != "gap");
        assert_eq!(
            ids(&events),
            ["abcdefghij-1", "abcdefghij-2", "abcdefghij-3"],
            "cut at {cut}"
        );
    }
}

proptest! {
    #[test]
    fn what_is_appended_is_what_a_client_reads_however_the_bytes_are_cut(
        texts in prop::collection::vec((any::<String>(), any::<bool>()), 1..30),
        piece in 1..50_usize,
    ) {
        let log = log_with(Limits::default());
        let mut expected = Vec::new();
        for (text, pretty) in &texts {
            let value = serde_json::json!({ "type": "stdout", "text": text });
            let data = if *pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let id = log.append("output", &data.unwrap());
            expected.push((id.to_string(), value));
        }
        let end = log.end_turn("complete", "{}");
        expected.push((end.to_string(), serde_json::json!({})));

        let mut client = SseReader::default();
        let body = fetch(&log, "").unwrap();
        let events: Vec<_> = body.chunks(piece).flat_map(|bytes| client.read(bytes)).collect();
        prop_assert!(client.is_between_blocks());
        let got: Vec<_> =
            events.into_iter().map(|event| (event.id, serde_json::from_str(&event.data).unwrap())).collect();
        prop_assert_eq!(got, expected);
    }
}
