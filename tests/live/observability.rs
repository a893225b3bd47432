//! What an operator sees: figures of a sidecar that had something to do.

mod prometheus;
mod rehearsal;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use self::prometheus::Prometheus;
use crate::llm::Turn;
use crate::support::http;
use crate::world::World;

const CONTRACT: &str = include_str!("../../API_CONTRACT.md");

/// Those that depend on the host: a limit of memory, a kernel with Landlock.
const BY_HOST: [&str; 3] = [
    "sidecar_engine_memory_used_bytes",
    "sidecar_engine_memory_limit_bytes",
    "sidecar_sandbox_landlock_abi",
];

/// The names in the contract's table of metrics.
fn listed() -> BTreeSet<&'static str> {
    let section = CONTRACT.split_once("\n## Metrics\n").unwrap().1;
    let table = section.split_once("\n## ").unwrap().0;
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once(" | "))
        .flat_map(|(names, _)| names.split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect()
}

/// A completed turn with tools and a retry, a budget that is spent, a turn that is cut, and a gap.
fn busy() -> World {
    let world = World::start();
    let done = world.run(
        "works",
        [
            Turn::error(429, "slow down").header("retry-after", "1"),
            Turn::new().tool("bash", json!({ "command": "echo hi" })),
            Turn::new().text("done"),
        ],
    );
    assert_eq!(done.0.last().unwrap().kind, "complete");
    let calls = std::iter::repeat_n(Turn::new().tool("bash", json!({ "command": "date" })), 3);
    world.script("spends", calls);
    let limit = |body: &mut Value| body["model_config"]["max_calls"] = json!(2);
    world.create_with("spends", limit);
    let spent = world.follow("spends");
    assert_eq!(spent.last()["code"], "budget_exceeded");
    world.script(
        "asks",
        [Turn::new().tool("bash", json!({ "command": "date" }))],
    );
    world.create_with("asks", |body| {
        let config = &mut body["model_config"];
        (config["permission_mode"], config["ask_tools"]) = ("ask".into(), json!(["bash"]));
        config["ask_timeout_secs"] = json!(1);
    });
    world.follow("asks");
    let mut gap = world.sidecar.stream("works", "?last_event_id=nonsense");
    assert_eq!(gap.rest()[0].kind, "gap");
    world
}

fn scrape(world: &World, accept: &str) -> String {
    let headers = [("accept", accept)];
    let answer = http::send(world.sidecar.address, "GET", "/metrics", &headers, b"").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[test]
fn a_busy_sidecar_tells_every_figure_of_the_contract_and_every_panel_shows_some() {
    let world = busy();
    // It scrapes while the page is read here.
    let prometheus = Prometheus::start(world.sidecar.address, ALERTS);
    let text = scrape(&world, "text/plain");
    let told: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let listed = listed();
    let missing: Vec<_> = listed.difference(&told).collect();
    assert!(
        missing.iter().all(|name| BY_HOST.contains(name)),
        "listed and not told: {missing:?}\n{text}"
    );
    let unknown: Vec<_> = told.difference(&listed).collect();
    assert!(unknown.is_empty(), "told and not listed: {unknown:?}");

    for expected in [
        "sidecar_turns_total{outcome=\"completed\",code=\"none\"} 2\n",
        "sidecar_turns_total{outcome=\"failed\",code=\"budget_exceeded\"} 1\n",
        "sidecar_model_stops_total{reason=\"budget_exceeded\"} 1\n",
        "sidecar_model_retries_total 1\n",
        "sidecar_stream_gaps_total{reason=\"invalid\"} 1\n",
        "sidecar_asks_ended_total{kind=\"permission\",outcome=\"timeout\"} 1\n",
        "sidecar_tool_duration_seconds_count{tool=\"bash\",outcome=\"ok\"} 3\n",
        "sidecar_turn_first_event_seconds_count 3\n",
        "sidecar_model_calls_total{provider=\"custom\",operation=\"chat_completions\",model=\"model-of-the-test\",status=\"ok\"}",
        "gen_ai_client_token_usage_count{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"custom\",gen_ai_token_type=\"input\"}",
        "http_route=\"/sessions/{id}/stream\"",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    // The turn that warmed the child up was one of the demo model's.
    assert!(!text.contains("\"demo\""), "{text}");
    let kept_apart = ["works", "spends", "please do", "echo hi"];
    assert!(kept_apart.iter().all(|secret| !text.contains(secret)));
    assert!(text.len() < 300 << 10, "{} bytes", text.len());

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let said = promtool.wait_with_output().unwrap();
    let complaints = [said.stdout, said.stderr].concat();
    let complaints = String::from_utf8_lossy(&complaints);
    assert!(said.status.success(), "{complaints}");
    assert!(complaints.trim().is_empty(), "{complaints}");

    let open = scrape(&world, "application/openmetrics-text");
    assert!(open.ends_with("# EOF\n"));
    every_panel_has_something_to_show(&world, &prometheus);
}

fn every_panel_has_something_to_show(world: &World, prometheus: &Prometheus) {
    // A rate needs two scrapes at least.
    world.sidecar.until("scraped", |_| {
        let count = "count_over_time(sidecar_engine_ready[1m])";
        prometheus.value(count).is_some_and(|count| count >= 3.0)
    });
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut queries = 0;
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let query = query
                .replace("$instance", ".*")
                .replace("$__rate_interval", "1m");
            let found = prometheus.query(&query).unwrap();
            let title = &panel["title"];
            assert!(!found.is_empty(), "{title}: {query} finds nothing");
            queries += 1;
        }
    }
    assert!(queries > 40, "{queries}");
    let firing = prometheus.query("ALERTS{alertstate=\"firing\"}").unwrap();
    assert!(firing.is_empty(), "{firing:?}");
}

