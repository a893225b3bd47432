//! Flags and environment to a checked [`Config`]. The only reader of either.
//!
//! A flag wins over its variable, an empty variable counts as not set, and the first bad value ends
//! the start with one line that names it and says what is accepted. Secret files are read here and
//! nowhere else; `SharedSecrets` reads its file again when it changes.

mod cli;
mod parse;
mod reader;
mod secrets;
mod settings;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::cli::{Command, Drain, Healthcheck, environment, from_process};
pub(crate) use self::secrets::{Renewal, SharedSecrets};
#[cfg(test)]
pub(crate) use self::settings::SETTINGS;

use self::reader::Reader;
use crate::text::plain;
use crate::{backend, driver, engine, gateway, journal, sandbox, session, telemetry};

/// Where the image keeps the engine's state.
const IMAGE_DATA_DIR: &str = "/var/lib/opencode-sidecar";

/// How the bound address is told on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announce {
    /// Text on a terminal, else JSON.
    Auto,
    Text,
    Json,
}

/// Everything the program was told, checked.
#[derive(Debug)]
pub struct Config {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    pub(crate) shared_secrets: SharedSecrets,
    pub(crate) max_body_bytes: usize,
    pub(crate) drain_timeout: Duration,
    pub(crate) announce: Announce,
    pub(crate) workspace: PathBuf,
    pub(crate) engine: engine::Config,
    pub(crate) sessions: session::Config,
    /// `None`: sessions live in memory alone.
    pub(crate) journal: Option<journal::Config>,
    /// In characters.
    pub(crate) max_prompt: usize,
    pub(crate) driver: driver::Config,
    /// `None`: nobody is told how sessions end.
    pub(crate) backend: Option<backend::Config>,
    pub(crate) gateway: gateway::Config,
    /// Whether the provider `demo` may be used.
    pub(crate) demo: bool,
    pub(crate) log: telemetry::Config,
    /// Sentences to log once logging works: settings that look misspelt.
    pub(crate) hints: Vec<String>,
}

/// Why the program will not start. Reads as one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value that is not accepted.
    #[error("{name}={value:?} is not accepted: give {accepts}")]
    BadValue {
        /// The variable, or the flag if it came from there.
        name: String,
        /// What was given.
        value: String,
        /// What would be accepted.
        accepts: &'static str,
    },
    /// The same for a secret, whose value is not shown.
    #[error("{name} is not accepted (the value is not shown): give {accepts}")]
    BadSecret {
        /// The variable, or the flag if it came from there.
        name: String,
        /// What would be accepted.
        accepts: &'static str,
    },
    /// A file that a setting names and that cannot be read.
    #[error("{name} names {path:?}, which cannot be read: {reason}")]
    BadFile {
        /// The variable or flag.
        name: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The OpenCode binary is not where it was said to be.
    #[error("{0}")]
    NoBinary(String),
    /// The data directory cannot be used.
    #[error("DATA_DIR={path:?} cannot be used: {reason}; give a directory this user can write")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The command line itself.
    #[error("{0}; --help lists what there is")]
    Usage(String),
}

// === impl Config ===

