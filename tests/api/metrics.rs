//! `/metrics`, read by a stern reader of Prometheus' text format.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use serde_json::json;

use crate::support::{Options, Sidecar, http};

const CONTRACT: &str = include_str!("../../API_CONTRACT.md");

/// One scrape: series (`name{label="x"}`) to value as it is written, each family once, whole and in one place.
fn read(text: &str) -> Result<BTreeMap<String, String>, String> {
    let (mut families, mut series) = (BTreeSet::new(), BTreeMap::new());
    let (mut family, mut kind, mut helped) = (String::new(), String::new(), String::new());
    let mut told = BTreeSet::new();
    let body = text.strip_suffix('\n').ok_or("no line break at the end")?;
    for line in body.split('\n') {
        let fault = |what: &str| Err(format!("{what}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').unwrap_or((rest, ""));
            if words.is_empty() || !families.insert(name.to_owned()) {
                return fault("a family without words, or told twice");
            }
            name.clone_into(&mut helped);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, word) = rest.split_once(' ').unwrap_or((rest, ""));
            if name != helped || name == family {
                return fault("TYPE belongs below its HELP, once");
            }
            if !matches!(word, "gauge" | "counter" | "histogram") || legal(name).is_none() {
                return fault("no kind, or no name");
            }
            if (word == "counter") != name.ends_with("_total") {
                return fault("counters, and nothing else, end in _total");
            }
            (family, kind) = (name.to_owned(), word.to_owned());
        } else {
            let Some((sample, value)) = line.rsplit_once(' ') else {
                return fault("no value");
            };
            let name = sample.split('{').next().unwrap_or_default();
            let parts = ["_bucket", "_sum", "_count"].map(|part| format!("{family}{part}"));
            let belongs = match &*kind {
                "histogram" => parts.iter().any(|part| part == name),
                _ => name == family,
            };
            if !belongs || !labelled(sample) {
                return fault("outside its family, or labels that are none");
            }
            let Ok(number) = value.parse::<f64>() else {
                return fault("no number");
            };
            if kind != "gauge" && number < 0.0 {
                return fault("a count below nought");
            }
            told.insert(family.clone());
            if series.insert(sample.to_owned(), value.to_owned()).is_some() {
                return fault("told twice");
            }
        }
    }
    (told == families)
        .then_some(series)
        .ok_or_else(|| format!("{families:?} are promised, {told:?} told"))
}

fn legal(name: &str) -> Option<()> {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let units = [
        "_milliseconds",
        "_ms",
        "_kilobytes",
        "_kb",
        "_mb",
        "_percent",
    ];
    let base = !units.iter().any(|unit| name.contains(unit));
    (name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(sound) && base)
        .then_some(())
}

/// `name`, or `name{label="value",other="value"}`.
fn labelled(sample: &str) -> bool {
    let Some((_, labels)) = sample.split_once('{') else {
        return true;
    };
    let sound = |pair: &str| {
        pair.split_once("=\"").is_some_and(|(label, value)| {
            legal(label).is_some() && !value.contains(['"', '\\', ','])
        })
    };
    labels
        .strip_suffix("\"}")
        .is_some_and(|labels| labels.split("\",").all(sound))
}

