//! Figures that are counted where things happen, for `GET /metrics`.
//!
//! A module that has a figure anyway (how many sessions there are, how large the journal is) is asked for it at a
//! scrape, by `api::metrics`. Here is what has to be counted when it happens. The figures belong to the process, as the log
//! does, so they need no handle: whoever has something to count calls a function of this module.
//!
//! The path of an event costs atomics only: no lock, no allocation. Figures with labels lie in `Family`, which takes a
//! read lock and hashes its labels; that is for turns, tools, model calls and requests. Labels hold words of ours and never
//! an id, so the number of series is bounded; the names of models are bounded by [`model::MAX_MODELS`].

mod delivery;
pub(crate) mod egress;
pub(crate) mod engine;
mod exemplar;
mod histogram;
pub(crate) mod http;
pub(crate) mod journal;
pub(crate) mod model;
pub(crate) mod stream;
pub(crate) mod trace;
pub(crate) mod turn;

pub(crate) use self::delivery::DeliverySample;
pub(crate) use self::histogram::Histogram;
