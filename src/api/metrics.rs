//! `GET /metrics`: figures for Prometheus, in its text format 0.0.4, written by hand.
//!
//! (prometheus-client writes `OpenMetrics` only, under other names for counters.)
//!
//! Each module's figures are one function here. A figure that is not known is left out, and never said to
//! be nought. Read from memory and from this process's own `/proc` entries: a scrape waits for nobody.

use std::fmt::{Display, Write as _};

use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;

use super::Shared;
use super::error::error_responses;
use super::ws::Sockets;
use crate::engine;
use crate::event::State as Session;
use crate::process::Usage;
use crate::sandbox::{Level, Report};
use crate::session::{Figures, Registry};

const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What Prometheus may do with a figure.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, and begins anew with the process.
    Counter,
}

/// The text so far.
#[derive(Debug, Default)]
struct Page(String);

error_responses!(MetricsErrors:);

/// Figures of the sidecar, its sessions and the child, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    responses((status = 200, description = "the text format 0.0.4", body = String, content_type = "text/plain"), MetricsErrors)
)]
pub(super) async fn metrics(State(state): Shared) -> ([(HeaderName, &'static str); 1], String) {
    let mut page = Page::default();
    sidecar(&mut page, state.shutdown.drain.is_cancelled());
    sessions(&mut page, &state.registry, &state.sockets);
    child(&mut page, &state.engine.status());
    journal(&mut page, &state.registry);
    process(&mut page, &Usage::now());
    ([(CONTENT_TYPE, FORMAT)], page.0)
}

fn sidecar(page: &mut Page, draining: bool) {
    page.family(
        Kind::Gauge,
        "sidecar_build_info",
        "Which version this is; always 1.",
        "version",
        [(env!("CARGO_PKG_VERSION"), 1)],
    );
    page.gauge(
        "sidecar_draining",
        "1 while the sidecar leaves.",
        Some(u8::from(draining)),
    );
}

fn sessions(page: &mut Page, registry: &Registry, sockets: &Sockets) {
    let all = registry.in_memory();
    let states: Vec<Session> = all.iter().map(|session| session.status().state).collect();
    let count = |state| states.iter().filter(|other| **other == state).count();
    page.family(
        Kind::Gauge,
        "sidecar_sessions",
        "Sessions in memory, by state: those that run and those that were asked for lately.",
        "state",
        Session::ALL.map(|state| (state.as_str(), count(state))),
    );
    let active = states.iter().filter(|state| !state.is_final()).count();
    page.gauge(
        "sidecar_sessions_active",
        "Sessions that have not ended.",
        Some(active),
    );
    page.gauge(
        "sidecar_sessions_limit",
        "Sessions that may be active at once (MAX_CONCURRENT_SESSIONS).",
        Some(registry.limit()),
    );
    let streams: usize = all.iter().map(|session| session.slots.taken()).sum();
    page.gauge(
        "sidecar_streams_open",
        "Event streams that are being read.",
        Some(streams + registry.all_slots().taken()),
    );
    page.gauge(
        "sidecar_websockets_open",
        "WebSockets that are open on sessions.",
        Some(sockets.open()),
    );
}

fn child(page: &mut Page, status: &engine::Status) {
    let snapshot = &status.snapshot;
    page.gauge(
        "sidecar_engine_up",
        "1 while there is a process of the engine.",
        Some(u8::from(snapshot.process.is_some())),
    );
    page.gauge(
        "sidecar_engine_ready",
        "1 while the engine takes work.",
        Some(u8::from(snapshot.ready().is_some())),
    );
    page.counter(
        "sidecar_engine_starts_total",
        "Times the engine was started.",
        Some(snapshot.generation.get()),
    );
    page.counter(
        "sidecar_engine_restarts_total",
        "Starts of the engine after the first.",
        Some(snapshot.restarts),
    );
    page.counter(
        "sidecar_engine_recycled_total",
        "Restarts of the engine that made room for memory.",
        Some(snapshot.recycled),
    );
    page.gauge(
        "sidecar_engine_memory_used_bytes",
        "Memory that counts against the limit, as the kubelet counts it.",
        status.memory.map(|memory| memory.used),
    );
    page.gauge(
        "sidecar_engine_memory_limit_bytes",
        "The limit of memory that is nearest to being reached.",
        status.memory.map(|memory| memory.limit),
    );
    page.gauge(
        "sidecar_engine_resident_memory_bytes",
        "Memory of the engine's own process.",
        status.resident_bytes,
    );
    sandbox(page, &status.sandbox);
}

fn sandbox(page: &mut Page, report: &Report) {
    page.family(
        Kind::Gauge,
        "sidecar_sandbox_level",
        "1 for how much of the sandbox holds, 0 for the others.",
        "level",
        Level::ALL.map(|level| (level.as_str(), u8::from(level == report.level))),
    );
    page.gauge(
        "sidecar_sandbox_landlock_abi",
        "The kernel's version of Landlock, where it is used.",
        report.landlock_abi,
    );
}

/// Nothing without a journal.
fn journal(page: &mut Page, registry: &Registry) {
    let figures = registry.figures();
    let figure = |pick: fn(&Figures) -> u64| figures.as_ref().map(pick);
    page.gauge(
        "sidecar_journal_degraded",
        "1 while events cannot be written and are shown from memory.",
        figure(|journal| journal.degraded.into()),
    );
    page.gauge(
        "sidecar_journal_bytes",
        "What the journal takes on disk.",
        figure(|journal| journal.bytes),
    );
    page.counter(
        "sidecar_journal_commits_total",
        "Groups of events written.",
        figure(|journal| journal.commits),
    );
    page.counter(
        "sidecar_journal_events_total",
        "Events written.",
        figure(|journal| journal.events),
    );
    page.counter(
        "sidecar_journal_failures_total",
        "Groups that could not be written, each try counted.",
        figure(|journal| journal.failures),
    );
    page.counter(
        "sidecar_journal_lost_events_total",
        "Events that memory had to let go of before they could be written.",
        figure(|journal| journal.lost),
    );
    page.counter(
        "sidecar_journal_removed_sessions_total",
        "Sessions that retention removed.",
        figure(|journal| journal.removed),
    );
}

/// The names that every client library of Prometheus uses for these.
fn process(page: &mut Page, usage: &Usage) {
    page.counter(
        "process_cpu_seconds_total",
        "Processor time of the sidecar itself.",
        usage.cpu_seconds,
    );
    page.gauge(
        "process_start_time_seconds",
        "When the sidecar was started, since 1970.",
        usage.started_seconds,
    );
    page.gauge(
        "process_resident_memory_bytes",
        "Memory of the sidecar itself.",
        usage.resident_bytes,
    );
    page.gauge(
        "process_virtual_memory_bytes",
        "Address space of the sidecar itself.",
        usage.virtual_bytes,
    );
    page.gauge(
        "process_open_fds",
        "File descriptors the sidecar has open.",
        usage.open_files,
    );
    page.gauge(
        "process_max_fds",
        "File descriptors the sidecar may open.",
        usage.max_files,
    );
}

// === impl Page ===

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: Option<impl Display>) {
        self.single(Kind::Gauge, name, help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: Option<impl Display>) {
        self.single(Kind::Counter, name, help, value);
    }

    fn single(&mut self, kind: Kind, name: &str, help: &str, value: Option<impl Display>) {
        let Some(value) = value else { return };
        self.head(kind, name, help);
        self.line(format_args!("{name} {value}"));
    }

    /// One figure for each value of a label. The values are words of ours, which need no escaping.
    fn family<V: Display>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        label: &str,
        figures: impl IntoIterator<Item = (&'static str, V)>,
    ) {
        self.head(kind, name, help);
        for (word, value) in figures {
            self.line(format_args!("{name}{{{label}=\"{word}\"}} {value}"));
        }
    }

    fn head(&mut self, kind: Kind, name: &str, help: &str) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A String takes everything.
        writeln!(self.0, "{line}").ok();
    }
}
