//! The rehearsal: what the alerts are for is done to a sidecar, and a real Prometheus raises them.

use std::fmt::Write as _;

use super::ALERTS;
use super::prometheus::Prometheus;
use crate::llm::Turn;
use crate::support::full_disk::FullDisk;
use crate::support::{Options, processes, skipped};
use crate::world::World;

/// The rules, with a second in the place of the minutes for which something has to last.
fn hastened() -> String {
    ALERTS.lines().fold(String::new(), |mut rules, line| {
        let line = match line.split_once("for: ") {
            Some((indent, _)) => format!("{indent}for: 1s"),
            None => line.to_owned(),
        };
        writeln!(rules, "{line}").unwrap();
        rules
    })
}

#[test]
fn alerts_fire_when_the_child_is_killed_five_times_the_provider_stalls_and_the_disk_is_full() {
    let options = Options::real()
        .env("WARM_UP", "session")
        .env("MODEL_HEADER_TIMEOUT", "1s")
        .env("MAX_CONCURRENT_SESSIONS", "10");
    let disk = FullDisk::mount(&options.dir.path().join("data/journal"));
    let world = World::of(options);
    let prometheus = Prometheus::start(world.sidecar.address, &hastened());
    let raised = |alert: &str| {
        world.sidecar.until(alert, |_| {
            let query = format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}");
            prometheus
                .query(&query)
                .is_some_and(|found| !found.is_empty())
        });
    };
    // Before it, there is a scrape in which nothing has happened: an increase is counted between scrapes.
    let scraped = |query: &str, at_least: f64| {
        world.sidecar.until("scraped", |_| {
            prometheus
                .value(query)
                .is_some_and(|value| value >= at_least)
        });
    };
    scraped("sidecar_engine_ready", 1.0);
    let firing = prometheus.query("ALERTS{alertstate=\"firing\"}").unwrap();
    assert!(firing.is_empty(), "{firing:?}");

    // Three calls are left without an answer, and each is made again and left without one.
    let timeouts = "sum(sidecar_model_calls_total{status=\"provider_timeout\"})";
    for id in ["one", "two", "three"] {
        world.script(id, std::iter::repeat_n(Turn::hang_before_headers(), 8));
    }
    world.create("one");
    scraped(timeouts, 1.0);
    for id in ["two", "three"] {
        world.create(id);
    }
    raised("ProviderSilent");
    for id in ["one", "two", "three"] {
        assert_eq!(world.stop(id).status, 200);
    }

    for nth in 1..=5_u32 {
        processes::kill(world.sidecar.engine_pid());
        world.sidecar.until("the next child", |sidecar| {
            let engine = sidecar.engine();
            engine["generation"].as_u64() > Some(nth.into()) && engine["state"] == "ready"
        });
        scraped("sidecar_engine_exits_total{cause=\"killed\"}", nth.into());
    }
    raised("EngineCrashes");

    let Some(disk) = disk else {
        return skipped("no file system can be mounted here");
    };
    disk.fill();
    // What has to be written shows that it cannot be.
    world.sidecar.until("degraded", |sidecar| {
        sidecar.send("PATCH", "/sessions/one", r#"{"title":"more"}"#);
        sidecar.get("/debug/state").json()["journal"]["degraded"].is_string()
    });
    raised("JournalDegraded");
}
