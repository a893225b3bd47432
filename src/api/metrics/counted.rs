//! Figures that are counted as things happen, in [`crate::metrics`].

use super::page::{Kind, Page};
use crate::metrics::{egress, engine, http, journal, model, stream, trace, turn};

pub(super) fn turns(page: &mut Page<'_>) {
    page.metric(
        "sidecar_turns",
        "Turns that have ended, by outcome and by the code of those that failed.",
        &*turn::ENDED,
    );
    page.metric(
        "sidecar_turn_duration_seconds",
        "From the prompt of a turn to its end.",
        &*turn::DURATION,
    );
    page.metric(
        "sidecar_turn_first_event_seconds",
        "From the prompt of a turn to the first output or tool call.",
        &turn::FIRST_EVENT,
    );
    page.metric(
        "sidecar_tool_duration_seconds",
        "How long tools ran.",
        &*turn::TOOL,
    );
    page.metric(
        "sidecar_asks_ended",
        "Permissions and questions of the agent that have ended, by what ended them.",
        &*turn::ASKS,
    );
}

pub(super) fn streams(page: &mut Page<'_>) {
    page.family(
        Kind::Counter,
        "sidecar_events",
        "Events published, by type.",
        "type",
        stream::events(),
    );
    page.counter(
        "sidecar_event_bytes",
        "JSON of the events published.",
        Some(stream::bytes()),
    );
    page.metric(
        "sidecar_event_delivery_seconds",
        "From an event's place in the log to the connection of its first reader, the disk included; one event at a time is measured.",
        &stream::DELIVERY,
    );
    page.metric(
        "sidecar_streams_opened",
        "Streams that began, with older events or with the newest.",
        &*stream::OPENED,
    );
    page.metric(
        "sidecar_stream_gaps",
        "Gaps that readers were told of.",
        &*stream::GAPS,
    );
    page.counter(
        "sidecar_slow_readers_closed",
        "Connections closed because nothing was read from them for 30 s.",
        Some(stream::slow_readers()),
    );
}

pub(super) fn disk(page: &mut Page<'_>) {
    page.metric(
        "sidecar_journal_commit_seconds",
        "How long the disk took for a group of events.",
        &journal::COMMIT,
    );
}

/// The first three have their names and labels from OpenTelemetry's conventions for generative AI.
pub(super) fn models(page: &mut Page<'_>) {
    page.metric(
        "gen_ai_client_operation_duration_seconds",
        "How long calls of models took.",
        &*model::DURATION,
    );
    page.metric(
        "gen_ai_client_operation_time_to_first_chunk_seconds",
        "From a call of a model to the first byte of its answer.",
        &*model::FIRST_CHUNK,
    );
    page.metric(
        "gen_ai_client_token_usage",
        "Tokens of a call, as the provider counted them.",
        &*model::TOKEN_USAGE,
    );
    page.metric(
        "sidecar_model_calls",
        "Calls of models, by how they ended: ok, cut, or the code of the failure.",
        &*model::CALLS,
    );
    page.metric(
        "sidecar_model_tokens",
        "Tokens by kind; input holds cache_read, and output holds reasoning.",
        &*model::TOKENS,
    );
    page.metric(
        "sidecar_model_cost_usd",
        "US dollars that providers charged, where they say so in their answers.",
        &*model::COST,
    );
    page.counter(
        "sidecar_model_retries",
        "Calls made again because one before had failed.",
        Some(model::retries()),
    );
    page.metric(
        "sidecar_model_stops",
        "Turns in which no more calls were made, by reason.",
        &*model::STOPS,
    );
}

pub(super) fn children(page: &mut Page<'_>) {
    page.family(
        Kind::Counter,
        "sidecar_engine_exits",
        "Ends of the engine, and starts that failed, by cause.",
        "cause",
        engine::exits(),
    );
    page.counter(
        "sidecar_leftover_processes_killed",
        "Processes that had outlived their engine or their session and were ended.",
        Some(engine::leftovers()),
    );
}

pub(super) fn egress(page: &mut Page<'_>) {
    page.family(
        Kind::Counter,
        "sidecar_egress_requests",
        "Requests of the agent's tools to the egress proxy, by outcome: allowed, or why not.",
        "outcome",
        egress::requests(),
    );
}

pub(super) fn traces(page: &mut Page<'_>) {
    page.family(
        Kind::Counter,
        "sidecar_trace_spans",
        "Spans of traces, by what became of them: exported, dropped (too many waited), failed (the collector did not take them).",
        "outcome",
        trace::spans(),
    );
}

pub(super) fn requests(page: &mut Page<'_>) {
    page.metric(
        "http_server_request_duration_seconds",
        "From a request's head to the head of its answer.",
        &*http::DURATION,
    );
    page.metric(
        "sidecar_probe_duration_seconds",
        "How long the answer of a probe took.",
        &http::PROBE,
    );
}