// === deploy/observability ===

const ALERTS: &str = include_str!("../../deploy/observability/alerts.yaml");
const DASHBOARD: &str = include_str!("../../deploy/observability/dashboard.json");
const OPERATIONS: &str = include_str!("../../docs/OPERATIONS.md");

/// The documents that name metrics.
const DOCUMENTS: [(&str, &str); 6] = [
    ("alerts.yaml", ALERTS),
    ("dashboard.json", DASHBOARD),
    ("OPERATIONS.md", OPERATIONS),
    ("FAQ.md", include_str!("../../docs/FAQ.md")),
    (
        "TROUBLESHOOTING.md",
        include_str!("../../docs/TROUBLESHOOTING.md"),
    ),
    (
        "alerts.test.yaml",
        include_str!("../../deploy/observability/alerts.test.yaml"),
    ),
];

/// Words of `text` that look like metrics of ours.
fn named(text: &str) -> BTreeSet<&str> {
    let prefixes = [
        "sidecar_",
        "gen_ai_client_",
        "http_server_",
        "tokio_",
        "process_",
    ];
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_word(c))
        .filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)))
        .collect()
}

#[test]
fn rules_panels_and_documents_name_only_metrics_that_exist() {
    let listed = listed();
    for (document, text) in DOCUMENTS {
        for word in named(text) {
            let parts = ["_bucket", "_sum", "_count"];
            let family = parts.iter().find_map(|part| word.strip_suffix(part));
            let known = listed.contains(word) || family.is_some_and(|one| listed.contains(one));
            assert!(known, "{document} names {word}, which is no metric");
        }
    }
    assert_eq!(
        named("x sidecar_a_total{b=\"c\"} d"),
        BTreeSet::from(["sidecar_a_total"])
    );
}

#[test]
fn every_alert_has_its_section_in_the_runbook() {
    let alerts: Vec<&str> = ALERTS
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 20, "{alerts:?}");
    for alert in alerts {
        assert!(OPERATIONS.contains(&format!("\n### {alert}\n")), "{alert}");
        let anchor = format!("docs/OPERATIONS.md#{}\n", alert.to_ascii_lowercase());
        assert!(ALERTS.contains(&anchor), "{anchor}");
    }
}

#[test]
fn the_alerts_fire_when_they_should() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/observability");
    for arguments in [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts.test.yaml"],
    ] {
        let said = Command::new("promtool")
            .args(arguments)
            .current_dir(directory)
            .output()
            .unwrap();
        let words = [said.stdout, said.stderr].concat();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&words));
    }
}
