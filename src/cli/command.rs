//! One file for each command: its arguments with their help, and what it does.

pub(super) mod attach;
pub(super) mod completions;
pub(super) mod config;
pub(super) mod context;
pub(super) mod diagnose;
pub(super) mod diff;
pub(super) mod doctor;
pub(super) mod events;
pub(super) mod logs;
pub(super) mod man;
pub(super) mod openapi;
pub(super) mod ps;
pub(super) mod resume;
pub(super) mod run;
pub(super) mod stop;
pub(super) mod top;
pub(super) mod version;
