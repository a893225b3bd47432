//! The settings that belong to the program as a whole, and all others by the module that has them.
//!
//! A setting is one field with its `#[arg]`: the flag, the default, what is accepted, and the comment that
//! `--help` shows. Its variable is the flag in upper case with underscores. README.md has a row for each.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::{driver, egress, engine, gateway, journal, session, setting, telemetry};

/// How the bound address is told on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announce {
    /// Text on a terminal, else JSON.
    Auto,
    Text,
    Json,
}

/// Words between commas. Under this name, because clap takes a plain `Vec` for a flag given many times.
type List = Vec<String>;

/// Every setting of a sidecar that serves.
#[derive(Debug, clap::Args)]
pub(super) struct Settings {
    #[command(flatten)]
    pub(super) address: Address,
    #[command(flatten)]
    pub(super) secret: SecretFile,
    #[command(flatten)]
    pub(super) server: Server,
    #[command(flatten)]
    pub(super) drain: DrainTimeout,
    #[command(flatten)]
    pub(super) work: Work,
    #[command(flatten)]
    pub(super) sessions: session::Config,
    #[command(flatten)]
    pub(super) driver: driver::Config,
    #[command(flatten)]
    pub(super) journal: journal::Config,
    #[command(flatten)]
    pub(super) gateway: gateway::Config,
    #[command(flatten)]
    pub(super) places: Places,
    #[command(flatten)]
    pub(super) engine: engine::Config,
    #[command(flatten)]
    pub(super) egress: egress::Config,
    #[command(flatten)]
    pub(super) log: telemetry::Config,
}

/// Where a sidecar listens.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(super) struct Address {
    /// Address to listen on; `::` takes IPv4 too, and is 0.0.0.0 where IPv6 is off
    #[arg(long, default_value = "::", value_parser = setting::address)]
    pub(super) host: IpAddr,
    /// Port to listen on
    #[arg(long, default_value = "3003", value_parser = setting::port)]
    pub(super) port: u16,
}

/// The one secret. Its value has a variable and no flag, because command lines can be read.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(super) struct SecretFile {
    /// File with the bearer token that every route but the probes asks for, read again when it changes; none:
    /// no token is asked for
    #[arg(long)]
    pub(super) opencode_shared_secret_file: Option<PathBuf>,
}

/// How long a sidecar may take to leave.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(super) struct DrainTimeout {
    /// Longest time from SIGTERM to exit; keep it 5 s under the pod's grace period
    #[arg(long, default_value = "25", value_parser = setting::duration)]
    pub(super) drain_timeout: Duration,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(super) struct Server {
    /// Web pages of other origins that may use the sessions; none: only pages of this origin
    #[arg(long, value_parser = setting::origins)]
    pub(super) cors_allow_origins: Option<List>,
    /// Further names under which this is asked for where no secret is set
    #[arg(long, value_parser = setting::hosts)]
    pub(super) allowed_hosts: Option<List>,
    /// Backend to tell how sessions end, with the shared secret as bearer; none: it is not told
    #[arg(long, value_parser = setting::url)]
    pub(super) backend_api_url: Option<Url>,
    /// Largest request body accepted; default: room for two prompts of `MAX_PROMPT_LENGTH`, however they are
    /// encoded
    #[arg(long, value_parser =
        setting::number(1024..=104_857_600_usize, "a number of bytes from 1024 to 104857600"))]
    pub(super) max_body_bytes: Option<usize>,
    /// Port that serves the metrics without a token, and nothing else but the probes; none: only the main port has
    /// them
    #[arg(long, value_parser = setting::port)]
    pub(super) metrics_port: Option<u16>,
    /// Whether browsers get the console at `/`
    #[arg(long, default_value = "on", action = clap::ArgAction::Set, value_parser = setting::switch)]
    pub(super) console: bool,
    /// How the address is printed on stdout once listening; auto: text on a terminal, else one JSON line
    #[arg(long, default_value = "auto", value_parser = setting::word(
        [("auto", Announce::Auto), ("text", Announce::Text), ("json", Announce::Json)], "auto, text or json"))]
    pub(super) announce: Announce,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sessions")]
pub(super) struct Work {
    /// Directory the agent works in
    #[arg(long, default_value = "/workspace")]
    pub(super) workspace_dir: PathBuf,
    /// Longest prompt and longest system prompt
    #[arg(long, default_value = "50000", value_parser =
        setting::number(1..=10_000_000_usize, "a number of characters from 1 to 10000000"))]
    pub(super) max_prompt_length: usize,
    /// Whether sessions and events are kept in `DATA_DIR`, so that they survive a restart
    #[arg(long, default_value = "on", action = clap::ArgAction::Set, value_parser = setting::switch)]
    pub(super) journal: bool,
    /// Whether a turn goes on in the next child when its child dies, or ends with `engine_lost`
    #[arg(long, default_value = "continue", action = clap::ArgAction::Set, value_parser =
        setting::word([("continue", true), ("fail", false)], "continue or fail"))]
    pub(super) on_engine_crash: bool,
    /// Whether the provider `demo` may be used: a script player that needs no key
    #[arg(long, default_value = "off", action = clap::ArgAction::Set, value_parser = setting::switch)]
    pub(super) demo_model: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Engine (the OpenCode child)")]
pub(super) struct Places {
    /// Directory for the engine's state; default /var/lib/opencode-sidecar if writable, else ./data
    #[arg(long)]
    pub(super) data_dir: Option<PathBuf>,
    /// The OpenCode binary; default: `opencode` on PATH, then the one `make run` installs
    #[arg(long)]
    pub(super) opencode_bin: Option<PathBuf>,
}
