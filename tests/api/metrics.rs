//! `/metrics`, read by a stern reader of Prometheus' text format.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::{Options, Sidecar};

const CONTRACT: &str = include_str!("../../API_CONTRACT.md");

/// One scrape: series (`name{label="x"}`) to value as it is written, each family once, whole and in one place.
fn read(text: &str) -> Result<BTreeMap<String, String>, String> {
    let (mut families, mut series) = (BTreeSet::new(), BTreeMap::new());
    let (mut family, mut kind, mut helped) = (String::new(), String::new(), String::new());
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
            if !matches!(word, "gauge" | "counter") || legal(name).is_none() {
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
            if name != family || !labelled(sample) {
                return fault("outside its family, or labels that are none");
            }
            let Ok(number) = value.parse::<f64>() else {
                return fault("no number");
            };
            if kind == "counter" && number < 0.0 {
                return fault("a counter below nought");
            }
            if series.insert(sample.to_owned(), value.to_owned()).is_some() {
                return fault("told twice");
            }
        }
    }
    let told: BTreeSet<String> = series
        .keys()
        .map(|sample| sample.split('{').next().unwrap_or_default().to_owned())
        .collect();
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

/// `name` or `name{label="value"}`.
fn labelled(sample: &str) -> bool {
    let Some((_, labels)) = sample.split_once('{') else {
        return true;
    };
    labels
        .strip_suffix("\"}")
        .and_then(|pair| pair.split_once("=\""))
        .is_some_and(|(label, value)| legal(label).is_some() && !value.contains(['"', '\\', ',']))
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
    assert_eq!(figures["sidecar_sessions{state=\"running\"}"], "0");

    assert_eq!(sidecar.post("/engine/restart", "").status, 200);
    assert_eq!(scrape(&sidecar)["sidecar_engine_restarts_total"], "1");
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
        assert!(CONTRACT.contains(&format!("`{name}`")), "{name}");
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
        "# HELP a-b A.\n# TYPE a-b gauge\na-b 1\n",
        "# HELP a_ms A.\n# TYPE a_ms gauge\na_ms 1\n",
        "# HELP a A.\n# TYPE a gauge\na many\n",
        "# TYPE a gauge\na 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}
