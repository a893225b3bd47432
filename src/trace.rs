//! Traces: one for each turn, sent to a collector (OTLP).
//!
//! Spans are made from what is known anyway: the events of a turn, the gateway's record of a call, the beginning and the end
//! of a request. Without an endpoint nothing here exists: no thread, no memory, and one look at a static where a span
//! would begin. Whoever emits a span waits for nobody: what does not fit into the queue is dropped and counted.
//!
//! ```text
//! request ----------------------------------------------------------- (of the client's trace, if it brings one)
//!   +-- invoke_agent: the turn --------------------------------------------------------------------
//!         +-- create_session  +-- prompt  +-- chat  +-- execute_tool  +-- chat ...
//!                                                     +-- invoke_agent: a subagent
//!                                                           +-- chat  +-- execute_tool ...
//! ```

mod call;
mod config;
mod content;
mod context;
mod encode;
mod export;
mod open;
mod sampler;
mod span;
mod traced;
mod tracer;
mod transport;
mod turn;

pub(crate) use self::call::{CallReport, CallTrace};
pub(crate) use self::config::Config;
pub(crate) use self::context::{SpanAndParent, TraceContext};
pub(crate) use self::export::Exporter;
pub(crate) use self::span::now;
pub(crate) use self::tracer::{
    RequestTrace, current, is_on, queue, request, run_within, start, with_current,
};
pub(crate) use self::turn::TurnTrace;
