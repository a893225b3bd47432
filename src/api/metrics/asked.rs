//! Figures that a module has anyway: it is asked for them at the scrape.
//!
//! Each module's figures are one function here. A figure that is not known is left out, and never said to
//! be nought. Read from memory and from `/proc` entries of this process and what descends from it: a scrape waits for nobody.

use super::page::{Kind, Page};
use crate::api::ws::Sockets;
use crate::engine;
use crate::event::State as Session;
use crate::process::{Offspring, Usage};
use crate::sandbox::{Level, Report};
use crate::session::{Figures, Registry};

pub(super) fn sidecar(page: &mut Page<'_>, draining: bool) {
    page.family(
        Kind::Gauge,
        "sidecar_build_info",
        "Which version this is; always 1.",
        "version",
        [(env!("CARGO_PKG_VERSION"), 1_u64)],
    );
    page.gauge(
        "sidecar_draining",
        "1 while the sidecar leaves.",
        Some(u64::from(draining)),
    );
}

pub(super) fn sessions(page: &mut Page<'_>, registry: &Registry, sockets: &Sockets) {
    let all = registry.in_memory();
    let mut asks = 0;
    let states = all.iter().map(|session| {
        let status = session.status();
        asks += status.asks.open.len();
        status.state
    });
    let states: Vec<Session> = states.collect();
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
    let waiting = all.iter().filter_map(|session| session.next_queued());
    let queued: usize = waiting.map(|next| next.waiting).sum();
    page.gauge(
        "sidecar_prompts_queued",
        "Prompts that wait for the turn before them.",
        Some(queued),
    );
    page.gauge(
        "sidecar_asks_open",
        "Permissions and questions that wait for a person.",
        Some(asks),
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

pub(super) fn child(page: &mut Page<'_>, status: &engine::Status) {
    let snapshot = &status.snapshot;
    page.gauge(
        "sidecar_engine_up",
        "1 while there is a process of the engine.",
        Some(u64::from(snapshot.process.is_some())),
    );
    page.gauge(
        "sidecar_engine_ready",
        "1 while the engine takes work.",
        Some(u64::from(snapshot.ready().is_some())),
    );
    page.counter(
        "sidecar_engine_starts",
        "Times the engine was started.",
        Some(snapshot.generation.get()),
    );
    page.counter(
        "sidecar_engine_restarts",
        "Starts of the engine after the first.",
        Some(snapshot.restarts),
    );
    page.counter(
        "sidecar_engine_recycled",
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

fn sandbox(page: &mut Page<'_>, report: &Report) {
    page.family(
        Kind::Gauge,
        "sidecar_sandbox_level",
        "1 for how much of the sandbox holds, 0 for the others.",
        "level",
        Level::ALL.map(|level| (level.as_str(), u64::from(level == report.level))),
    );
    page.gauge(
        "sidecar_sandbox_landlock_abi",
        "The kernel's version of Landlock, where it is used.",
        report.landlock_abi,
    );
}

/// Nothing without a journal.
pub(super) fn journal(page: &mut Page<'_>, registry: &Registry) {
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
        "sidecar_journal_commits",
        "Groups of events written.",
        figure(|journal| journal.commits),
    );
    page.counter(
        "sidecar_journal_events",
        "Events written.",
        figure(|journal| journal.events),
    );
    page.counter(
        "sidecar_journal_failures",
        "Groups that could not be written, each try counted.",
        figure(|journal| journal.failures),
    );
    page.counter(
        "sidecar_journal_lost_events",
        "Events that memory had to let go of before they could be written.",
        figure(|journal| journal.lost),
    );
    page.counter(
        "sidecar_journal_removed_sessions",
        "Sessions that retention removed.",
        figure(|journal| journal.removed),
    );
}

/// The names that every client library of Prometheus uses for these.
pub(super) fn process(page: &mut Page<'_>, usage: &Usage) {
    page.counter(
        "process_cpu_seconds",
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
    page.gauge(
        "process_threads",
        "Threads of the sidecar itself.",
        usage.threads,
    );
}

/// The child, its tools, and whatever else descends from us.
pub(super) fn offspring(page: &mut Page<'_>, offspring: &Offspring) {
    page.counter(
        "sidecar_engine_cpu_seconds",
        "Processor time of the engine and of its tools, those that have ended too.",
        offspring.cpu_seconds,
    );
    page.gauge(
        "sidecar_engine_processes",
        "Processes of the engine and of its tools.",
        Some(offspring.processes),
    );
    page.gauge(
        "sidecar_engine_processes_resident_memory_bytes",
        "Memory of the engine and of its tools; what they share counts for each.",
        Some(offspring.resident_bytes),
    );
}

/// The threads that all our tasks run on.
pub(super) fn runtime(page: &mut Page<'_>) {
    let runtime = tokio::runtime::Handle::current().metrics();
    let workers = runtime.num_workers();
    page.gauge("tokio_workers", "Threads that run tasks.", Some(workers));
    page.gauge(
        "tokio_alive_tasks",
        "Tasks that have not ended.",
        Some(runtime.num_alive_tasks()),
    );
    page.gauge(
        "tokio_global_queue_tasks",
        "Tasks that wait for any of the threads.",
        Some(runtime.global_queue_depth()),
    );
    let busy: std::time::Duration = (0..workers)
        .map(|worker| runtime.worker_total_busy_duration(worker))
        .sum();
    page.counter(
        "tokio_workers_busy_seconds",
        "Time for which the threads were busy, all together.",
        Some(busy.as_secs_f64()),
    );
}
