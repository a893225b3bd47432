//! Traces of requests, and collectors that are down, slow or not there.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::otlp::{Collector, hex, text};
use crate::support::{Options, Sidecar, http};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn create(sidecar: &Sidecar, id: &str, headers: &[(&str, &str)]) {
    let body = json!({
        "session_id": id, "prompt": "words of the prompt",
        "model_config": { "provider": "local", "model": "m", "api_key": "sk-key-of-the-test" },
    });
    let body = body.to_string();
    let answer = http::send(
        sidecar.address,
        "POST",
        "/sessions",
        headers,
        body.as_bytes(),
    );
    assert_eq!(answer.unwrap().status, 201);
}

fn threads(sidecar: &Sidecar) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", sidecar.pid())).unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(task.unwrap().path().join("comm"));
        name.unwrap_or_default().trim().to_owned()
    };
    tasks.map(name).collect()
}

#[test]
fn a_turn_is_a_part_of_its_requests_trace_and_nothing_of_it_is_content() {
    let collector = Collector::refusing(1);
    let sidecar = Options::stub()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
        .env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20of-otlp",
        )
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_SERVICE_NAME", "agents-of-the-test")
        .start()
        .ready();
    assert!(threads(&sidecar).contains(&"traces".to_owned()));
    create(&sidecar, "a", &[("traceparent", TRACEPARENT)]);
    // Reading makes no trace of its own.
    assert_eq!(sidecar.get("/sessions/a/status").status, 200);
    assert_eq!(sidecar.post("/sessions/a/stop", "").status, 200);
    let spans = collector.until("POST /sessions/{id}/stop", 1);
    let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap();

    let request = find("POST /sessions");
    assert_eq!(hex(&request.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
    let turn = find("invoke_agent opencode");
    assert_eq!(turn.trace_id, request.trace_id);
    assert_eq!(turn.parent_span_id, request.span_id);
    let of_turn = |name: &str| text(&turn.attributes, name);
    assert_eq!(of_turn("gen_ai.conversation.id").as_deref(), Some("a"));
    assert_eq!(of_turn("sidecar.outcome").as_deref(), Some("cancelled"));
    for step in ["create_session", "prompt"] {
        assert_eq!(find(step).parent_span_id, turn.span_id, "{step}");
    }
    // That of the stop is another one, and begins there.
    let stop = find("POST /sessions/{id}/stop");
    assert_ne!(stop.trace_id, request.trace_id);
    assert!(stop.parent_span_id.is_empty());
    assert!(spans.iter().all(|span| !span.name.starts_with("GET")));

    assert_eq!(
        collector.resource("service.name").as_deref(),
        Some("agents-of-the-test")
    );
    assert_eq!(
        collector.header("authorization").as_deref(),
        Some("Bearer of-otlp")
    );
    for secret in ["words of the prompt", "key-of-the-test"] {
        assert!(!collector.holds(secret), "{secret}");
    }
    let log = sidecar.log();
    let ended = log.lines().find(|line| line.contains("session ended"));
    assert!(ended.unwrap().contains("trace_id"), "{ended:?}");
    assert!(
        log.contains("\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\""),
        "{log}"
    );
    assert!(!log.contains("of-otlp"), "{log}");
    // The first attempt was refused, and said so.
    assert!(
        log.contains("the collector does not take the traces"),
        "{log}"
    );
    let open = [("accept", "application/openmetrics-text")];
    let page = http::send(sidecar.address, "GET", "/metrics", &open, b"").unwrap();
    let exemplar = "# {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"}";
    assert!(page.body.contains(exemplar), "{}", page.body);
}

#[test]
fn without_an_endpoint_there_is_nothing_of_it() {
    let sidecar = Options::stub().start().ready();
    create(&sidecar, "a", &[("traceparent", TRACEPARENT)]);
    assert!(!threads(&sidecar).contains(&"traces".to_owned()));
    assert_eq!(sidecar.post("/sessions/a/stop", "").status, 200);
    let page = sidecar.get("/metrics").body;
    for outcome in ["exported", "dropped", "failed"] {
        let line = format!("sidecar_trace_spans_total{{outcome=\"{outcome}\"}} 0\n");
        assert!(page.contains(&line), "{page}");
    }
    assert!(!sidecar.log().contains("trace_id"));
}

/// Does all there is to do, and leaves. How long the leaving took.
fn used_and_left(endpoint: &str, protocol: &str) -> Duration {
    let mut sidecar = Options::stub()
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_BSP_SCHEDULE_DELAY", "10")
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "8")
        .start()
        .ready();
    let begun = Instant::now();
    for n in 0..10 {
        let id = format!("s{n}");
        create(&sidecar, &id, &[]);
        assert_eq!(
            sidecar.post(&format!("/sessions/{id}/stop"), "").status,
            200
        );
    }
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    sidecar.until("lost and counted", |sidecar| {
        let page = sidecar.get("/metrics").body;
        ["dropped", "failed"].iter().any(|outcome| {
            let line = format!("sidecar_trace_spans_total{{outcome=\"{outcome}\"}} ");
            !page.split_once(&line).unwrap().1.starts_with("0\n")
        })
    });
    let told = Instant::now();
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit().code(), Some(0));
    told.elapsed()
}

/// Something that speaks another protocol, until it is dropped.
struct Babbler {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
}

impl Babbler {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ends);
        std::thread::spawn(move || {
            for mut connection in listener.incoming().map_while(Result::ok) {
                if seen.load(Ordering::Relaxed) {
                    return;
                }
                connection.write_all(b"SSH-2.0-another\r\n").ok();
            }
        });
        Self { address, ends }
    }
}

impl Drop for Babbler {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        TcpStream::connect(self.address).ok();
    }
}

#[test]
fn a_collector_that_is_down_silent_or_none_at_all_delays_nothing() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    // It takes connections, and never answers.
    let silent = used_and_left(&format!("http://{address}"), "http/protobuf");
    drop(nobody);
    let down = used_and_left(&format!("http://{address}"), "grpc");
    let babbler = Babbler::start();
    let wrong = used_and_left(&format!("http://{}", babbler.address), "http/protobuf");
    let wrong_too = used_and_left(&format!("http://{}", babbler.address), "grpc");
    for took in [silent, down, wrong, wrong_too] {
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}