impl Config {
    fn read(reader: &Reader) -> Result<Self, ConfigError> {
        let workspace = absolute(&reader.required("WORKSPACE_DIR", parse::path)?);
        let data_dir = data_dir(reader)?;
        let port_name = if reader.is_set("OPENCODE_PORT") {
            "OPENCODE_PORT"
        } else {
            settings::OLD_OPENCODE_PORT
        };
        Ok(Self {
            sessions: session::Config {
                most: reader.required("MAX_CONCURRENT_SESSIONS", parse::within(1..=1000))?,
                retention: reader.required("SESSION_RETENTION", parse::duration)?,
                keep_prompts: reader.required("JOURNAL_PROMPTS", parse::switch)?,
            },
            journal: journal_config(reader, &data_dir)?,
            max_prompt: reader.required("MAX_PROMPT_LENGTH", parse::within(1..=10_000_000))?,
            driver: driver::Config {
                workspace: workspace.clone(),
                turn_timeout: reader.required("SESSION_TIMEOUT", parse::duration)?,
                engine_wait: reader.required("ENGINE_WAIT", parse::duration)?,
                loop_limit: reader.required("TOOL_LOOP_LIMIT", parse::loop_limit)?,
                stall_after: reader.required("STALL_AFTER", parse::duration)?,
                recoveries: recoveries(reader)?,
                instructions: reader.required("WORKSPACE_INSTRUCTIONS", parse::switch)?,
            },
            backend: backend_config(reader)?,
            gateway: gateway_config(reader)?,
            demo: reader.required("DEMO_MODEL", parse::switch)?,
            host: reader.required("HOST", parse::address)?,
            port: reader.required("PORT", parse::port)?,
            shared_secrets: SharedSecrets::read(reader)?,
            max_body_bytes: reader.required("MAX_BODY_BYTES", parse::within(1024..=104_857_600))?,
            drain_timeout: reader.required("DRAIN_TIMEOUT", parse::duration)?,
            announce: reader.required("ANNOUNCE", |text| match text {
                "auto" => Some(Announce::Auto),
                "text" => Some(Announce::Text),
                "json" => Some(Announce::Json),
                _ => None,
            })?,
            engine: engine::Config {
                bin: opencode_bin(reader)?,
                data_dir,
                workspace: workspace.clone(),
                port: match reader.optional(port_name, parse::port)? {
                    Some(port) => port,
                    None => reader.required("OPENCODE_PORT", parse::port)?,
                },
                start_timeout: reader.required("ENGINE_START_TIMEOUT", parse::duration)?,
                stop_timeout: reader.required("ENGINE_STOP_TIMEOUT", parse::duration)?,
                probe_interval: reader.required("ENGINE_PROBE_INTERVAL", parse::duration)?,
                probe_timeout: reader.required("ENGINE_PROBE_TIMEOUT", parse::duration)?,
                backoff_min: reader.required("ENGINE_BACKOFF_MIN", parse::duration)?,
                backoff_max: reader.required("ENGINE_BACKOFF_MAX", parse::duration)?,
                restart_budget: reader
                    .required("ENGINE_RESTART_BUDGET", parse::within(1..=1000))?,
                restart_window: reader.required("ENGINE_RESTART_WINDOW", parse::duration)?,
                retry_interval: reader.required("ENGINE_RETRY_INTERVAL", parse::duration)?,
                memory_limit: reader
                    .optional("ENGINE_MEMORY_LIMIT", parse::bytes(16 << 20..=1 << 40))?,
                passed_on: reader.passed_on(),
                sandbox: sandbox_config(reader)?,
            },
            log: telemetry::Config {
                filter: reader.required("LOG_LEVEL", telemetry::parse_filter)?,
                format: reader.required("LOG_FORMAT", |text| match text {
                    "auto" => Some(telemetry::Format::Auto),
                    "json" => Some(telemetry::Format::Json),
                    "text" => Some(telemetry::Format::Text),
                    _ => None,
                })?,
            },
            workspace,
            hints: reader.hints(),
        })
    }
}

fn sandbox_config(reader: &Reader) -> Result<sandbox::Config, ConfigError> {
    let user = reader.optional("ENGINE_USER", sandbox::User::parse)?;
    if let Some(lacks) = user.and_then(sandbox::User::lacks) {
        return Err(ConfigError::Usage(format!("ENGINE_USER needs {lacks}")));
    }
    let secret_file = reader
        .given("OPENCODE_SHARED_SECRET_FILE")
        .map(|(_, file)| absolute(Path::new(&file)));
    Ok(sandbox::Config {
        mode: reader.required("SANDBOX", sandbox::Mode::parse)?,
        read: reader
            .optional("SANDBOX_READ", parse::paths)?
            .unwrap_or_default(),
        limits: sandbox::Limits {
            processes: reader.required("TOOL_MAX_PROCESSES", |text| {
                parse::count(1_000_000)(text).filter(|most| *most >= 64)
            })?,
            file_bytes: reader.required("TOOL_MAX_FILE_BYTES", parse::bytes(1 << 20..=1 << 40))?,
        },
        user,
        secret_files: secret_file.into_iter().collect(),
        path_dirs: reader.path_dirs(),
    })
}

fn journal_config(
    reader: &Reader,
    data_dir: &Path,
) -> Result<Option<journal::Config>, ConfigError> {
    let config = journal::Config {
        dir: data_dir.join("journal"),
        max_bytes: reader.required("JOURNAL_MAX_BYTES", parse::bytes(4 << 20..=1 << 40))?,
        retention: reader.required("SESSION_RETENTION", parse::duration)?,
    };
    let wanted = reader.required("JOURNAL", parse::switch)?;
    Ok(wanted.then_some(config))
}