fn scrape(sidecar: &Sidecar) -> BTreeMap<String, String> {
    let answer = sidecar.get("/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    read(&answer.body).unwrap_or_else(|fault| panic!("{fault}\n{}", answer.body))
}

#[test]
fn the_figures_are_true_and_told_as_prometheus_wants_them() {
    let sidecar = Options::stub()
        .env("MAX_CONCURRENT_SESSIONS", "7")
        .start()
        .ready();
    let figures = scrape(&sidecar);
    assert_eq!(figures["sidecar_sessions_limit"], "7");
    assert_eq!(figures["sidecar_sessions_active"], "0");
    assert_eq!(figures["sidecar_engine_up"], "1");
    assert_eq!(figures["sidecar_engine_ready"], "1");
    assert_eq!(figures["sidecar_engine_starts_total"], "1");
    assert_eq!(figures["sidecar_engine_restarts_total"], "0");
    assert_eq!(figures["sidecar_draining"], "0");
    let version = format!(
        "sidecar_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(figures[&version], "1");
    for (name, least) in [
        ("process_resident_memory_bytes", 100_000.0),
        ("process_open_fds", 3.0),
        ("process_start_time_seconds", 1_700_000_000.0),
    ] {
        assert!(figures[name].parse::<f64>().unwrap() > least, "{name}");
    }
    assert!(figures.contains_key("process_cpu_seconds_total"));

    let body = json!({
        "session_id": "a", "prompt": "please",
        "model_config": { "provider": "local", "model": "m" },
    });
    assert_eq!(sidecar.post("/sessions", &body.to_string()).status, 201);
    let stream = sidecar.stream("a", "");
    let figures = scrape(&sidecar);
    assert_eq!(figures["sidecar_sessions_active"], "1");
    assert_eq!(figures["sidecar_sessions{state=\"running\"}"], "1");
    assert_eq!(figures["sidecar_streams_open"], "1");
    drop(stream);
    assert_eq!(sidecar.post("/sessions/a/stop", "").status, 200);
    sidecar.until("closed", |sidecar| {
        scrape(sidecar)["sidecar_streams_open"] == "0"
    });
    let figures = scrape(&sidecar);
    assert_eq!(figures["sidecar_sessions_active"], "0");
    assert_eq!(figures["sidecar_sessions{state=\"cancelled\"}"], "1");
    let ended = "sidecar_turns_total{outcome=\"cancelled\",code=\"none\"}";
    assert_eq!(figures[ended], "1");
    let took = "sidecar_turn_duration_seconds_count{outcome=\"cancelled\"}";
    assert_eq!(figures[took], "1");
    let opened = "sidecar_streams_opened_total{from=\"replay\"}";
    assert_eq!(figures[opened], "1");
    assert!(figures["sidecar_events_total{type=\"status\"}"] != "0");
    let created = "http_server_request_duration_seconds_count{http_request_method=\"POST\",http_route=\"/sessions\",http_response_status_code=\"201\"}";
    assert_eq!(figures[created], "1");
    assert_eq!(figures["sidecar_sessions{state=\"running\"}"], "0");

    assert_eq!(sidecar.post("/engine/restart", "").status, 200);
    let figures = scrape(&sidecar);
    assert_eq!(figures["sidecar_engine_restarts_total"], "1");
    let exits = "sidecar_engine_exits_total{cause=\"requested\"}";
    assert_eq!(figures[exits], "1");
    assert_eq!(sidecar.post("/engine/stop", "").status, 200);
    let figures = scrape(&sidecar);
    assert_eq!(figures["sidecar_engine_up"], "0");
    assert!(
        !figures.contains_key("sidecar_engine_resident_memory_bytes"),
        "nobody's memory is not nought"
    );
}

#[test]
fn the_contract_lists_every_metric() {
    for series in scrape(&Options::stub().start().ready()).keys() {
        let name = series.split('{').next().unwrap();
        let parts = ["_bucket", "_sum", "_count"];
        let family = parts.iter().find_map(|part| name.strip_suffix(part));
        let listed = |name: &str| CONTRACT.contains(&format!("`{name}`"));
        assert!(listed(name) || family.is_some_and(listed), "{name}");
    }
}

#[test]
fn metrics_need_the_token() {
    let sidecar = Options::stub()
        .env("OPENCODE_SHARED_SECRET", "s3cret")
        .start();
    assert_eq!(sidecar.get("/metrics").status, 401);
}

#[test]
fn open_metrics_is_for_those_who_ask_for_it() {
    let sidecar = Options::stub().start().ready();
    let asked = [("accept", "application/openmetrics-text; version=1.0.0")];
    let answer = http::send(sidecar.address, "GET", "/metrics", &asked, b"").unwrap();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(kind));
    assert_eq!(answer.header("vary"), Some("accept"));
    assert!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
    // The counter's family has no suffix there, its sample has.
    let counter = "# TYPE sidecar_engine_starts counter\nsidecar_engine_starts_total 1\n";
    assert!(answer.body.contains(counter), "{}", answer.body);
}

#[test]
fn the_port_for_metrics_serves_them_without_a_token_and_nothing_else() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let sidecar = Options::stub()
        .env("OPENCODE_SHARED_SECRET", "s3cret")
        .env("METRICS_PORT", &address.port().to_string())
        .start()
        .ready();
    let get = |path: &str| http::send(address, "GET", path, &[], b"").unwrap();
    let answer = get("/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(read(&answer.body).unwrap()["sidecar_engine_ready"], "1");
    assert_eq!(get("/healthz").status, 200);
    for path in ["/sessions", "/engine/status", "/openapi.json"] {
        assert_eq!(get(path).status, 404, "{path}");
    }
    let page = [("origin", "http://evil.example")];
    let refused = http::send(address, "GET", "/metrics", &page, b"").unwrap();
    assert_eq!(refused.status, 403);
    assert_eq!(sidecar.get("/metrics").status, 401);
}

#[test]
fn a_port_for_metrics_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (status, said) = Options::stub().env("METRICS_PORT", &port).refused();
    assert_eq!(status, Some(64), "{said}");
    assert!(said.contains("set METRICS_PORT"), "{said}");
}

#[test]
fn the_reader_is_stern() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n";
    assert_eq!(read(good).unwrap()["a_total"], "1");
    for bad in [
        "# HELP a A.\n# TYPE a counter\na 1\n",
        "# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1\na 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1\n# HELP a A.\n# TYPE a gauge\na 2\n",
        "# HELP a A.\n# TYPE a gauge\n",
        "# HELP a A.\n# TYPE a gauge\nb 1\n",
        "# HELP a A.\n# TYPE a histogram\na 1\n",
        "# HELP a A.\n# TYPE a gauge\na{b=\"c\"d=\"e\"} 1\n",
        "# HELP a-b A.\n# TYPE a-b gauge\na-b 1\n",
        "# HELP a_ms A.\n# TYPE a_ms gauge\na_ms 1\n",
        "# HELP a A.\n# TYPE a gauge\na many\n",
        "# TYPE a gauge\na 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}
