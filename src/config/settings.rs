//! Every setting there is, as data: the flag, the variable, the default and the words for people.
//!
//! `--help`, the table in README.md, the hints about misspelt variables and the error sentences all
//! come from here, so they cannot disagree.

mod group;
mod sandbox;

pub(crate) use self::group::Group;

/// One setting. Its flag is the variable's name in lower case with dashes.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The environment variable, and the name used in every message.
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    /// What holds when nothing is given. `None`: see `help`.
    pub(crate) default: Option<&'static str>,
    /// Completes the sentence "NAME=… is not accepted: give …".
    pub(crate) accepts: &'static str,
    pub(crate) help: &'static str,
    /// The value is never shown, and `NAME_FILE` may name a file that holds it.
    pub(crate) secret: bool,
}

const fn setting(
    group: Group,
    name: &'static str,
    default: Option<&'static str>,
    accepts: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        group,
        default,
        accepts,
        help,
        secret: false,
    }
}

const ON_OFF: &str = "on or off";

const SECONDS: &str = "a duration such as 30, 30s, 500ms, 5m or 1h (a bare number is seconds)";

pub(crate) static SETTINGS: &[Setting] = &[
    setting(
        Group::Server,
        "HOST",
        Some("::"),
        "an IP address such as ::, 0.0.0.0 or 127.0.0.1",
        "Address to listen on; `::` takes IPv4 too, and is 0.0.0.0 where IPv6 is off",
    ),
    setting(
        Group::Server,
        "PORT",
        Some("3003"),
        "a port number from 0 to 65535 (0 picks a free one)",
        "Port to listen on",
    ),
    Setting {
        secret: true,
        ..setting(
            Group::Server,
            "OPENCODE_SHARED_SECRET",
            None,
            "one secret, or two separated by a comma or a line break while you rotate; no spaces inside",
            "Bearer token that every route but the probes asks for; none: no token is asked for",
        )
    },
    setting(
        Group::Server,
        "BACKEND_API_URL",
        None,
        "an http or https address without user name, query or fragment, such as http://backend:8080",
        "Backend to tell how sessions end, with the shared secret as bearer; none: it is not told",
    ),
    setting(
        Group::Server,
        "MAX_BODY_BYTES",
        Some("1048576"),
        "a number of bytes from 1024 to 104857600",
        "Largest request body accepted",
    ),
    setting(
        Group::Server,
        "DRAIN_TIMEOUT",
        Some("25"),
        SECONDS,
        "Longest time from SIGTERM to exit; keep it 5 s under the pod's grace period",
    ),
    setting(
        Group::Server,
        "ANNOUNCE",
        Some("auto"),
        "auto, text or json",
        "How the address is printed on stdout once listening; auto: text on a terminal, else one JSON line",
    ),
    setting(
        Group::Sessions,
        "WORKSPACE_DIR",
        Some("/workspace"),
        "a directory",
        "Directory the agent works in",
    ),
    setting(
        Group::Sessions,
        "SESSION_TIMEOUT",
        Some("3600"),
        SECONDS,
        "Longest a turn may run",
    ),
    setting(
        Group::Sessions,
        "MAX_CONCURRENT_SESSIONS",
        Some("5"),
        "a number from 1 to 1000",
        "Sessions that may be active at once",
    ),
    setting(
        Group::Sessions,
        "MAX_PROMPT_LENGTH",
        Some("50000"),
        "a number of characters from 1 to 10000000",
        "Longest prompt and longest system prompt",
    ),
    setting(
        Group::Sessions,
        "SESSION_RETENTION",
        Some("24h"),
        SECONDS,
        "How long a finished session can be asked for",
    ),
    setting(
        Group::Sessions,
        "JOURNAL",
        Some("on"),
        ON_OFF,
        "Whether sessions and events are kept in DATA_DIR, so that they survive a restart",
    ),
    setting(
        Group::Sessions,
        "JOURNAL_MAX_BYTES",
        Some("512Mi"),
        "an amount of memory from 4Mi to 1Ti, such as 512Mi",
        "The most the journal may take on disk; finished sessions go first, the oldest first",
    ),
    setting(
        Group::Sessions,
        "JOURNAL_PROMPTS",
        Some("on"),
        ON_OFF,
        "Whether prompts are kept in the journal",
    ),
    setting(
        Group::Sessions,
        "ENGINE_WAIT",
        Some("10"),
        SECONDS,
        "How long a new session waits for an engine that is not ready",
    ),
    setting(
        Group::Sessions,
        "TOOL_LOOP_LIMIT",
        Some("10"),
        "a number from 0 to 1000 (0 turns it off)",
        "Same tool call with the same input, this many times in a row, that ends a turn",
    ),
    setting(
        Group::Sessions,
        "STALL_AFTER",
        Some("30"),
        SECONDS,
        "Silence after which a running turn is reported as stalled",
    ),
    setting(
        Group::Sessions,
        "ON_ENGINE_CRASH",
        Some("continue"),
        "continue or fail",
        "Whether a turn goes on in the next child when its child dies, or ends with engine_lost",
    ),
    setting(
        Group::Sessions,
        "MAX_TURN_RECOVERIES",
        Some("2"),
        "a number from 0 to 100",
        "Deaths of the child that one turn survives",
    ),
    setting(
        Group::Sessions,
        "WORKSPACE_INSTRUCTIONS",
        Some("on"),
        ON_OFF,
        "Whether the workspace's AGENTS.md (up to 64 KiB) is added to the system prompt",
    ),
    setting(
        Group::Models,
        "MODEL_HEADER_TIMEOUT",
        Some("120"),
        SECONDS,
        "Longest a provider may take to begin its answer",
    ),
    setting(
        Group::Models,
        "MODEL_IDLE_TIMEOUT",
        Some("120"),
        SECONDS,
        "Longest pause within a provider's answer",
    ),
    setting(
        Group::Models,
        "MAX_RETRY_AFTER_SECS",
        Some("60"),
        SECONDS,
        "Longest wait a provider may ask for with Retry-After",
    ),
    setting(
        Group::Models,
        "MAX_TOTAL_TOKENS",
        None,
        "a number of tokens from 1 to 1000000000000",
        "Tokens a session may spend, unless it brings its own limit; none: no limit",
    ),
    setting(
        Group::Models,
        "MAX_CALLS",
        None,
        "a number of calls from 1 to 1000000000",
        "Model calls a session may make, unless it brings its own limit; none: no limit",
    ),
    setting(
        Group::Models,
        "EXTRA_CA_FILE",
        None,
        "the path of a PEM file",
        "Certificates to trust besides the system's, for calls to providers and the backend",
    ),
    setting(
        Group::Models,
        "HTTPS_PROXY",
        None,
        "an address such as http://proxy:3128",
        "Proxy for https calls to providers",
    ),
    setting(
        Group::Models,
        "HTTP_PROXY",
        None,
        "an address such as http://proxy:3128",
        "Proxy for http calls to providers",
    ),
    setting(
        Group::Models,
        "NO_PROXY",
        None,
        "host names separated by commas",
        "Hosts that are called without a proxy",
    ),
    setting(
        Group::Models,
        "DEMO_MODEL",
        Some("off"),
        ON_OFF,
        "Whether the provider `demo` may be used: a script player that needs no key",
    ),
    setting(
        Group::Engine,
        "DATA_DIR",
        None,
        "a directory this user can write",
        "Directory for the engine's state; default /var/lib/opencode-sidecar if writable, else ./data",
    ),
    setting(
        Group::Engine,
        "OPENCODE_BIN",
        None,
        "the path of an executable file",
        "The OpenCode binary; default: `opencode` on PATH, then the one `make run` installs",
    ),
    setting(
        Group::Engine,
        "OPENCODE_PORT",
        Some("0"),
        "a port number from 0 to 65535 (0 picks a free one)",
        "Loopback port of the child (OPENCOD_PORT is read too)",
    ),
    setting(
        Group::Engine,
        "ENGINE_START_TIMEOUT",
        Some("60"),
        SECONDS,
        "Longest a start may take, from spawn to warmed up",
    ),
    setting(
        Group::Engine,
        "ENGINE_STOP_TIMEOUT",
        Some("5"),
        SECONDS,
        "Time between SIGTERM and SIGKILL when the child is stopped",
    ),
    setting(
        Group::Engine,
        "ENGINE_PROBE_INTERVAL",
        Some("5"),
        SECONDS,
        "Time between two health checks of the child",
    ),
    setting(
        Group::Engine,
        "ENGINE_PROBE_TIMEOUT",
        Some("3"),
        SECONDS,
        "Time a health check of the child may take; three misses in a row recycle it",
    ),
    setting(
        Group::Engine,
        "ENGINE_BACKOFF_MIN",
        Some("500ms"),
        SECONDS,
        "Delay before the first restart; it doubles with each further one",
    ),
    setting(
        Group::Engine,
        "ENGINE_BACKOFF_MAX",
        Some("30"),
        SECONDS,
        "Longest delay before a restart",
    ),
    setting(
        Group::Engine,
        "ENGINE_RESTART_BUDGET",
        Some("5"),
        "a number from 1 to 1000",
        "Restarts within ENGINE_RESTART_WINDOW before the engine counts as failed",
    ),
    setting(
        Group::Engine,
        "ENGINE_RESTART_WINDOW",
        Some("300"),
        SECONDS,
        "The window of ENGINE_RESTART_BUDGET",
    ),
    setting(
        Group::Engine,
        "ENGINE_RETRY_INTERVAL",
        Some("60"),
        SECONDS,
        "Time between attempts once the engine counts as failed",
    ),
    setting(
        Group::Engine,
        "ENGINE_MEMORY_LIMIT",
        None,
        "a size from 16Mi to 1Ti, such as 900Mi, 1Gi or a number of bytes",
        "Memory the engine and all it started may use; none: only the container's limit counts",
    ),
    sandbox::MODE,
    sandbox::READ,
    sandbox::PROCESSES,
    sandbox::FILE_BYTES,
    sandbox::USER,
    setting(
        Group::Logs,
        "LOG_LEVEL",
        Some("info"),
        "error, warn, info, debug, trace, or a list such as info,opencode_sidecar::engine=debug",
        "What is logged, to stderr",
    ),
    setting(
        Group::Logs,
        "LOG_FORMAT",
        Some("auto"),
        "auto, json or text",
        "Form of a log line; auto: text on a terminal, else JSON",
    ),
];

/// Names that are read beside the table: the old spelling of the contract and the `*_FILE` forms.
pub(crate) const OLD_OPENCODE_PORT: &str = "OPENCOD_PORT";

// === impl Setting ===

impl Setting {
    pub(crate) fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }

    /// The variable that names a file with the value, for a secret.
    pub(crate) fn file_name(&self) -> Option<String> {
        self.secret.then(|| format!("{}_FILE", self.name))
    }
}