/// How many deaths of the child a turn survives. To fail at once is to survive none.
fn recoveries(reader: &Reader) -> Result<u32, ConfigError> {
    let goes_on = reader.required("ON_ENGINE_CRASH", |text| match text {
        "continue" => Some(true),
        "fail" => Some(false),
        _ => None,
    })?;
    let most = reader.required("MAX_TURN_RECOVERIES", parse::recoveries)?;
    Ok(if goes_on { most } else { 0 })
}

fn backend_config(reader: &Reader) -> Result<Option<backend::Config>, ConfigError> {
    let url = reader
        .optional("BACKEND_API_URL", parse::url)
        .map_err(|error| match error {
            // What stands before it may be a password.
            ConfigError::BadValue {
                name,
                value,
                accepts,
            } if value.contains('@') => ConfigError::BadSecret { name, accepts },
            other => other,
        })?;
    let extra_ca_file = reader.optional("EXTRA_CA_FILE", parse::path)?;
    Ok(url.map(|url| backend::Config { url, extra_ca_file }))
}

fn gateway_config(reader: &Reader) -> Result<gateway::Config, ConfigError> {
    let proxy = |name| reader.optional(name, |text| Some(text.to_owned()));
    Ok(gateway::Config {
        header_timeout: reader.required("MODEL_HEADER_TIMEOUT", parse::duration)?,
        idle_timeout: reader.required("MODEL_IDLE_TIMEOUT", parse::duration)?,
        max_retry_after: reader.required("MAX_RETRY_AFTER_SECS", parse::duration)?,
        extra_ca_file: reader.optional("EXTRA_CA_FILE", parse::path)?,
        proxy: gateway::ProxySettings {
            https: proxy("HTTPS_PROXY")?,
            http: proxy("HTTP_PROXY")?,
            except: proxy("NO_PROXY")?,
        },
        default_budget: gateway::Budget {
            max_total_tokens: reader
                .optional("MAX_TOTAL_TOKENS", parse::count(1_000_000_000_000))?,
            max_calls: reader.optional("MAX_CALLS", parse::count(1_000_000_000))?,
        },
    })
}

/// `DATA_DIR`, made if it is missing. Without the setting: the image's place, else `./data`.
fn data_dir(reader: &Reader) -> Result<PathBuf, ConfigError> {
    let path = match reader.optional("DATA_DIR", parse::path)? {
        Some(path) => absolute(&path),
        None if engine::writable(Path::new(IMAGE_DATA_DIR)).is_ok() => IMAGE_DATA_DIR.into(),
        None => absolute(Path::new("data")),
    };
    let reason = match std::fs::create_dir_all(&path) {
        Ok(()) => engine::writable(&path).err(),
        Err(error) => Some(error),
    };
    match reason {
        None => Ok(path),
        Some(error) => Err(ConfigError::DataDir {
            path,
            reason: plain(&error.to_string()),
        }),
    }
}

/// `OPENCODE_BIN`; without it `opencode` on PATH, then the pinned one of this checkout.
fn opencode_bin(reader: &Reader) -> Result<PathBuf, ConfigError> {
    if let Some(path) = reader.optional("OPENCODE_BIN", parse::path)? {
        let path = absolute(&path);
        return match engine::executable(&path) {
            Ok(()) => Ok(path),
            Err(reason) => Err(ConfigError::NoBinary(format!(
                "OPENCODE_BIN=\"{}\" is not accepted: {reason}; give the path of an executable file",
                path.display()
            ))),
        };
    }
    let on_path = reader
        .path_dirs()
        .into_iter()
        .map(|dir| dir.join("opencode"));
    let package = if cfg!(target_arch = "aarch64") {
        "opencode-linux-arm64"
    } else {
        "opencode-linux-x64"
    };
    let pinned = Path::new("tools/opencode/node_modules")
        .join(package)
        .join("bin/opencode");
    on_path
        .chain([absolute(&pinned)])
        .find(|path| engine::executable(path).is_ok())
        .ok_or_else(|| {
            ConfigError::NoBinary(
                "no OpenCode found on PATH or in tools/opencode: run `make opencode`, or set OPENCODE_BIN to its path".into(),
            )
        })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
